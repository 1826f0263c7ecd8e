"""Diagnostics: what they see equals NumPy, padding does not count, training and resuming are not disturbed."""

import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models_for_tests import make_model

import launch
from cvdl_jax.analysis import diagnostics
from cvdl_jax.config import configs
from cvdl_jax.core import task, trace_context
from cvdl_jax.core.task import State
from cvdl_jax.engine import build
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import observe
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.apply import apply_eval, initialise
from cvdl_jax.workdir.metric_log import read

SMALL = ["--config=configs/classify/mlp.py:smoke", "--config.model.hidden=(12,8)", "--config.log.tensorboard=False"]
BOTH = ["--config.diagnostics.activations=True", "--config.diagnostics.gradients=True"]


def state_of(model, x):
    params, stats = initialise(model, jax.random.key(0), x, False)
    return State(jnp.zeros((), jnp.int32), params, {}, {"batch_stats": stats})


def look(model, state, x):
    """(logits, what was seen) of one compiled evaluation."""

    @jax.jit
    def run(state, x):
        with observe.observing() as seen:
            logits, _ = apply_eval(model, state, x)
        return logits, seen

    return run(state, x)


@pytest.mark.curriculum("B29")
def test_a_perceptron_is_seen_layer_by_layer():
    model = make_model("mlp", 3, "float32", hidden=(6, 5), activation="leaky_relu(slope=0.1)")
    x = np.random.default_rng(0).normal(size=(4, 7)).astype(np.float32)
    state = state_of(model, x)
    logits, seen = look(model, state, x)
    assert seen.keys() == {"dense0", "dense1", "head", "activation0", "activation1"}
    z = x @ state.params["dense0"]["kernel"] + state.params["dense0"]["bias"][None]
    np.testing.assert_allclose(seen["dense0"]["output"][0], z, atol=1e-5)
    np.testing.assert_array_equal(seen["activation0"]["input"][0], seen["dense0"]["output"][0])
    np.testing.assert_allclose(seen["activation0"]["slope"][0], np.where(z >= 0, 1, 0.1), rtol=1e-6)
    np.testing.assert_array_equal(seen["head"]["output"][0], logits)
    np.testing.assert_array_equal(logits, jax.jit(lambda s, x: apply_eval(model, s, x)[0])(state, x))


@pytest.mark.curriculum("B9", "B29")
def test_the_learned_slope_is_what_is_seen():
    model = make_model("mlp", 3, "float32", hidden=(6,), activation="prelu")
    x = np.random.default_rng(0).normal(size=(9, 7)).astype(np.float32)
    state = state_of(model, x)
    state.params["PReLU_0"]["slope"] = jnp.array([0.5, 0, -1, 2, 1, 0.25])
    _, seen = look(model, state, x)
    z, slope = seen["activation0"]["input"][0], seen["activation0"]["slope"][0]
    expected = np.where(z >= 0, 1, np.broadcast_to(state.params["PReLU_0"]["slope"][None], z.shape))
    np.testing.assert_allclose(slope, expected, rtol=1e-5)


def test_a_residual_network_is_seen_inside_its_blocks_also_when_they_are_rematerialised():
    x = np.zeros((2, 16, 16, 3), np.float32)
    for remat in (False, True):
        model = make_model("resnet8_tiny", 3, "float32", remat=remat)

        def run(x, model=model):
            params, stats = initialise(model, jax.random.key(0), x, False)
            with observe.observing() as seen:
                apply_eval(model, State(0, params, {}, {"batch_stats": stats}), x)
            return seen

        seen = jax.eval_shape(run, x)
        assert {"stem", "stem_norm", "stage1_block0/conv1", "stage2_block0/norm0", "head"} <= seen.keys()
        assert seen["stage1_block0/activation1"]["input"][0].shape == (2, 8, 8, 8)
        assert sum("slope" in arrays for arrays in seen.values()) == 7


def test_models_inside_a_loop_are_left_alone():
    model = make_model("mlp", 3, "float32", hidden=(4,))
    x = np.zeros((2, 3), np.float32)
    state = state_of(model, x)

    def run(state, x):
        body = lambda carry, row: (carry, apply_eval(model, state, row[None])[0])  # noqa: E731
        with observe.observing() as seen:
            out = jax.lax.scan(body, 0, x)[1]
        assert seen == {}
        return out

    assert jax.jit(run)(state, x).shape == (2, 1, 3)


def test_nobody_looking_costs_nothing():
    """The program of an evaluation is the same, equation for equation, as that of the model alone."""
    model = make_model("mlp", 3, "float32", hidden=(4,), activation="sigmoid")
    x = np.zeros((2, 3), np.float32)
    state = state_of(model, x)
    variables = {"params": state.params, "batch_stats": {}}
    plain = jax.make_jaxpr(lambda v, x: model.apply(v, x, False)[0])(variables, x)
    assert str(jax.make_jaxpr(lambda s, x: apply_eval(model, s, x)[0])(state, x).jaxpr.eqns) == str(plain.jaxpr.eqns)


def numbers(z, mask, saturation, name):
    """The metrics of one layer and its activation by NumPy."""
    slope = np.asarray(jax.vmap(jax.vmap(jax.grad(activation(name))))(jnp.asarray(z, jnp.float32)))[mask > 0]
    kept = z[mask > 0].astype(np.float64)
    small = np.abs(slope) < saturation
    return {
        "d/output_mean": kept.mean(), "d/output_std": kept.std(), "a/saturated": small.mean(),
        "a/dead": small.all(0).mean(),
    }  # fmt: skip


@jax.jit
def measured(z, mask):
    seen = {"d": {"output": [z]}, "a": {"input": [z], "slope": [(z > 0).astype(jnp.float32)]}}
    return diagnostics.measure(seen, mask, 0.01)


@pytest.mark.curriculum("B29")
@given(seed=st.integers(0, 200), rows=st.integers(1, 8))
def test_batches_add_up_and_padding_does_not_count(seed, rows):
    """Two batches of four rows, the last ones padding; some units are always negative, so dead."""
    rng = np.random.default_rng(seed)
    z = (3 * rng.normal(size=(8, 5)) + 100 * rng.normal(size=(1, 5)) * (rng.random((1, 5)) < 0.5)).astype(np.float32)
    mask = (np.arange(8) < rows).astype(np.float32)
    mask[4] = mask[4] if rows > 4 else 1  # no batch is all padding
    parts = [measured(z[i : i + 4], mask[i : i + 4]) for i in (0, 4)]
    found = diagnostics.summarise({k: np.concatenate([p[k] for p in parts]) for k in parts[0]})
    expected = numbers(z, mask, 0.01, "relu")
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.curriculum("B29")
def test_channels_of_a_convolution_are_units():
    """A channel is dead if it is so at every pixel of every image."""
    slope = np.zeros((2, 3, 3, 4), np.float32)
    slope[1, 2, 0, 0] = 1
    slope[..., 1] = 1
    found = diagnostics.measure({"a": {"slope": [jnp.asarray(slope)]}}, jnp.ones(2), 0.01)
    assert found["a/alive"].tolist() == [[1, 18, 0, 0]]
    metrics = diagnostics.summarise(jax.device_get(found))
    assert metrics == pytest.approx({"a/saturated": 1 - 19 / 72, "a/dead": 0.5})


@pytest.mark.curriculum("B29")
def test_sigmoid_saturates_and_relu_dies():
    """All weights zero and a bias of -20: sigmoid' is 2e-9, ReLU' is 0, Leaky ReLU' its slope."""
    x = np.ones((3, 2), np.float32)
    for name, dead in (("sigmoid", 1), ("relu", 1), ("tanh", 1), ("leaky_relu(slope=0.1)", 0), ("prelu", 0)):
        model = make_model("mlp", 2, "float32", hidden=(4,), activation=name)
        state = state_of(model, x)
        state.params["dense0"] = {"kernel": jnp.zeros((2, 4)), "bias": jnp.full(4, -20.0)}
        _, seen = look(model, state, x)
        metrics = diagnostics.summarise(jax.device_get(diagnostics.measure(seen, None, 0.01)))
        assert metrics["activation0/dead"] == metrics["activation0/saturated"] == dead
        assert metrics["dense0/output_mean"] == -20 and metrics["dense0/output_std"] == 0


@pytest.mark.curriculum("G8")
def test_drift_is_a_distance_in_first_standard_deviations():
    first = np.array([1.0, 2.0])
    assert diagnostics.drift(first, first) == 0
    assert diagnostics.drift(first, np.array([7.0, 10.0])) == pytest.approx(5)  # sqrt(6^2 + 8^2) / 2
    assert diagnostics.drift(np.array([np.nan, np.nan]), first) == 0  # the first evaluation itself
    assert np.isnan(diagnostics.drift(np.array([1.0, 0.0]), first))


@pytest.mark.curriculum("B30")
def test_descend_reports_the_norm_of_every_layer():
    params = {"a": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "block": {"b": {"kernel": jnp.ones(3)}}}
    weights = {"a": {"kernel": 1.0, "bias": 2.0}, "block": {"b": {"kernel": 3.0}}}

    def loss(state, batch, key):
        terms = jax.tree.map(lambda w, p: w * p.sum(), weights, state.params)
        return state, {"loss": (sum(jax.tree.leaves(terms)), jnp.ones(()))}

    step = task.descend(loss, optax.sgd(0.1))
    state = step.init(State(jnp.zeros((), jnp.int32), params))
    with trace_context.within(layer_norms=True):
        _, _, sums = step.update(state, {}, jax.random.key(0))
    norms = {name: float(total / weight) for name, (total, weight) in sums.items() if name != "loss"}
    expected = {"a/gradient_norm": (4 + 8) ** 0.5, "block/b/gradient_norm": 27**0.5, "gradient_norm": 39**0.5}
    assert norms == pytest.approx(expected)
    assert "a/gradient_norm" not in step.update(state, {}, jax.random.key(0))[2]


def run(workdir, *more):
    assert launch.main([*SMALL, f"--workdir={workdir}", *more]) == 0
    rows = [{k: v for k, v in row.items() if not k.startswith("time/")} for row in read(workdir / "metrics.jsonl")]
    return rows, json.loads((workdir / "results.json").read_text())["metrics"]


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("watched") / "run"
    return folder, *run(folder, *BOTH, "--config.eval.every_percent=50")


@pytest.mark.curriculum("B29", "B30", "G8")
def test_any_run_can_switch_them_on_and_sees_them_in_its_report(watched):
    folder, rows, metrics = watched
    layers = {"dense0", "dense1", "head"}
    assert {f"train/{layer}/gradient_norm" for layer in layers} <= rows[-1].keys()
    for layer in layers:
        assert rows[0][f"validation/{layer}/output_drift"] == 0 < rows[1][f"validation/{layer}/output_drift"]
        old, new = (np.array([r[f"validation/{layer}/output_{m}"] for m in ("mean", "std")]) for r in rows)
        assert rows[1][f"validation/{layer}/output_drift"] == pytest.approx(diagnostics.drift(old, new), rel=1e-4)
    assert 0 < metrics["validation/activation1/saturated"] < 1 and "validation/activation0/dead" in metrics
    assert "test/dense0/output_mean" not in metrics
    page = (folder / "report.html").read_text()
    assert (folder / "figures" / "diagnostics.png").exists()
    assert all(f"validation/{name}" in page for name in ("dense0/output_drift", "activation0/saturated"))
    with np.load(folder / "predictions" / "validation.npz") as saved:  # sums of batches are no predictions
        assert not [name for name in saved.files if name.startswith("diagnostics")]


def test_they_do_not_disturb_training(watched, tmp_path):
    """The same losses and scores without them, on the same machine."""
    rows, metrics = run(tmp_path / "run", "--config.eval.every_percent=50")
    for row, other in zip(rows, watched[1], strict=True):
        assert row == pytest.approx({name: other[name] for name in row}, rel=1e-6)
    assert metrics == pytest.approx({name: watched[2][name] for name in metrics}, rel=1e-6)


def test_a_resumed_run_remembers_the_first_evaluation(watched, tmp_path, monkeypatch):
    """Stopped after the first evaluation and started again: the same rows, bit for bit."""
    from cvdl_jax.engine.train import Loop

    class Stop(BaseException):
        pass

    advance = Loop._advance

    def once(self):
        if self.step == 1:
            self._save_is_due = lambda: True
            if 1 not in self.checkpoints.steps():
                self._save()
            raise Stop
        advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_advance", once)
        with pytest.raises(Stop):
            run(tmp_path / "run", *BOTH, "--config.eval.every_percent=50")
    rows, metrics = run(tmp_path / "run", *BOTH, "--config.eval.every_percent=50")
    assert rows == watched[1] and metrics == watched[2]


def test_digests_of_configs_that_do_not_use_them_are_those_of_before():
    config = configs.load("configs/classify/mlp.py")
    plain = configs.to_plain(config)
    assert plain["diagnostics"] == {}
    without = {key: value for key, value in plain.items() if key != "diagnostics"}
    assert configs.digest(without) == configs.digest(config)
    config.diagnostics = {"gradients": True}
    assert configs.digest(config) != configs.digest(without)


@pytest.mark.parametrize(
    ("section", "match"),
    [
        ({"saturation": 0.1}, "switches nothing on"),
        ({"activations": True, "saturation": 1.5}, r"saturation=1.5 must be in \(0, 1\)"),
        ({"activation": True}, "did you mean 'activations'"),
    ],
)
def test_what_makes_no_sense_is_refused(section, match):
    config = configs.load(SMALL[0].partition("=")[2])
    config.diagnostics = section
    with pytest.raises(ConfigError, match=match):
        build.build(config)


def test_an_evaluation_without_a_model_is_refused():
    silent = task.Eval(lambda state, batch, key: {"x": (jnp.ones(()), jnp.ones(()))}, data=1)
    new = diagnostics.diagnosed(task.Task(None, None, {"study": silent}), None, activations=True)
    with pytest.raises(ConfigError, match=r"'study' runs no model through nn/apply\.py"):
        new.evals["study"].step(State(0, {}), {}, None)
    with pytest.raises(ConfigError, match="takes no steps"):
        diagnostics.diagnosed(task.Task(None, None), None, gradients=True)
    with pytest.raises(ConfigError, match="evaluates nothing"):
        diagnostics.diagnosed(task.Task(None, None), None, activations=True)


def test_every_observed_layer_is_a_flax_module():
    assert all(issubclass(layer, nn.Module) for layer in observe.LAYERS)


@pytest.mark.long
def test_a_generator_is_seen_while_it_samples(tmp_path):
    flags = ["--config=configs/generate/dcgan.py:smoke", *BOTH, f"--workdir={tmp_path / 'run'}"]
    assert launch.main(flags) == 0
    metrics = json.loads((tmp_path / "run" / "results.json").read_text())["metrics"]
    assert metrics["validation/generator/conv0/output_std"] > 0
    assert read(tmp_path / "run" / "metrics.jsonl")[-1]["train/discriminator/conv0/gradient_norm"] > 0
    assert (tmp_path / "run" / "figures" / "diagnostics.png").exists()
