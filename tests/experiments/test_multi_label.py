"""Multi-label classification: labels of any number, losses and measures by hand, a run from training to prediction."""

import csv
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy.special import expit

import launch
from cvdl_jax.cli.modes import predict
from cvdl_jax.config import configs
from cvdl_jax.data import load as data_load
from cvdl_jax.data import relabel
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.presence import Presence, present
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source
from cvdl_jax.data.split import Split
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import multi_label as measures
from cvdl_jax.ops.losses import multi_label as losses
from cvdl_jax.workdir import predictions
from experiments import multi_label

NAMES = ("cat", "dog", "eel")
SHAPES = "shapes(size=32, train=32, validation=16, test=16)"


class Pets(Source):
    """Which animals are in a picture, as a list."""

    def __init__(self, rows, names=NAMES):
        self.rows, self.name, self.version, self.split, self.location = rows, "pets", "", "train", ""
        self.intervals = [Interval("train", 0, len(rows))]
        self.features = {
            "features": Feature("tensor", (2,), "float32"),
            "pets/box": Feature("box", (None, 4), "float32"),
            "pets/label": Feature("label", (None,), "int32", len(names), names),
        }

    def read(self, indices):
        return [{"features": np.float32([i, 1]), "pets/box": np.zeros((len(self.rows[i]), 4), np.float32),
                 "pets/label": np.asarray(self.rows[i], np.int32)} for i in indices]  # fmt: skip

    def fingerprint(self):
        return "pets"


# Data ---------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C19")
def test_a_list_of_classes_becomes_a_zero_or_one_for_each_class():
    source = present(Pets([[2, 0], [], [1, 1, 1]]), "pets/label")
    assert sorted(source.features) == ["features", "label"]  # a box has no place beside the label of a whole image
    assert source.features["label"] == Feature("classes", (3,), "float32", 3, NAMES)
    np.testing.assert_array_equal([row["label"] for row in source.read([0, 1, 2])], [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert source.read([2])[0]["features"].tolist() == [2, 1] and source.read_entries([0], ["label"])[0].keys() == {
        "label"
    }
    assert source.identify(1) == "train/1" and len(source) == 3
    assert source.cache_key() != source.base.cache_key()  # or decoded boxes would be taken for labels


@pytest.mark.parametrize("wrong", [-1, 3])
def test_a_class_that_there_is_not_is_refused(wrong):
    with pytest.raises(DataError, match=rf"train/1 of pets: 'pets/label' holds {wrong}, outside 0 to 2"):
        Presence(Pets([[0], [0, wrong]]), "pets/label").read([0, 1])


@pytest.mark.parametrize(
    ("entry", "words"),
    [("pets", "is not an entry of pets; its lists of classes: pets/label"), ("features", "is a tensor of shape")],
)
def test_an_entry_that_is_no_list_of_classes_is_refused(entry, words):
    with pytest.raises(ConfigError, match=words):
        present(Pets([[0]]), entry)


def test_one_label_and_several_exclude_each_other():
    with pytest.raises(ConfigError, match="would both be the entry 'label'"):
        open_source("digits", "train", label="label", label_set="label")
    with pytest.raises(ConfigError, match="its lists of classes: none"):
        open_source("digits", "train", label_set="label")


def test_a_data_set_is_delivered_with_its_labels():
    data = data_load.load(SHAPES, features=("image", "label"), label_set="objects/label")
    raw = data_load.load(SHAPES, features=("objects/label",), max_boxes=0)
    label = data.splits["train"].batch(np.arange(32))["label"]
    assert label.shape == (32, 6) and data.num_classes == 6 and data.class_names[0] == "circle"
    for i in range(32):
        assert (
            sorted(set(raw.splits["train"].example(i)["objects/label"].tolist())) == np.flatnonzero(label[i]).tolist()
        )


@pytest.mark.parametrize("resident", [False, True])
def test_classes_of_another_set_are_matched_by_name(resident):
    """Theirs: eel, cat. Ours: cat, dog, eel: their first column is our third; nothing is said of dogs."""
    source = present(Pets([[0], [0, 1], []], ("eel", "cat")), "pets/label")
    rows = np.stack([row["label"] for row in source.read([0, 1, 2])])
    split = Split("x", source, HostStage(), {"label": source.features["label"]}, {"label": rows} if resident else None)
    ours = {"label": Feature("classes", (3,), "float32", 3, NAMES)}
    found = relabel.by_name(split, ours, "x")
    np.testing.assert_array_equal(found.batch(np.arange(3))["label"], [[0, 0, 1], [1, 0, 1], [0, 0, 0]])
    with pytest.raises(DataError, match="the class 'eel', which the run does not know"):
        relabel.by_name(split, {"label": replace(ours["label"], class_names=("cat", "dog", "fox"))}, "x")


def test_saved_predictions_follow_the_order_of_the_classes():
    arrays = {"label": np.array([[1.0, 0, 0]]), "scores": np.array([[9.0, 1, 2]])}
    new = predictions.reordered(arrays, ["cat", "dog", "eel"], ["dog", "eel", "cat"])
    assert new["label"].tolist() == [[0, 0, 1]] and new["scores"].tolist() == [[1, 2, 9]]


# Losses -------------------------------------------------------------------------------------------------------------

S, Y = np.array([[0.0, 2.0, -3.0], [1.0, -1.0, 40.0]]), np.array([[1.0, 0, 1], [0, 1, 1]])


@pytest.mark.curriculum("C19")
def test_binary_cross_entropy_sums_over_classes():
    """AttGAN's `- sum_i [b_i log C_i + (1 - b_i) log(1 - C_i)]`; c log 2 at scores of 0."""
    p = expit(S)
    expected = -(Y * np.log(p) + (1 - Y) * np.log(1 - np.where(Y == 1, 0, p))).sum(1)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(S, Y), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.sigmoid_cross_entropy(np.zeros((1, 4)), np.ones((1, 4))), 4 * np.log(2), rtol=1e-6
    )
    weighted = -(3 * Y * np.log(p) + (1 - Y) * np.log(1 - np.where(Y == 1, 0, p))).sum(1)
    np.testing.assert_allclose(losses.sigmoid_cross_entropy(S, Y, positive_weight=3.0), weighted, rtol=1e-5)
    with pytest.raises(ValueError, match="labels"):
        losses.sigmoid_cross_entropy(S, 2 * Y)


def test_focal_without_focus_is_cross_entropy():
    plain = losses.sigmoid_cross_entropy(S, Y)
    np.testing.assert_allclose(losses.focal(S, Y, gamma=0.0), plain, rtol=1e-5)
    p_t = np.where(Y == 1, expit(S), 1 - expit(S))
    expected = -((1 - p_t) ** 2 * np.log(np.maximum(p_t, 1e-30)) * np.where(Y == 1, 0.25, 0.75)).sum(1)
    np.testing.assert_allclose(losses.focal(S, Y, alpha=0.25), expected, rtol=1e-4)


@pytest.mark.parametrize(("positive", "negative", "margin"), [(0.0, 4.0, 0.05), (1.0, 2.0, 0.2), (0.0, 0.0, 0.0)])
def test_asymmetric_loss_by_hand(positive, negative, margin):
    p = expit(S)
    q = np.maximum(p - margin, 0)
    ones, zeros = -((1 - p) ** positive) * np.log(p), -(q**negative) * np.log1p(-np.where(Y == 1, 0, q))
    found = losses.asymmetric(S, Y, positive, negative, margin)
    np.testing.assert_allclose(found, (Y * ones + (1 - Y) * zeros).sum(1), rtol=1e-4)


def test_asymmetric_loss_says_nothing_of_easy_absent_classes():
    """p = 0.0474 < 0.05: no loss, no gradient; and nothing is NaN at the edge."""
    value, gradient = jax.value_and_grad(lambda s: losses.asymmetric(s, jnp.zeros((1, 1))).sum())(jnp.array([[-3.0]]))
    assert value == 0 and gradient.tolist() == [[0.0]]
    edge = jax.grad(lambda s: losses.asymmetric(s, jnp.zeros((1, 1)), 0.0, 0.5, 0.5).sum())(jnp.zeros((1, 1)))
    assert np.isfinite(edge).all()


# Measures -----------------------------------------------------------------------------------------------------------


def test_measures_by_hand():
    """Four images, three classes; nobody has the third, and nothing is said of it.

    Class 0: said of images 0, 1; true of 0, 2: tp 1, fp 1, fn 1, F1 1/2; ranked 0+, 1-, 2+, 3-: AP (1 + 2/3) / 2.
    Class 1: said of 3, true of 3: F1 1, AP 1. Together tp 2, fp 1, fn 1: F1 2/3.
    """
    labels = np.array([[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    scores = np.array([[3.0, -1, -1], [2, -2, -1], [-1, -3, -2], [-2, 1, -2]])
    found = measures.metrics(labels, scores)
    expected = {
        "mean_ap": (5 / 6 + 1) / 2,
        "micro_f1": 2 / 3,
        "macro_f1": 3 / 4,
        "exact_match": 2 / 4,
        "label_accuracy": 10 / 12,
    }
    assert found == pytest.approx(expected)
    with pytest.raises(DataError, match="labels must be 0 or 1, not 2"):
        measures.metrics(labels * 2, scores)


def test_measures_equal_scikit_learn():
    sk = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, (50, 4)), np.round(rng.normal(size=(50, 4)), 1)  # with ties
    found = measures.metrics(labels, scores)
    assert found["mean_ap"] == pytest.approx(sk.average_precision_score(labels, scores, average="macro"))
    assert found["micro_f1"] == pytest.approx(sk.f1_score(labels, scores > 0, average="micro"))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(labels, scores > 0, average="macro"))
    assert found["exact_match"] == pytest.approx(sk.accuracy_score(labels, scores > 0))
    assert found["label_accuracy"] == pytest.approx(1 - sk.hamming_loss(labels, scores > 0))


# The experiment -----------------------------------------------------------------------------------------------------


def test_padding_counts_for_nothing():
    fixed = SimpleNamespace(params={}, extra={})
    batch = {"label": jnp.asarray(Y), "mask": jnp.array([1.0, 0.0])}
    out = multi_label.evaluation_step(
        lambda state, batch: jnp.asarray(S), losses.sigmoid_cross_entropy, fixed, batch, None
    )
    total, weight = out["loss"]
    assert weight == 1 and float(total) == pytest.approx(float(losses.sigmoid_cross_entropy(S, Y)[0]))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["--config.data.label_set="], "label_set=objects/label"),
        (["--config.data.features=('image',)"], "label_set=objects/label"),
        (["--config.loss.name=focall"], "did you mean 'focal'"),
        (["--config.loss.gamma=-1.0", "--config.loss.name=focal"], "config.loss.gamma=-1.0 must be"),
        (["--config.class_weights=(1.0,2.0)"], "config.class_weights"),
        (["--config.auxiliary_weight=0.3"], "the model has 0 auxiliary classifiers in training"),
        (["--config.data.split.fractions=0.5,0.5", "--config.data.split.stratified=True", "--config.data.validation="],
         "has no class label"),
    ],
)  # fmt: skip
def test_mistakes_are_named(overrides, words, tmp_path, capsys):
    flags = ["--config=configs/classify/multi_label.py:smoke", f"--workdir={tmp_path / 'run'}"]
    assert launch.main([*flags, *overrides]) == 2
    assert words in capsys.readouterr().err


def test_a_run_from_training_to_prediction(tmp_path, monkeypatch):
    """Eight scenes are learned by heart; the file of predictions names what is in them."""
    from cvdl_jax.engine import runs

    run, out = tmp_path / "run", tmp_path / "out.csv"
    flags = [
        "--config=configs/classify/multi_label.py:smoke", "--config.data.train=train[:8]", "--config.batch_size=8",
        "--config.data.validation=train[8:16]", "--config.model={'name':'mlp','hidden':(32,)}", "--config.augment=",
        "--config.total_steps=60", "--config.log.every_steps=30", "--config.optim.lr=0.01",
        "--config.log.tensorboard=False",
    ]  # fmt: skip
    assert launch.main([*flags, f"--workdir={run}"]) == 0
    data = data_load.load(
        configs.load("configs/classify/multi_label.py:smoke").data.name, features=("image", "label"),
        label_set="objects/label",
    )  # fmt: skip
    seen = data.splits["train"].batch(np.arange(8))
    (tmp_path / "new").mkdir()
    for i, image in enumerate(seen["image"]):
        Image.fromarray(image).save(tmp_path / "new" / f"{i}.png")
    assert launch.main(["--mode=predict", f"--workdir={run}", f"--input={tmp_path / 'new'}", f"--out={out}"]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    for row, label in zip(rows, seen["label"], strict=True):
        assert row["names"] == "|".join(np.array(data.class_names)[label > 0])
        assert all((float(row[f"p({name})"]) > 0.5) == (x > 0) for name, x in zip(data.class_names, label, strict=True))
    task, state, _ = runs.load(str(run))
    found = np.asarray(task.predict(state, {"image": seen["image"]})["probabilities"])
    np.testing.assert_array_equal(found > 0.5, seen["label"] > 0)


def test_probabilities_that_are_no_numbers_are_refused():
    with pytest.raises(DataError, match=r"b\.png first"):
        predict.several_labels(["a.png", "b.png"], np.array([[0.1], [np.nan]]), ["x"])
