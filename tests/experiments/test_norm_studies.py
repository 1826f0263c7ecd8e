"""The studies of normalisation: what they claim, at a size that takes seconds, and how they share batches."""

import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from models_for_tests import make_model

from cvdl_jax.config import configs
from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.core.task import State, Transform, descend
from cvdl_jax.engine import train
from cvdl_jax.engine.build import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.metric_log import read
from experiments.studies import normalisation


def test_parts_of_a_batch_are_steps_of_their_own():
    def loss(state, batch, key):
        each = jnp.square(batch["x"] - state.params)
        return state, {"loss": (each.sum(), jnp.ones(()) * len(each))}

    step = descend(loss, optax.sgd(0.1, momentum=0.9))
    state, x = step.init(State(jnp.zeros((), int), jnp.zeros(()))), jnp.arange(8.0)
    new, _, sums = jax.jit(normalisation.in_parts(step, 4).update)(state, {"x": x}, jax.random.key(0))
    total = 0.0
    for part in x.reshape(4, 2):
        state, _, each = step.update(state, {"x": part}, jax.random.key(0))
        total += float(each["loss"][0])
    np.testing.assert_allclose(new.params, state.params, rtol=1e-6)
    np.testing.assert_allclose(sums["loss"], [total, 8], rtol=1e-6)


@pytest.mark.curriculum("G7")
def test_the_scale_of_weights_has_no_effect_and_larger_weights_get_smaller_gradients():
    """`BN(a W x) = BN(W x)` and `dL / d(a W) = 1 / a dL / dW` (Ioffe and Szegedy 2015, section 3.3)."""
    model = make_model("mlp_tiny", 3, "float32", norm="batch(epsilon=1e-12)")
    x = np.random.default_rng(0).normal(size=(16, 8, 8, 1)).astype(np.float32)

    @jax.jit
    def run(scale):
        made = model.init(jax.random.key(0), x, False)

        def loss(kernel):
            params = {**made["params"], "dense0": {"kernel": kernel}}
            (logits, _), _ = model.apply({**made, "params": params}, x, True, mutable=["batch_stats"])
            return jnp.square(logits).sum(), logits

        return jax.grad(loss, has_aux=True)(scale * made["params"]["dense0"]["kernel"])

    (gradient, logits), (small, same) = run(1.0), run(10.0)
    np.testing.assert_allclose(same, logits, atol=1e-4)
    np.testing.assert_allclose(small, gradient / 10, atol=1e-5)


@pytest.mark.long
@pytest.mark.curriculum("G7", "G8")
def test_batch_normalisation_saves_small_weights_and_steadies_distributions(tmp_path):
    """Small weights, 162 steps: gradients reach the first layer, the inputs of activations stay, digits are learned."""
    config = configs.load("configs/studies/batch_norm.py")
    cases = {name: dict(config.study.cases[name]) for name in ("none_small", "batch_small")}
    config.study = {"cases": cases}
    config.update({"total_epochs": 9, "eval": {"every_epochs": 3}})  # running averages have arrived at the first
    assert train.train(configs.from_plain(configs.to_plain(config)), str(tmp_path), [], lambda folder: None) == 0
    rows = read(tmp_path / "metrics.jsonl")
    first = {name: rows[0][f"train/{name}/dense0/gradient_norm"] for name in cases}
    assert first["batch_small"] > 1000 * first["none_small"]
    drift = lambda name, layer: rows[-1][f"validation/{name}/{layer}/output_drift"]  # noqa: E731
    # Not the outputs of the norm, which it makes steady, but what it is given: sums of steady inputs over weights that
    # learn. The first layer reads the images, which do not move.
    for layer in ("dense1", "dense2"):
        assert 0.1 < drift("batch_small", layer) < 0.2 * drift("none_small", layer)
    assert drift("batch_small", "norm2") < 0.5 * drift("batch_small", "dense2")
    metrics = json.loads((tmp_path / "results.json").read_text())["metrics"]
    assert metrics["test/batch_small/accuracy"] > 0.8 > 0.2 > metrics["test/none_small/accuracy"]
    assert (tmp_path / "figures" / "accuracy.png").exists()


@pytest.mark.curriculum("G6", "G13")
def test_the_studies_name_what_they_compare():
    cases = configs.load("configs/studies/batch_norm.py").study.cases
    assert cases["batch_after"].placement == "after" and cases["none_lr1"].lr == 10 * cases["none_large"].lr
    cases = configs.load("configs/studies/small_batches.py").study.cases
    assert cases["standardised_1"].to_dict() == {"batch": 1, "norm": "group(groups=4)", "conv": "standardised"}
    metrics = {f"{name}/accuracy": 0.5 for name in cases}
    assert "accuracy" in normalisation.accuracies(cases, metrics, {})


def test_a_case_must_divide_the_batch():
    config = configs.load("configs/studies/small_batches.py:smoke")
    config.study = {"cases": {"odd_3": {"batch": 3}}}
    with pytest.raises(ConfigError, match=r"config\.study\.cases\.odd_3\.batch=3 must divide config\.batch_size=16"):
        build(config)
    with pytest.raises(ConfigError, match="with labelled images or features"):
        normalisation.make(config, SimpleNamespace(num_classes=None, spec={}))


@pytest.mark.parametrize(
    "run",
    ["configs/studies/invariance.py:smoke", "configs/studies/regularisers.py:smoke", "configs/rl/dqn.py:smoke"],
)
def test_experiments_that_keep_parameters_alone_refuse_running_averages(run, tmp_path):
    config = configs.load(run, ["config.model.norm=batch"])
    with pytest.raises(ConfigError, match=r"config\.model\.norm: this experiment keeps the parameters .* use 'layer'"):
        train.train(config, str(tmp_path), [], lambda folder: None)


@pytest.mark.curriculum("G13")
def test_parts_of_a_batch_need_the_whole_batch():
    step = normalisation.in_parts(Transform(lambda state, batch, key: (state, batch, {})), 2)
    with pytest.raises(ConfigError, match=r"no device holds whole under pmap; set config\.parallel\.mode='jit'"):
        jax.vmap(lambda x: step.update(None, {"x": x}, jax.random.key(0))[1], axis_name=PMAP_AXIS)(jnp.ones((2, 4)))
