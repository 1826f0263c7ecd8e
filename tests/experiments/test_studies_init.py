"""Studies of initialisation: printed lists and their theory, gradients in NumPy, symmetry, and depth."""

import json
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.core import studies
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import activation
from cvdl_jax.ops.textbook import activation_statistics as statistics
from experiments.studies import activation_statistics as study

SEEDS = 3


@cache
def runs(name):
    """The statistics of networks of the printed size: {statistic: [seeds, layers]}."""
    each = [study.measure(study.CASES[name], study.Study(), jax.random.key(seed)) for seed in range(SEEDS)]
    return {what: np.stack([run[what] for run in each]) for what in ("mean", "std", "gradient_std")}


def theory(name):
    """Standard deviations of activations for infinite width: `q' = v E g(sqrt(q) z)^2`, by Gauss-Hermite quadrature."""
    z, weights = np.polynomial.hermite_e.hermegauss(200)
    weights = weights / weights.sum()
    case = study.CASES[name]
    variance = {"normal(0.01)": 500 * 1e-4, "xavier_fan_in": 1.0, "he_normal": 2.0}[case.init]
    g = np.tanh if case.activation == "tanh" else lambda x: np.maximum(x, 0)
    moment, stds = 1.0, []
    for _ in range(study.LAYERS):
        a = g(np.sqrt(variance * moment) * z)
        mean, moment = (weights * a).sum(), (weights * a**2).sum()
        stds.append(np.sqrt(moment - mean**2))
    return np.array(stds)


@pytest.mark.curriculum("E11", "E4", "E6")
@pytest.mark.parametrize("name, tolerance", [("small_tanh", 0.015), ("xavier_tanh", 0.02)])
def test_ten_layers_of_tanh_reproduce_the_printed_lists(name, tolerance):
    case, found = study.CASES[name], runs(name)
    for seed in range(SEEDS):
        # Printed to six digits; the spread over seeds comes on top of that of the mean, hence 2
        np.testing.assert_allclose(found["std"][seed], case.std, rtol=2 * tolerance, atol=5.1e-7)
        assert (np.abs(found["mean"][seed] - case.mean) < 0.006 * found["std"][seed] + 5e-7).all()
    np.testing.assert_allclose(found["std"].mean(0), case.std, rtol=tolerance, atol=5.1e-7)
    np.testing.assert_allclose(found["std"].mean(0), theory(name), rtol=tolerance)


@pytest.mark.curriculum("E11", "E6", "E8")
@pytest.mark.parametrize("name, ratio", [("xavier_relu", 0.5**0.5), ("he_relu", 1.0)])
def test_ten_layers_of_relu_reproduce_the_printed_lists(name, ratio):
    """Layer 9 varies by 15 % (one standard deviation over seeds), layer l by about sqrt(l / 9) of that."""
    case, found = study.CASES[name], runs(name)
    np.testing.assert_allclose(found["std"][:, 0], case.std[0], rtol=0.015)
    np.testing.assert_allclose(found["mean"][:, 0], case.mean[0], rtol=0.015)
    spread = 0.15 * np.sqrt(np.arange(study.LAYERS) / 9) + 0.005
    for what, printed in (("std", case.std), ("mean", case.mean)):
        off = np.log(found[what].mean(0) / printed)
        assert (np.abs(off) < 2 * spread * np.sqrt(1 + 1 / SEEDS)).all()
        assert (np.abs(np.log(found[what] / found[what].mean(0))) < 3 * spread).all()
    steps = found["std"][:, 1:] / found["std"][:, :-1]
    np.testing.assert_allclose(steps.mean(), ratio, rtol=0.03)
    np.testing.assert_allclose(found["std"].mean(0)[0], theory(name)[0], rtol=0.01)  # 0.583819 or 0.825645


def test_theory_is_that_of_infinite_width():
    expected = [0.62793, 0.48626, 0.40824, 0.35764, 0.32162, 0.29439, 0.27291, 0.25543, 0.24086, 0.22847]
    np.testing.assert_allclose(theory("xavier_tanh"), expected, rtol=1e-4)
    np.testing.assert_allclose(theory("he_relu"), 0.825645, rtol=0.01)  # the quadrature of a kink
    np.testing.assert_allclose(theory("xavier_relu"), 0.583819 * 0.5 ** (np.arange(10) / 2), rtol=0.03)


@pytest.mark.curriculum("E12")
def test_gradients_are_similar_across_layers_where_activations_are():
    """The criterion of the backward pass: from the last layer to the first the spread of gradients changes by ..."""
    first_to_last = {
        name: (r["gradient_std"][:, 0] / r["gradient_std"][:, -1]) for name, r in ((n, runs(n)) for n in study.CASES)
    }
    assert (np.abs(np.log(first_to_last["he_relu"])) < 0.3).all()
    assert (np.abs(np.log(first_to_last["xavier_relu"] / 0.5**4.5)) < 0.3).all()
    assert (first_to_last["small_tanh"] < 2 * (0.01 * 500**0.5) ** 9).all()  # 1.4e-6: they vanish
    assert (first_to_last["xavier_tanh"] > 0.2).all() and (first_to_last["xavier_tanh"] < 0.4).all()  # saturation


@pytest.mark.curriculum("E12")
@pytest.mark.parametrize("name", ["tanh", "relu"])
def test_statistics_equal_a_numpy_loop(name):
    rng = np.random.default_rng(0)
    x, kernels, last = rng.normal(size=(6, 5)), 0.5 * rng.normal(size=(3, 5, 5)), rng.normal(size=(6, 5))
    g, slope = {
        "tanh": (np.tanh, lambda a: 1 - a**2),
        "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(float)),
    }[name]
    a = [x]
    for w in kernels:
        a.append(g(a[-1] @ w))
    delta, dz, dw = last, [], []
    for i in (3, 2, 1):
        delta = delta * slope(a[i])
        dz, dw = [delta, *dz], [a[i - 1].T @ delta, *dw]
        delta = delta @ kernels[i - 1].T
    inputs = [jnp.asarray(v, jnp.float32) for v in (x, kernels, last)]
    ours = statistics.activations(*inputs[:2], activation(name))
    np.testing.assert_allclose(ours, a[1:], atol=1e-5)
    for mine, theirs in zip(statistics.gradients(*inputs[:2], activation(name), inputs[2]), (dz, dw), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)
    mean, std = statistics.mean_and_std(ours * 1e-25)  # whose squares underflow
    np.testing.assert_allclose(mean, 1e-25 * np.mean(a[1:], (1, 2)), rtol=1e-3, atol=1e-31)
    np.testing.assert_allclose(std, 1e-25 * np.std(a[1:], (1, 2)), rtol=1e-4)


@pytest.mark.curriculum("E2")
def test_distinct_counts_groups_of_equal_vectors():
    v = jnp.array([[1.0, 2], [1, 2], [3, 4], [1, 2.00001], [3, -4], [0, 0]])
    count = jax.jit(statistics.distinct)
    assert int(count(v)) == 4 and int(count(v, 0.0)) == 5  # (1, 2) twice and nearly so; (3, 4); (3, -4); (0, 0)
    assert int(count(jnp.zeros_like(v))) == 1 and int(count(v + 1e6)) == 1 and int(count(v + 1e6, 0.0)) == 4


def results(topic, workdir, *overrides):
    arguments = [f"--config=configs/studies/{topic}.py", f"--workdir={workdir}"]
    assert launch.main(arguments + [f"--config.{override}" for override in overrides]) == 0
    return json.loads((workdir / "results.json").read_text())["metrics"]


@pytest.mark.curriculum("E1", "E2", "E5")
def test_units_that_begin_equal_stay_equal(tmp_path):
    inits = ("zeros", "constant(0.1)", "sparse(0.5)", "auto")
    found = results("symmetry", tmp_path / "run", f"study.inits={inits}", "log.tensorboard=False", "total_epochs=30")
    count = {init: found[f"validation/{init}/distinct_units"] for init in inits}
    assert count == {"zeros": 1, "constant(0.1)": 1, "sparse(0.5)": 16, "auto": 16}
    accuracy = {init: found[f"validation/{init}/accuracy"] for init in inits}
    assert accuracy["zeros"] == 0.5 and accuracy["constant(0.1)"] < 0.6  # one unit cannot draw a circle
    assert accuracy["sparse(0.5)"] > 0.98 and accuracy["auto"] > 0.98


@pytest.mark.long
@pytest.mark.curriculum("E13", "E8")
def test_thirty_layers_of_relu_learn_from_he_and_stall_from_xavier(tmp_path):
    small = ("study.layers=(30,)", "batch_size=32", "eval.every_steps=250", "log.tensorboard=False")
    found = results("deep_relu", tmp_path / "run", *small)
    assert found["loss/he_normal_30/largest_ratio"] <= 0.5  # each of three seeds
    assert found["loss/xavier_fan_in_30/least_ratio"] >= 0.95
    assert found["loss/xavier_fan_in_30/largest_ratio"] <= 1.05


def test_wrong_studies_are_refused():
    config = studies.base("activation_statistics", seeds=1)
    with pytest.raises(ConfigError, match=r"config\.study\.seeds=1 must be at least 2"):
        study.make(config, None)
    for topic, override, message in [
        ("symmetry", "config.data.name=digits", "needs a toy set with 'features'"),
        ("symmetry", "config.model.norm=batch", r"no use for config\.model\.norm"),
        ("symmetry", "config.ema.decay=0.9", r"no use for config\.ema"),
        ("symmetry", "config.study.inits=()", "at least one"),
        ("deep_relu", "config.study.layers=(1,)", "needs layers of at least 2 each"),
        ("deep_relu", "config.model.dropout=0.5", r"no use for config\.model\.dropout"),
        ("deep_relu", "config.ema.decay=0.9", r"no use for config\.ema"),
    ]:
        with pytest.raises(ConfigError, match=message):
            build.build(configs.load(f"configs/studies/{topic}.py:smoke", [override]))
