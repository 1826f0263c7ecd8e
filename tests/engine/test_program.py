"""The compiled functions: how many steps a call makes, what a batch becomes, and that calls of any length agree."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.data import load as data_load
from cvdl_jax.engine import program
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.engine.feed import TrainFeed

MLP = [
    "config.model.hidden=(16,)", "config.model.norm=batch", "config.model.dropout=0.3", "config.batch_size=16",
    "config.augment=flip | mixup(alpha=0.4)", "config.ema.decay=0.9", "config.total_steps=20",
]  # fmt: skip


def programme(path="configs/classify/mlp.py", *overrides, steps_per_call="auto"):
    built = build(configs.load(path, overrides))
    return built, make_program(built, steps_per_call)


@pytest.fixture(scope="module")
def perceptron():
    """A compiled program of a perceptron with everything random in it, and its data."""
    built, compiled = programme("configs/classify/mlp.py", *MLP)
    for name in ("create", "step"):
        compiled.jobs()[name]()
    return built, compiled


@pytest.mark.parametrize(
    ("path", "override", "expected"),
    [
        ("configs/classify/mlp.py", "config.seed=1", 50),
        ("configs/classify/lenet5.py:smoke", "config.seed=1", 1),  # convolutions are slow in a loop on a CPU
        ("configs/classify/mlp.py", "config.data.resident=never", 1),  # batches arrive one by one
        ("configs/classify/mlp.py", "config.steps_per_call=7", 7),
        ("configs/classify/lenet5.py:smoke", "config.steps_per_call=3", 3),
    ],
)
def test_steps_a_call(path, override, expected):
    assert programme(path, override)[1].steps_per_call == expected


def test_a_recorded_number_wins():
    assert programme("configs/classify/mlp.py", steps_per_call=4)[1].steps_per_call == 4


def test_convolutions_loop_where_it_is_no_loss(monkeypatch):
    monkeypatch.setattr(program.jax, "default_backend", lambda: "gpu")
    assert programme("configs/classify/lenet5.py:smoke")[1].steps_per_call == 50


def convolve(x):
    return jax.lax.conv(x, x, (1, 1), "SAME").sum()


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (convolve, True),
        (jax.jit(convolve), True),
        (jax.grad(convolve), True),
        (jax.checkpoint(lambda x: jax.jit(convolve)(x)), True),
        (lambda x: jax.lax.scan(lambda c, _: (c + convolve(x), None), 0.0, None, length=2)[0], True),
        (lambda x: jax.lax.cond(x.sum() > 0, convolve, lambda x: x.sum(), x), True),
        (lambda x: jax.lax.while_loop(lambda c: c < 3, lambda c: c + convolve(x), 0.0), True),
        (lambda x: (x @ x).sum(), False),
        (lambda x: jax.lax.scan(lambda c, _: (c + x.sum(), None), 0.0, None, length=2)[0], False),
    ],
)
def test_convolutions_are_found_wherever_they_are(function, expected):
    jaxpr = jax.make_jaxpr(function)(jnp.ones((1, 1, 4, 4))).jaxpr
    assert program.has_convolution(jaxpr) is expected


def test_to_unit():
    batch = {
        "image": jnp.array([[0, 51, 255]], jnp.uint8),
        "image2": jnp.array([0.25]),
        "features": jnp.array([[1.5]]),
        "label": jnp.array([200]),
        "mask": jnp.array([255], jnp.uint8),
        "image/id": jnp.array([2**30 + 1]),  # as in COCO: a number, no pixels
    }
    out = program.to_unit(batch)
    np.testing.assert_allclose(out["image"], [[0, 0.2, 1]], rtol=1e-6)
    assert out["image"].dtype == jnp.float32
    for name in ("image2", "features", "label", "mask", "image/id"):
        np.testing.assert_array_equal(out[name], batch[name])
        assert out[name].dtype == batch[name].dtype


def advanced(perceptron, counts):
    """State and sums after calls of these many steps."""
    built, compiled = perceptron
    state, sums = compiled.create(), compiled.zero_sums()
    feed = TrainFeed(compiled, built.data, built.config.seed, 0, 20)
    step = 0
    for count in counts:
        state, sums = compiled.advance(state, sums, feed.next(step, count), count)
        step += count
    return jax.device_get((state, sums))


@pytest.mark.parametrize("counts", [(20,), (7, 13), (1, 2, 3, 14)])
def test_a_call_of_n_steps_equals_n_calls_bit_for_bit(perceptron, counts):
    assert perceptron[1].steps_per_call == 50
    jax.tree.map(np.testing.assert_array_equal, advanced(perceptron, counts), advanced(perceptron, (1,) * 20))
    assert perceptron[1].traces == {"step": 1, "advance": 1}


def test_a_call_of_no_steps_changes_nothing(perceptron):
    built, compiled = perceptron
    feed = TrainFeed(compiled, built.data, 0, 0, 20)
    state, sums = compiled.advance(compiled.create(), compiled.zero_sums(), feed.next(0, 0), 0)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), jax.device_get(compiled.create()))
    assert all(weight == 0 for _, weight in sums.values())


def test_single_steps_agree_with_the_loop_to_rounding(perceptron):
    built, single = programme("configs/classify/mlp.py", *MLP, steps_per_call=1)
    for name in ("create", "step"):
        single.jobs()[name]()
    one, many = advanced((built, single), (1,) * 20), advanced(perceptron, (20,))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-3, atol=2e-5), one[0].params, many[0].params)
    assert one[0].step == many[0].step == 20


def test_the_state_is_donated(perceptron):
    built, compiled = perceptron
    state = compiled.create()
    feed = TrainFeed(compiled, built.data, 0, 0, 20)
    compiled.advance(state, compiled.zero_sums(), feed.next(0, 1), 1)
    assert all(x.is_deleted() for x in jax.tree.leaves(state.params))


def test_the_first_state_is_a_function_of_the_seed(perceptron):
    def kernel(seed):
        compiled = programme("configs/classify/mlp.py", *MLP, f"config.seed={seed}")[1]
        compiled.jobs()["create"]()
        return np.asarray(compiled.create().params["dense0"]["kernel"])

    np.testing.assert_array_equal(kernel(0), perceptron[1].create().params["dense0"]["kernel"])
    assert not np.array_equal(kernel(0), kernel(1))


def test_evaluations_without_data_draw_from_seed_name_step_and_batch():
    def step(state, batch, key):
        assert not batch
        return {"draw": jax.random.uniform(key, (4,))}

    task = Task(lambda key, batch: {"params": jnp.zeros(())}, None, {"a": Eval(step, data=3), "b": Eval(step, data=3)})

    def draws(name, at, batch, seed=0):
        compiled = program.Program(task, seed, parallel.make_mesh(jax.devices()[:1]), {}, 4, 4, {})
        for job in compiled.jobs().values():
            job()
        return np.asarray(compiled.evaluate(name, compiled.create(), {}, np.ones(4, np.float32), at, batch)["draw"])

    first = draws("a", 5, 0)
    np.testing.assert_array_equal(first, draws("a", 5, 0))
    for other in (draws("b", 5, 0), draws("a", 6, 0), draws("a", 5, 1), draws("a", 5, 0, seed=1)):
        assert not np.intersect1d(first, other).size


def test_tasks_without_data_run_many_steps_a_call():
    def update(state, batch, key):
        new = state.params + jax.random.uniform(key)
        return state._replace(params=new), batch, {"loss": (new, jnp.ones(()))}

    task = Task(lambda key, batch: {"params": jnp.zeros(())}, update)
    compiled = program.Program(task, 0, parallel.make_mesh(jax.devices()[:1]), {}, 4, 4, {})
    for job in compiled.jobs().values():
        job()
    assert compiled.steps_per_call == 50
    state, sums = compiled.advance(compiled.create(), compiled.zero_sums(), {}, 3)
    root = jax.random.key(0)
    draws = [float(jax.random.uniform(jax.random.fold_in(root, k))) for k in range(3)]
    np.testing.assert_allclose(state.params, sum(draws), rtol=1e-6)
    np.testing.assert_allclose(sums["loss"][0], sum(np.cumsum(draws)), rtol=1e-6)
    assert sums["loss"][1] == 3 and state.step == 3
    assert optax.tree.norm(state.opt) == 0  # nothing there


@pytest.mark.parametrize("steps_per_call", [1, 5])
def test_every_epoch_has_every_example_once(steps_per_call):
    data = data_load.load("digits")
    program = SimpleNamespace(resident=True, batch_size=100, steps_per_call=steps_per_call)
    feed, seen = TrainFeed(program, data, 3, 0, 40), []
    for step in range(0, 40, steps_per_call):
        seen.append(np.reshape(feed.next(step, steps_per_call), -1))
    seen, n = np.concatenate(seen), 1149
    for epoch in range(3):
        assert sorted(seen[epoch * n : (epoch + 1) * n]) == list(range(n))
    assert list(seen[:n]) != list(seen[n : 2 * n]) and list(seen[:n]) != list(range(n))
