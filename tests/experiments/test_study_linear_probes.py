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
    """The task, its state at first and after a step, and what the test evaluation gave of the latter."""
    task = build(read()).task
    state = jax.jit(lambda key: create_state(task, key, {}))(jax.random.key(0))
    after, _ = jax.jit(step_function(task, 0))(state, {})
    means = jax.jit(task.evals["test"].step)(after, {}, jax.random.key(5))
    return state, after, {name: float(total) for name, (total, _) in means.items()}


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
    others = np.setdiff1d(np.arange(len(image)), rows[:, :3])
    assert float(slope(image.at[others].set(0))) == loss
    assert all(float(slope(image.at[rows[seed, :3]].set(0))) != loss for seed in range(2))


@pytest.mark.curriculum("I4")
def test_accuracies_are_those_of_probes_of_each_network(study):
    _, after, means = study
    model = registry.create(read().model, "", num_classes=5)
    strengths, data = read().study.strengths, after.extra["data"]
    features = jax.jit(lambda p, x: linear_probe.features(model.apply({"params": p}, x, False)[1]))
    fit = jax.jit(lambda x, labels: linear_probe.fit(x, labels, 5, strengths))
    for net, params in (("random", after.extra["initial"]), ("n20", after.params["n20"])):
        for seed in range(2):
            one = jax.tree.map(lambda x, i=seed: x[i], params)
            layers = []
            for name in ("train", "validation", "test"):
                layers.append(features(one, data[name]["image"] / 255.0))
            for layer in ("stage0", "pre_logits"):
                probe = fit(layers[0][layer], data["train"]["label"])
                pairs = zip(layers[1:], ("validation", "test"), strict=True)
                on = [linear_probe.accuracies(probe, x[layer], data[name]["label"]) for x, name in pairs]
                expected = float(on[1][linear_probe.chosen(on[0])])
                assert means[f"{net}_at_{layer}/{seed}"] == pytest.approx(expected, abs=0.012)  # one image of 180
    assert means["random_at_pixels/0"] == means["n20_at_pixels/1"]  # pixels are those of all
    assert len(means) == 2 * 2 * (3 + 1)


@pytest.mark.curriculum("I5")
def test_gains_are_over_the_first_weights_of_the_same_seed():
    values = {"random_5_shot": (0.2, 0.4), "n50_5_shot": (0.5, 0.9), "random_at_pixels": (0.3, 0.3)}
    means = {f"{name}/{i}": x for name, pair in values.items() for i, x in enumerate(pair)}
    metrics = linear_probes.finalise(means, {})
    assert metrics["n50_5_shot"] == pytest.approx(0.7) and metrics["n50_5_shot_gain"] == pytest.approx(0.4)
    assert "random_5_shot_gain" not in metrics and metrics["random_at_pixels"] == pytest.approx(0.3)


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("target=('4','5')", "none of them in source="),
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
