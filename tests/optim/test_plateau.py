"""Feedback from evaluations: plateau, and early stopping in each of its forms, against NumPy loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import optimizer as optim
from cvdl_jax.optim import plateau as feedback

NAN = math.nan


def first_state(memory, **section):
    optimizer = optim.optimizer("adam", 0.1, total_steps=None, **section)
    params = {"norm": {"scale": jnp.full(3, 2.0)}}
    return State(jnp.int32(0), params, {"model": optimizer.init(params)}, {"feedback": memory, "other": jnp.ones(2)})


def evaluate(plateau, early_stopping, metrics):
    """Scales and stop decisions after each evaluation; `metrics` is a list of dicts."""
    memory, on_eval = feedback.build(plateau, early_stopping)
    on_eval, state = jax.jit(on_eval), first_state(memory)
    structure, scales, stops = jax.tree.structure(state), [], []
    for row in metrics:
        state, stop = on_eval(state, {name: jnp.float32(value) for name, value in row.items()})
        assert jax.tree.structure(state) == structure
        scales.append(float(state.opt["model"][-1].scale))
        stops.append(bool(stop))
    return scales, stops


def losses(*values, name="validation/loss"):
    return [{name: value} for value in values]


def stops(section, *values):
    return evaluate({}, {"metric": "validation/loss", **section}, losses(*values))[1]


def scales(section, *values):
    return evaluate({"metric": "validation/loss", "factor": 0.5, **section}, {}, losses(*values))[0]


def test_both_sections_empty_is_off():
    assert feedback.build({}, {}) is None


@pytest.mark.curriculum("D22")
def test_plateau_reduces_after_patience_evaluations_without_improvement():
    assert scales({"patience": 2}, 5, 4, 4, 4, 4, 4, 3, 3, 3) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]
    assert scales({"patience": 1, "min_delta": 0.5}, 5, 4.6, 4.4, 4) == [1, 0.5, 0.5, 0.25]  # 5 -> 4.6 is too little
    assert scales({"patience": 1, "cooldown": 2}, 5, 5, 5, 5, 5) == [1, 0.5, 0.5, 0.5, 0.25]
    np.testing.assert_allclose(scales({"patience": 1, "min_scale": 0.3}, 5, 5, 5, 5), [1, 0.5, 0.3, 0.3], rtol=1e-6)
    assert scales({"patience": 2, "mode": "max"}, 1, 2, 1, 1, 3) == [1, 1, 1, 0.5, 0.5]


def test_plateau_changes_the_rate_that_the_next_update_uses():
    memory, on_eval = feedback.build({"metric": "a", "patience": 1, "factor": 0.1}, {})
    state = first_state(memory)
    for value in (1.0, 1.0):
        state, stop = on_eval(state, {"a": jnp.float32(value)})
    optimizer = optim.optimizer("adam", 0.1, total_steps=None)
    updates, opt = optimizer.update(jax.tree.map(jnp.ones_like, state.params), state.opt["model"], state.params)
    np.testing.assert_allclose(updates["norm"]["scale"], -0.01 * np.ones(3), rtol=1e-5)
    assert float(opt[-1].learning_rate) == pytest.approx(0.01)
    moments = optax.tree_utils.tree_get(state.opt["model"], "mu")
    np.testing.assert_array_equal(moments["norm"]["scale"], np.zeros(3))  # another leaf called "scale"
    assert not stop
    np.testing.assert_array_equal(state.extra["other"], np.ones(2))


def by_optax(values, factor, patience, min_delta, cooldown, min_scale):
    reduce = optax.contrib.reduce_on_plateau(
        factor=factor, patience=patience, rtol=0.0, atol=min_delta, cooldown=cooldown, min_scale=min_scale
    )
    state, found = reduce.init(jnp.zeros(())), []
    update = jax.jit(lambda state, value: reduce.update(jnp.zeros(()), state, value=value)[1])
    for value in values:
        state = update(state, jnp.float32(value))
        found.append(float(state.scale))
    return found


@pytest.mark.curriculum("D22")
@pytest.mark.parametrize("seed", range(6))
def test_plateau_equals_optax(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 40, 40) / 4 - 0.1 * np.arange(40)
    options = {"patience": 1 + seed % 3, "min_delta": 0.25, "cooldown": seed % 4, "min_scale": 0.05}
    np.testing.assert_allclose(scales(options, *values), by_optax(values, 0.5, **options), rtol=1e-6)


@pytest.mark.curriculum("F9")
def test_early_stopping_by_patience():
    assert stops({"patience": 2}, 5, 4, 4.5, 3, 3.5, 3.2, 9) == [False] * 5 + [True, True]
    assert stops({"patience": 2, "mode": "max"}, 1, 2, 3, 2, 2) == [False] * 4 + [True]
    assert stops({"patience": 2, "min_delta": 1.0}, 5, 4.5, 4.2, 1) == [False, False, True, False]


@pytest.mark.curriculum("F9")
def test_early_stopping_by_a_small_update():
    section = {"update_delta": 0.1, "update_evaluations": 2}
    rows = losses(5, 4, 3.95, 3.5, 3.45, 3.42, 3.4, name="train/loss")
    assert evaluate({}, section, rows)[1] == [False] * 5 + [True, True]


@pytest.mark.curriculum("F9")
def test_early_stopping_in_its_hybrid_form():
    section = {"metric": "validation/loss", "patience": 1, "update_delta": 0.1}
    rows = [{"validation/loss": v, "train/loss": t} for v, t in [(5, 5), (6, 4), (4, 3.99), (4.5, 3.98), (3, 1)]]
    assert evaluate({}, {**section, "combine": "either"}, rows)[1] == [False, True, True, True, False]
    assert evaluate({}, {**section, "combine": "all"}, rows)[1] == [False, False, False, True, False]


@pytest.mark.curriculum("F9")
def test_early_stopping_at_a_target():
    assert stops({"target": 0.98, "mode": "max"}, 0.9, 0.979, 0.98, 0.99) == [False, False, True, True]
    assert stops({"target": 0.1}, 0.2, 0.1, NAN) == [False, True, False]


def test_a_metric_that_is_not_a_number_is_never_an_improvement():
    assert stops({"patience": 2}, NAN, NAN, 1) == [False, True, False]
    assert stops({"patience": 2}, 5, NAN, NAN, 4) == [False, False, True, False]
    assert stops({"patience": 2, "mode": "max"}, 5, NAN, 6, NAN, NAN) == [False] * 4 + [True]
    assert scales({"patience": 2}, 5, NAN, NAN, 4) == [1, 1, 0.5, 0.5]
    rows = losses(1, NAN, NAN, 1, 1, name="train/loss")
    assert evaluate({}, {"update_delta": 0.1}, rows)[1] == [False] * 4 + [True]


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 12).map(lambda v: v / 4), min_size=1, max_size=15),
    st.integers(1, 4),
    st.sampled_from(["min", "max"]),
)
def test_patience_equals_a_loop(values, patience, mode):
    expected, best, since = [], None, 0
    for value in values:
        better = best is None or (value < best if mode == "min" else value > best)
        best, since = (value, 0) if better else (best, since + 1)
        expected.append(since >= patience)
    assert stops({"patience": patience, "mode": mode}, *values) == expected


def test_plateau_and_early_stopping_together_resume_from_their_memory():
    sections = ({"metric": "a", "patience": 1, "factor": 0.5}, {"metric": "a", "patience": 3})
    memory, on_eval = feedback.build(*sections)
    state = first_state(memory)
    values = [3.0, 2.0, 2.5, 2.5, 2.5]
    for value in values[:2]:
        state, _ = on_eval(state, {"a": jnp.float32(value)})
    restored = jax.tree.map(lambda x: jnp.asarray(np.asarray(x)), state)
    _, fresh = feedback.build(*sections)
    for value in values[2:]:
        state, stop = on_eval(state, {"a": jnp.float32(value)})
        restored, again = fresh(restored, {"a": jnp.float32(value)})
        jax.tree.map(np.testing.assert_array_equal, state, restored)
        assert stop == again
    assert stop and float(state.opt["model"][-1].scale) == 0.125


@pytest.mark.parametrize(
    ("plateau", "early_stopping", "words"),
    [
        ({"metric": "a", "factr": 0.1}, {}, ["config.plateau.factr", "did you mean 'factor'"]),
        ({"patience": 3}, {}, ["config.plateau.metric is missing"]),
        ({"metric": "a", "factor": 1.5}, {}, ["config.plateau.factor=1.5", "(0, 1)"]),
        ({"metric": "a", "patience": 0}, {}, ["config.plateau.patience=0", "1 or more"]),
        ({"metric": "a", "mode": "minimum"}, {}, ["config.plateau.mode='minimum'", "'min'"]),
        ({}, {"metric": "a"}, ["no criterion", "patience"]),
        ({}, {"patience": 3}, ["config.early_stopping.metric is missing"]),
        ({}, {"metric": "a", "patience": 1.5}, ["config.early_stopping.patience=1.5", "int"]),
        ({}, {"update_delta": 0.0}, ["config.early_stopping.update_delta=0.0", "positive"]),
        ({}, {"metric": "a", "patience": 1, "combine": "any"}, ["config.early_stopping.combine='any'", "'either'"]),
    ],
)
def test_wrong_sections_are_refused_by_name(plateau, early_stopping, words):
    with pytest.raises(ConfigError) as error:
        feedback.build(plateau, early_stopping)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ("plateau", "early_stopping", "words"),
    [
        (
            {"metric": "validation/los"},
            {},
            ["config.plateau.metric='validation/los'", "did you mean 'validation/loss'"],
        ),
        ({}, {"metric": "loss", "patience": 1}, ["config.early_stopping.metric='loss'", "validation/loss"]),
        ({}, {"update_delta": 0.1}, ["train/loss"]),
    ],
)
def test_a_metric_that_is_not_reported_is_refused_while_tracing(plateau, early_stopping, words):
    memory, on_eval = feedback.build(plateau, early_stopping)
    metrics = {"validation/loss": jnp.float32(1), "validation/accuracy": jnp.float32(1)}
    with pytest.raises(ConfigError) as error:
        jax.eval_shape(on_eval, first_state(memory), metrics)
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.curriculum("F9")
@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"metric": "loss", "target": float("nan")}, r"early_stopping\.target=nan must be finite"),
        ({"metric": "loss", "patience": 2, "min_delta": float("nan")}, "min_delta=nan must be 0 or more, and finite"),
    ],
)
def test_criteria_that_no_number_meets_are_refused(section, words):
    with pytest.raises(ConfigError, match=words):
        feedback.build({}, section)
