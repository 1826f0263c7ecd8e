"""The study of linear probes: whose images train what, what is probed, and who is compared with whom."""

import jax
import numpy as np
import pytest

from cvdl_jax.analysis import linear_probe
from cvdl_jax.analysis.figures import probes
from cvdl_jax.config import configs
from cvdl_jax.core.task import create_state, step_function
from cvdl_jax.data.load import load
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from experiments.studies import linear_probes

SMALL = ("config.model.channels=(4,)", "config.model.units=(6,)", "config.study.shots=(2,)", "config.study.sizes=(20,)")


def read(*overrides):
    merged = {text.partition("=")[0]: text for text in (*SMALL, *overrides)}  # a later one replaces an earlier one
    return configs.load("configs/studies/linear_probes.py:smoke", merged.values())


@pytest.fixture(scope="module")
def study():
    """The task, its state at first and after a step, and the features of the latter that the test evaluation gave."""
    task = build(read()).task
    state = jax.jit(lambda key: create_state(task, key, {}))(jax.random.key(0))
    after, _ = jax.jit(step_function(task, 0))(state, {})
    rows = jax.device_get(jax.jit(task.evals["test"].step)(after, {}, jax.random.key(5)))
    return state, after, {name: np.asarray(one.value) for name, one in rows.items()}


@pytest.mark.curriculum("I4", "I5")
def test_source_and_target_are_other_digits_and_seeds_have_orders_of_their_own(study):
    state, after, _ = study
    extra, whole = state.extra, load("digits", train="train", validation="validation", test="test").splits
    stored = {name: s.batch(np.arange(s.size)) for name, s in whole.items()}
    for name, low in (("source", 0), ("train", 5), ("validation", 5), ("test", 5)):
        split = stored["train" if name == "source" else name]
        kept = (split["label"] >= low) & (split["label"] < low + 5)
        np.testing.assert_array_equal(extra["data"][name]["image"], split["image"][kept])
        np.testing.assert_array_equal(extra["data"][name]["label"], split["label"][kept] - low)
    rows = np.asarray(extra["rows"])
    assert sorted(rows[0].tolist()) == list(range(len(extra["data"]["source"]["label"]))) != rows[0].tolist()
    assert (rows[0] != rows[1]).any()
    jax.tree.map(np.testing.assert_array_equal, state.params["n20"], extra["initial"])
    jax.tree.map(np.testing.assert_array_equal, after.extra["initial"], extra["initial"])
    assert all((np.asarray(a) != np.asarray(b)).any() for a, b in zip(
        jax.tree.leaves(after.params["n20"]), jax.tree.leaves(extra["initial"]), strict=True
    ))  # fmt: skip


@pytest.mark.curriculum("I5")
def test_a_network_sees_only_its_first_source_images():
    config = read("config.study.sizes=(3,40)")
    task = build(config).task
    state = jax.jit(lambda key: create_state(task, key, {}))(jax.random.key(0))
    model = registry.create(config.model, "", num_classes=5)

    @jax.jit
    def slope(image):
        data = {**state.extra["data"], "source": {**state.extra["data"]["source"], "image": image}}
        seen = state._replace(extra={**state.extra, "data": data})
        return linear_probes.training_loss(model, "n3", 3, 16, seen, {}, jax.random.key(1))[1]["loss"][0]

    image, rows = state.extra["data"]["source"]["image"], np.asarray(state.extra["rows"])
    loss = float(slope(image))
    drawn = [
        float(linear_probes.training_loss(model, "n3", 3, 16, state, {}, jax.random.key(i))[1]["loss"][0])
        for i in (1, 2)
    ]
    assert drawn[0] != drawn[1]
    others = np.setdiff1d(np.arange(len(image)), rows[:, :3])
    assert float(slope(image.at[others].set(0))) == loss
    assert all(float(slope(image.at[rows[seed, :3]].set(0))) != loss for seed in range(2))


@pytest.mark.curriculum("I4")
def test_features_are_those_of_each_network_and_each_part(study):
    _, after, rows = study
    model, data = registry.create(read().model, "", num_classes=5), after.extra["data"]
    features = jax.jit(lambda p, x: linear_probe.features(model.apply({"params": p}, x, False)[1]))
    for part in ("train", "validation", "test"):
        np.testing.assert_array_equal(rows[part], data[part]["label"])
        image = data[part]["image"] / 255.0
        for net, params in (("random", after.extra["initial"]), ("n20", after.params["n20"])):
            np.testing.assert_allclose(rows[f"{net} pixels {part}"][1], image.reshape(len(image), -1), rtol=1e-6)
            for seed in range(2):
                layers = features(jax.tree.map(lambda x, i=seed: x[i], params), image)
                for layer in ("stage0", "pre_logits"):
                    np.testing.assert_allclose(rows[f"{net} {layer} {part}"][seed], layers[layer], atol=1e-4)
    assert len(rows) == 3 + 2 * 3 * 3


@pytest.mark.curriculum("I4", "I5")
def test_probes_are_fitted_on_train_chosen_on_validation_and_tested_on_the_split(study):
    _, _, rows = study
    arguments = configs.call(linear_probes.Study, read().study, "config.study")
    values = linear_probes.probed(arguments, 5, 7, "test", rows)
    assert {name: len(of_seeds) for name, of_seeds in values.items()} == {
        f"{net}_{what}": 2
        for net in ("random", "n20")
        for what in ("at_pixels", "at_stage0", "at_pre_logits", "2_shot")
    }
    sets = [(rows[f"n20 pre_logits {part}"][1], rows[part]) for part in ("train", "validation", "test")]
    assert values["n20_at_pre_logits"][1] == linear_probe.accuracy(*sets, 5, arguments.strengths)
    rng = np.random.default_rng([7, 1, 2])
    assert values["n20_2_shot"][1] == linear_probe.few_shot_accuracy(rng, 2, 2, *sets, 5, arguments.strengths)
    of_validation = linear_probes.probed(
        arguments, 5, 7, "validation", {k: x for k, x in rows.items() if "test" not in k}
    )
    assert of_validation["n20_at_stage0"] != values["n20_at_stage0"]
    metrics = linear_probes.finalise(arguments, 5, 7, "test", {}, rows)
    assert metrics["random_at_pixels"] == metrics["n20_at_pixels"]  # pixels are those of all
    gains = np.subtract(values["n20_2_shot"], values["random_2_shot"])
    assert metrics["n20_2_shot_gain"] == pytest.approx(gains.mean()) and "random_2_shot_gain" not in metrics


@pytest.mark.curriculum("I4", "I5")
def test_the_figure_and_the_table_show_every_network():
    keys = [f"at_{layer}" for layer in ("pixels", "stage0")] + ["1_shot", "5_shot"]
    metrics = {f"{net}_{key}": 0.1 * i + 0.01 * j for i, net in enumerate(("random", "n50", "n450")) for j, key in
               enumerate(keys)}  # fmt: skip
    metrics |= {f"{name}_{end}": value for name, value in metrics.items() for end in ("low", "high")}
    drawn = probes.draw((50, 450), (1, 5), metrics, {})
    left, right = drawn["linear_probes"].axes
    np.testing.assert_allclose(left.lines[2].get_ydata(), [0.2, 0.21])
    np.testing.assert_allclose(right.lines[1].get_ydata(), [0.12, 0.13])
    assert [text.get_text() for text in right.get_legend().get_texts()] == [
        "random weights", "trained on 50", "trained on 450"
    ]  # fmt: skip
    table = [line.split() for line in drawn["table"].splitlines()]
    assert table[0] == ["network", "pixels", "stage0", "1-shot", "5-shot"]
    assert table[-1] == ["n450", "20.0", "21.0", "22.0", "23.0"]


def test_layers_are_shown_from_the_pixels_to_the_scores():
    names = ["pixels", "pre_logits", "stage0", "stage10", "stage2"]
    assert probes.in_order(names) == ["pixels", "stage0", "stage2", "stage10", "pre_logits"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("target=('4','5')", "must be two classes or more each, none in both"),
        ("source=('4',)", "must be two classes or more each, none in both"),
        ("target=('5','5','6')", "none in both and none twice"),
        ("data.first=3", "config.study.target=.*: there is no training image of '.'"),
        ("shots=(1,200)", r"the smallest target class has 11\d training images"),
        ("sizes=(40,20)", "must ascend, up to the 57. source images"),
        ("sizes=(20,4000)", "must ascend, up to the 57. source images"),
        ("strengths=(1.0,0.1)", "config.study.strengths=.* must ascend"),
    ],
)
def test_a_study_that_makes_no_sense_is_refused(override, message):
    with pytest.raises(ConfigError, match=message):
        build(read(f"config.study.{override}"))


def test_an_unknown_layer_is_refused():
    task = build(read("config.study.layer=head")).task
    state = jax.eval_shape(lambda key: create_state(task, key, {}), jax.random.key(0))
    with pytest.raises(
        ConfigError, match=r"config\.study\.layer='head' is not a layer: known: pixels, pre_logits, stage0"
    ):
        jax.eval_shape(task.evals["test"].step, state, {}, jax.random.key(0))
