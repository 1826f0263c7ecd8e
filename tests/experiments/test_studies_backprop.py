"""What the studies of activations and gradients claim, at sizes that take a second."""

import importlib.util

import jax
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError
from experiments.studies import activations, autodiff, gradient_flow, perceptrons


@pytest.fixture(scope="module")
def facts():
    return activations.facts(("sigmoid", "relu", "leaky_relu(slope=0.1)", "gelu", "tanh", "sine"), 1001)


@pytest.mark.curriculum("B16")
def test_the_table_of_activations(facts):
    metrics, _ = facts
    assert max(value for name, value in metrics.items() if name.endswith("/error")) < 1e-6
    assert metrics["sigmoid/mean"] == pytest.approx(0.5) and abs(metrics["tanh/mean"]) < 1e-6
    assert metrics["relu/mean"] == pytest.approx(1 / np.sqrt(2 * np.pi), abs=2e-3)  # E max(0, z)
    steepest = [metrics[f"{name}/steepest"] for name in ("sigmoid", "tanh", "relu")]
    assert steepest == pytest.approx([0.25, 1, 1])
    assert metrics["relu/lost"] == 1 and metrics["leaky_relu_0.1/lost"] == 0 < metrics["sigmoid/lost"]
    monotone = {name.partition("/")[0]: value for name, value in metrics.items() if name.endswith("/monotone")}
    assert monotone == {"sigmoid": 1, "relu": 1, "leaky_relu_0.1": 1, "gelu": 0, "tanh": 1, "sine": 0}
    # sigma' < 0.01 beyond |z| = 4.585; z ~ N(0, 3)
    assert metrics["sigmoid/saturated"] == pytest.approx(0.1264, abs=2e-3)


@pytest.mark.curriculum("B16")
def test_the_table_and_the_curves_are_drawn(facts):
    drawn = activations.draw(facts)
    assert len(drawn["activations"].axes) == 10
    assert "leaky_relu(slope=0.1)" in drawn["table"] and len(drawn["table"].splitlines()) == 7


@pytest.mark.curriculum("B17", "B22", "B25")
def test_four_ways_to_one_gradient():
    metrics, (steps, curves) = autodiff.compare(0, (3, 4, 2), 5, np.arange(-8.0, 0))
    assert metrics["tape_error"] < 1e-11 and metrics["equations_error"] < 1e-11
    assert metrics["central_float64/best_error"] < 1e-7 < metrics["central_float32/best_error"]
    assert metrics["central_float64/best_error"] < metrics["forward_float64/best_error"]
    assert metrics["central_float64/best_log10_h"] < metrics["central_float32/best_log10_h"]
    assert set(autodiff.draw((steps, curves))) == {"differences"}


@pytest.mark.curriculum("B30")
def test_gradients_vanish_explode_or_arrive():
    cases = ("sigmoid lecun", "relu small", "relu he", "relu large")
    metrics, found = gradient_flow.compare(0, cases, depth=8, width=32, examples=32)
    assert metrics["sigmoid_lecun/decades"] < -3 and metrics["relu_small/decades"] < -7
    assert abs(metrics["relu_he/decades"]) < 0.7 < 2 < metrics["relu_large/decades"]
    signals, norms, deviations = found["relu large"]
    assert len(signals) == len(norms) == len(deviations) == 8
    np.testing.assert_allclose(signals[0] / signals[-1], (3 / np.sqrt(2)) ** 7, rtol=1)  # the slope of half the units
    assert deviations[-1] / deviations[0] > 50
    assert set(gradient_flow.draw(found)) == {"gradient_flow"}


@pytest.mark.curriculum("B30")
def test_the_profile_is_the_gradient_that_jax_computes():
    """dW of the first layer, from the study's loop, against automatic differentiation of the same network."""
    import jax.numpy as jnp

    from cvdl_jax.ops.losses.classification import softmax_cross_entropy

    with jax.enable_x64(True):
        key = jax.random.key(3)
        _, norms, deviations = gradient_flow.profile("tanh lecun", key, 3, 4, 6, 2)
        keys = jax.random.split(key, 5)
        weights = [0.5 * jax.random.normal(k, (n, 4)) for k, n in zip(keys, (4, 4, 4, 2), strict=False)]
        x, labels = jax.random.normal(keys[-1], (6, 4)), jnp.arange(6) % 2

        def cost(weights):
            a = x
            for w in weights[:-1]:
                a = jnp.tanh(a @ w.T)
            return softmax_cross_entropy(a @ weights[-1].T, labels).mean()

        expected = [np.linalg.norm(g) for g in jax.grad(cost)(weights)[:-1]]
        np.testing.assert_allclose(norms, expected, rtol=1e-6)
        np.testing.assert_allclose(deviations[0], jnp.tanh(x @ weights[0].T).std(), rtol=1e-6)


@pytest.mark.curriculum("B4", "B31")
def test_what_each_network_decides_is_drawn():
    """A linear network cuts the plane by a line, so opposite corners of a square get the two classes."""
    config = configs.load("configs/studies/nonlinearity.py:smoke")
    built = build.build(config)
    assert set(config.study.models) == {"linear", "five_linear", "relu", "deep_relu"}
    batch = {"features": np.random.default_rng(0).normal(size=(8, 2)).astype(np.float32), "label": np.arange(8) % 2}
    parts = built.task.init(jax.random.key(0), batch)
    from cvdl_jax.core.task import State

    state = State(0, parts["params"], {}, parts["extra"])
    figure = built.task.report(state, batch, jax.random.key(0))["decisions"]
    assert [axis.get_title() for axis in figure.axes] == list(config.study.models)
    images = dict(zip(config.study.models, (np.asarray(a.images[0].get_array()) for a in figure.axes), strict=True))
    for name in ("linear", "five_linear"):  # no more than two classes, and each row of pixels changes at most once
        colours = images[name][..., 0]
        assert (np.count_nonzero(np.diff(colours, axis=1), axis=1) <= 1).all(), name


@pytest.mark.long
@pytest.mark.curriculum("B4", "B31")
@pytest.mark.parametrize(("data", "linear"), [("circles", 0.65), ("xor", 0.80)])
def test_only_networks_with_a_nonlinearity_separate_rings_and_xor(tmp_path, data, linear):
    workdir = tmp_path / "run"
    assert launch.main([f"--config=configs/studies/nonlinearity.py:data={data}", f"--workdir={workdir}"]) == 0
    metrics = results(workdir)
    assert metrics["test/linear/accuracy"] < linear and metrics["test/five_linear/accuracy"] < linear
    assert metrics["test/relu/accuracy"] > 0.98 and metrics["test/deep_relu/accuracy"] > 0.98


@pytest.mark.long
@pytest.mark.curriculum("B29", "B9")
def test_a_high_rate_kills_relu_units_and_a_slope_keeps_them(tmp_path):
    workdir = tmp_path / "run"
    assert launch.main(["--config=configs/studies/dead_units.py", f"--workdir={workdir}"]) == 0
    metrics = results(workdir)
    dead = {
        name: np.mean([metrics[f"validation/{name}/activation{i}/dead"] for i in range(3)])
        for name in ("relu", "leaky_relu", "prelu")
    }
    assert dead["relu"] > 0.5 and dead["leaky_relu"] == 0 and dead["prelu"] < 0.1


@pytest.mark.long
@pytest.mark.curriculum("B28")
def test_nine_hidden_layers_learn_digits(tmp_path):
    workdir = tmp_path / "run"
    assert launch.main(["--config=configs/studies/deep_mlp.py", f"--workdir={workdir}"]) == 0
    assert results(workdir)["test/accuracy"] > 0.95


@pytest.mark.curriculum("B28")
def test_the_deep_perceptron_has_nine_hidden_layers():
    config = configs.load("configs/studies/deep_mlp.py")
    assert config.model.hidden == (128,) * 9 and config.optim.name == "sgd"
    assert configs.load("configs/studies/deep_mlp.py:depth=2,width=5").model.hidden == (5, 5)


def results(workdir):
    import json

    return json.loads((workdir / "results.json").read_text())["metrics"]


def test_what_a_study_of_perceptrons_would_not_read_is_refused():
    config = configs.load("configs/studies/nonlinearity.py:smoke")
    config.augment = "flip"
    with pytest.raises(ConfigError, match=r"no use for config\.augment"):
        build.build(config)
    config = configs.load("configs/studies/nonlinearity.py:smoke")
    config.study.models.relu.hiden = (3,)
    with pytest.raises(ConfigError, match="did you mean 'hidden'"):
        build.build(config)


def test_studies_are_found_by_their_configs():
    for topic in ("activations", "autodiff", "gradient_flow", "perceptrons"):
        assert importlib.util.find_spec(f"experiments.studies.{topic}") is not None
    assert perceptrons.make is build.load_experiment("studies.perceptrons").make
