"""Transforms and gradient estimators: what a training step computes, against Optax and NumPy by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from regression import KEY, PARAMS, assert_close, regression_batch, regression_gradient, squared_error, state_of

from cvdl_jax.core import parallel
from cvdl_jax.core.task import (
    State,
    Task,
    Transform,
    chain,
    copy_to,
    create_state,
    descend,
    ema,
    every,
    repeat,
    step_function,
)
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import optimizer as optim


def report(name):
    """A transform that reports a number drawn from its key."""
    return lambda state, batch, key: (state, batch, {name: (jax.random.uniform(key), jnp.float32(1))})


# chain, repeat, every ----------------------------------------------------------------------------------------------


def test_chain_gives_the_ith_transform_the_ith_key_and_passes_state_and_batch_on():
    def double(state, batch, key):
        return state._replace(extra={"seen": batch}), batch * 2, {"a": (jax.random.uniform(key), jnp.float32(1))}

    state, batch, sums = chain(double, report("b"), report("c")).update(state_of({}), jnp.ones(2), KEY)
    for i, name in enumerate("abc"):
        assert sums[name][0] == jax.random.uniform(jax.random.fold_in(KEY, i))
    np.testing.assert_array_equal(state.extra["seen"], np.ones(2))
    np.testing.assert_array_equal(batch, 2 * np.ones(2))


def test_chain_leaves_out_none_and_does_not_count_it():
    def adds(name):
        return Transform(report(name), lambda state: state._replace(extra={**state.extra, name: len(state.extra)}))

    parts = adds("a"), report("b"), adds("c")
    with_gaps = chain(None, parts[0], None, None, *parts[1:], None)
    assert with_gaps.init(state_of({})).extra == {"a": 0, "c": 1}
    sums = with_gaps.update(state_of({}), {}, KEY)[2]
    for i, name in enumerate("abc"):
        assert sums[name][0] == jax.random.uniform(jax.random.fold_in(KEY, i))


def test_chain_runs_every_init_in_order():
    def adds(name):
        return Transform(report(name), lambda state: state._replace(extra={**state.extra, name: len(state.extra)}))

    assert chain(adds("a"), report("b"), adds("c")).init(state_of({})).extra == {"a": 0, "c": 1}


def test_the_same_name_twice_is_an_error():
    with pytest.raises(ValueError, match=r"\['a'\]"):
        chain(report("a"), report("b"), report("a")).update(state_of({}), {}, KEY)
    with pytest.raises(TypeError, match="Transform or a function"):
        chain(report("a"), 3)


@settings(max_examples=20)
@given(st.integers(1, 5), st.integers(1, 4))
def test_repeat_uses_every_row_once_in_strided_parts(n, size):
    parts, keys = [], []

    def look(state, batch, key):
        parts.append(np.asarray(batch["x"]))
        keys.append(key)
        return state, batch, {"total": (batch["x"].sum(), jnp.float32(len(batch["x"])))}

    rows = {"x": jnp.arange(n * size, dtype=jnp.float32)}
    _, batch, sums = repeat(look, n).update(state_of({}), rows, KEY)
    for i in range(n):
        np.testing.assert_array_equal(parts[i], np.arange(n * size)[i::n])
        assert keys[i] == jax.random.fold_in(KEY, i)
    assert batch is rows
    assert sums["total"] == (sum(range(n * size)), n * size)


def test_repeat_takes_as_many_optimizer_steps_on_fresh_rows():
    optimizer, batch = optax.adam(0.1), regression_batch()
    transform = repeat(descend(squared_error, optimizer), 3)
    state, _, sums = jax.jit(transform.update)(state_of(PARAMS, transform), batch, KEY)
    params, opt = PARAMS, optimizer.init(PARAMS)
    for i in range(3):
        grads = regression_gradient(params, {name: leaf[i::3] for name, leaf in batch.items()})
        updates, opt = optimizer.update(jax.tree.map(jnp.float32, grads), opt)
        params = optax.apply_updates(params, updates)
    assert_close(state.params, params)
    assert sums["error"][1] == 12
    np.testing.assert_allclose(sums["loss"][1], batch["weight"].sum(), rtol=1e-6)


def test_a_batch_that_cannot_be_split_is_refused():
    with pytest.raises(ConfigError, match="12 rows cannot be split into 5"):
        repeat(report("a"), 5).update(state_of({}), regression_batch(), KEY)


def test_every_acts_after_each_kth_step_and_reports_zero_sums_otherwise():
    def train(state, batch, key):
        new = state._replace(params=state.params + 1)
        return new, batch, {"count": (jnp.float32(5), jnp.float32(2)), "plain": (1.0, 1)}

    task = Task(init=lambda key, batch: {"params": jnp.float32(0)}, train=every(3, train))
    state, step = create_state(task, KEY, {}), jax.jit(step_function(task, 0))
    params, counts = [], []
    for _ in range(7):
        state, sums = step(state, jnp.ones(2))
        params.append(float(state.params))
        counts.append(tuple(map(float, sums["count"] + sums["plain"])))
    assert params == [0, 0, 1, 1, 1, 2, 2]
    assert counts == [(5, 2, 1, 1) if k in (2, 5) else (0, 0, 0, 0) for k in range(7)]


def test_every_holds_the_optimizer_state_of_a_skipped_descend():
    transform = every(2, descend(squared_error, optax.adam(0.1)))
    state = state_of(PARAMS, transform)
    skipped, _, sums = jax.jit(transform.update)(state, regression_batch(), KEY)
    jax.tree.map(np.testing.assert_array_equal, skipped, state)
    assert all(float(weight) == 0 and float(total) == 0 for total, weight in sums.values())
    moved, _, sums = jax.jit(transform.update)(state._replace(step=jnp.int32(1)), regression_batch(), KEY)
    assert not np.array_equal(moved.params["w"], state.params["w"]) and sums["gradient_norm"][1] == 1


def test_a_step_is_a_function_of_seed_and_step_alone():
    task = Task(init=lambda key, batch: {"params": {}}, train=report("draw"))
    state, step = create_state(task, KEY, {}), step_function(task, 7)
    draws = []
    for _ in range(3):
        state, sums = step(state, {})
        draws.append(float(sums["draw"][0]))
    assert len(set(draws)) == 3 and int(state.step) == 3
    again = step(State(jnp.int32(1), {}), {})[1]["draw"][0]  # restored at step 1
    assert float(again) == draws[1]


# descend and its estimators ----------------------------------------------------------------------------------------


@pytest.mark.curriculum("D28", "D29")
def test_descend_equals_optax_by_hand():
    optimizer, batch = optax.adamw(0.1, weight_decay=0.1), regression_batch()
    transform = descend(squared_error, optimizer)
    state, update = state_of(PARAMS, transform), jax.jit(transform.update)
    params, opt = PARAMS, optimizer.init(PARAMS)
    for _ in range(4):
        grads = jax.tree.map(jnp.float32, regression_gradient(params, batch))
        updates, opt = optimizer.update(grads, opt, params)
        norm = np.sqrt(sum(float(jnp.sum(g**2)) for g in grads.values()))
        params = optax.apply_updates(params, updates)
        state, _, sums = update(state, batch, KEY)
        np.testing.assert_allclose(sums["gradient_norm"][0], norm, rtol=1e-5)
    assert_close(state.params, params)
    assert_close(state.opt["model"], opt)


def test_descend_reports_the_rate_it_used_and_prefixes_its_names():
    optimizer = optim.optimizer("sgd", 0.5, total_steps=10, schedule={"name": "linear"}, freeze="b")
    transform = descend(
        lambda state, batch, key: (state, {"loss": (jnp.sum(state.params["net"]["w"] ** 2), jnp.float32(1))}),
        optimizer,
        on="net",
    )
    other = {"w": jnp.ones(2)}
    state = state_of({"net": PARAMS, "other": other}, transform)
    for expected in (0.5, 0.45, 0.4):
        state, _, sums = transform.update(state, {}, KEY)
        assert float(sums["net/learning_rate"][0]) == pytest.approx(expected)
    assert sums.keys() == {"net/loss", "net/gradient_norm", "net/learning_rate"}
    assert list(state.opt) == ["net"]
    assert state.params["other"] is other and float(state.params["net"]["b"]) == 0.25


def test_two_descends_of_one_name_share_their_optimizer_state():
    def half(sign):
        def loss(state, batch, key):
            return state, {"loss": (sign * jnp.sum(state.params["w"]), jnp.float32(1))}

        return loss

    first, second = (descend(half(sign), optax.sgd(0.1, momentum=0.9), name="shared") for sign in (1.0, 2.0))
    state = second.init(first.init(state_of({"w": jnp.zeros(2)})))
    assert list(state.opt) == ["shared"]
    for transform in (first, second):
        state, _, _ = transform.update(state, {}, KEY)
    velocity = 0.9 * 1.0 + 2.0
    np.testing.assert_allclose(state.params["w"], -0.1 * (1.0 + velocity) * np.ones(2), rtol=1e-6)


# ema, copy_to, keys ------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("D5")
@pytest.mark.parametrize("warmup", [False, True])
def test_ema_equals_its_recursion(warmup):
    def climb(state, batch, key):
        return state._replace(params={"net": state.params["net"] + 1, "other": state.params["other"]}), batch, {}

    task = Task(
        init=lambda key, batch: {"params": {"net": jnp.zeros(2), "other": jnp.ones(1)}},
        train=chain(climb, ema(0.9, on="net", to="average", warmup=warmup)),
    )
    state, step = create_state(task, KEY, {}), jax.jit(step_function(task, 0))
    average = 0.0
    for k in range(6):
        state, _ = step(state, {})
        decay = min(0.9, (1 + k) / (10 + k)) if warmup else 0.9
        average = decay * average + (1 - decay) * (k + 1)
        np.testing.assert_allclose(state.extra["average"], average * np.ones(2), rtol=1e-6)


def test_copy_to_makes_a_target_that_follows_in_jumps():
    def climb(state, batch, key):
        return state._replace(params=state.params + 1), batch, {}

    task = Task(init=lambda key, batch: {"params": jnp.zeros(())}, train=chain(climb, every(3, copy_to("target"))))
    state, step = create_state(task, KEY, {}), jax.jit(step_function(task, 0), donate_argnums=0)
    targets = []
    for _ in range(7):
        state, _ = step(state, {})
        targets.append(float(state.extra["target"]))
    assert targets == [0, 0, 3, 3, 3, 6, 6]


def test_state_can_be_donated_from_the_first_step():
    transform = chain(descend(squared_error, optax.sgd(0.1)), ema(0.9))
    task = Task(init=lambda key, batch: {"params": jax.tree.map(jnp.copy, PARAMS)}, train=transform)
    state = create_state(task, KEY, regression_batch())
    state, _ = jax.jit(step_function(task, 0), donate_argnums=0)(state, regression_batch())
    assert np.isfinite(state.extra["ema"]["w"]).all()


def test_a_task_may_return_only_what_a_state_has():
    task = Task(init=lambda key, batch: {"params": {}, "batch_stats": {}}, train=None)
    with pytest.raises(ValueError, match="batch_stats"):
        create_state(task, KEY, {})


def test_row_keys_depend_on_the_row_in_the_global_batch_only():
    keys = parallel.row_keys(KEY, 8)
    assert all(keys[i] == jax.random.fold_in(KEY, i) for i in range(8))
    draws = parallel.row_random(jax.random.normal, KEY, (8, 3))
    np.testing.assert_array_equal(draws[:4], parallel.row_random(jax.random.normal, KEY, (4, 3)))
    np.testing.assert_array_equal(draws[5], jax.random.normal(jax.random.fold_in(KEY, 5), (3,)))
    assert len(np.unique(draws)) == 24


def test_row_keys_on_a_device_begin_at_its_first_row(monkeypatch):
    monkeypatch.setattr(parallel, "is_mapped", lambda: True)
    halves = []
    for device in range(2):
        monkeypatch.setattr(parallel.lax, "axis_index", lambda name, device=device: jnp.int32(device))
        halves.append(jax.random.key_data(parallel.row_keys(KEY, 4)))
    monkeypatch.undo()
    np.testing.assert_array_equal(np.concatenate(halves), jax.random.key_data(parallel.row_keys(KEY, 8)))
