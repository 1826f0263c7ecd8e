"""Optimizers, schedules and groups of parameters: worked numbers, one conformance table, and every mistake by name."""

import inspect
import math
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import launch
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Range
from cvdl_jax.core import trees
from cvdl_jax.core.task import State, descend
from cvdl_jax.engine import runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.optim import optimizer as optim
from cvdl_jax.optim import param_groups

RULES = optim.rules()
# Rates at which the quadratic below falls within 30 steps.
RATES = {"sgd": 0.1, "adadelta": 1.0, "adagrad": 0.5, "lars": 0.2, "schedule_free_sgd": 0.2}
HYPER = {"adadelta": {"eps": 1e-2}, "lars": {"trust": 0.1}}
VARIANTS = {  # of transformations that are our own, or come after the rate
    "sgd, rate in the velocity": {"name": "sgd", "momentum": 0.9, "form": "rate", "nesterov": True},
    "adam, raw": {"name": "adam", "bias_correction": False},
    "rmsprop, tensors": {"name": "rmsprop", "norm": "tensor"},
    "rmsprop, global": {"name": "rmsprop", "norm": "global", "eps_inside": True},
}
NAMES = [*sorted(RULES), *VARIANTS]


def make(name="sgd", lr=0.1, *, total_steps=100, steps_per_epoch=10.0, batch_size=32, **section):
    return configs.call(
        optim.optimizer, {"lr": lr, **VARIANTS.get(name, {"name": name}), **section}, "config.optim",
        total_steps=total_steps, steps_per_epoch=steps_per_epoch, batch_size=batch_size,
    )  # fmt: skip


def parameters():
    keys = iter(jax.random.split(jax.random.key(0), 10))

    def draw(*shape):
        return jax.random.normal(next(keys), shape)

    return {
        "body": {"kernel": draw(4, 4), "bias": draw(4), "norm": {"scale": draw(4)}},
        "conv": {"kernel": draw(3, 3, 2, 2)},
        "head": {"kernel": draw(4, 3), "bias": draw(3)},
    }


def quadratic(params):
    return 0.5 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


def run(optimizer, params, steps, grad=None):
    """The parameters after each step, and the last optimizer state."""
    grad = grad or jax.grad(quadratic)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(grad(params), state, params)
        return optax.apply_updates(params, updates), state

    state, history = optimizer.init(params), []
    for _ in range(steps):
        params, state = step(params, state)
        history.append(params)
    return history, state


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(ConfigError) as error:
        call(*args, **kwargs)
    return str(error.value)


def after_one_step(params, *optimizers, grad=None):
    """The parameters after a first step of each optimizer, of one compiled program."""
    grad = grad or jax.grad(quadratic)

    @jax.jit
    def steps(params):
        updates = [each.update(grad(params), each.init(params), params)[0] for each in optimizers]
        return [optax.apply_updates(params, each) for each in updates]

    return steps(params)


def rate_state(state) -> optim.LearningRateState:
    found = []
    optim.map_rates(lambda rate: found.append(rate) or rate, state)
    assert len(found) == 1
    return found[0]


def one_dimensional(section, steps=3):
    history, _ = run(make(lr=0.1, **section), {"kernel": jnp.ones(())}, steps)
    return [float(p["kernel"]) for p in history]


# f = w^2 / 2 from w = 1 at rate 0.1; Nesterov is followed at its look-ahead point y = w + 0.9 v.
WORKED = [
    pytest.param({"name": "sgd"}, [0.9, 0.81, 0.729], marks=pytest.mark.curriculum("D2")),
    pytest.param(
        {"name": "sgd", "momentum": 0.9, "form": "ema"}, [0.99, 0.9711, 0.944379], marks=pytest.mark.curriculum("D7")
    ),
    pytest.param({"name": "sgd", "momentum": 0.9}, [0.9, 0.72, 0.486], marks=pytest.mark.curriculum("D8")),
    pytest.param(
        {"name": "sgd", "momentum": 0.9, "form": "rate"}, [0.9, 0.72, 0.486], marks=pytest.mark.curriculum("D9")
    ),
    pytest.param(
        {"name": "sgd", "momentum": 0.9, "nesterov": True},
        [0.9 - 0.09, 0.729 - 0.9 * 0.171, 0.51759 - 0.9 * 0.21141],
        marks=pytest.mark.curriculum("D10"),
    ),
    pytest.param({"name": "adagrad"}, [0.9, 0.833104, 0.780456], marks=pytest.mark.curriculum("D11")),
    pytest.param({"name": "rmsprop"}, [0.683772, 0.498871, 0.369181], marks=pytest.mark.curriculum("D12")),
    pytest.param({"name": "adam"}, [0.9, 0.800412, 0.701586], marks=pytest.mark.curriculum("D13")),
    pytest.param(
        {"name": "adam", "bias_correction": False},
        [0.683772, 0.270206, -0.162141],
        marks=pytest.mark.curriculum("D14"),
    ),
    pytest.param(
        {"name": "adamw", "weight_decay": 0.01}, [0.899, 0.798519, 0.698911], marks=pytest.mark.curriculum("D15")
    ),
]


@pytest.mark.parametrize(("section", "expected"), WORKED)
def test_worked_numbers(section, expected):
    np.testing.assert_allclose(one_dimensional(section), expected, atol=3e-6)  # float32, where 1 - b2^t is small


@pytest.mark.curriculum("D10")
@pytest.mark.parametrize("form", ["sum", "rate"])
def test_nesterovs_own_point_lies_behind_the_look_ahead_point(form):
    optimizer = make("sgd", momentum=0.9, nesterov=True, form=form)
    y, state, behind = {"kernel": jnp.ones(())}, optimizer.init({"kernel": jnp.ones(())}), []
    for _ in range(3):
        updates, state = optimizer.update(y, state, y)
        y = optax.apply_updates(y, updates)
        trace = optax.tree_utils.tree_get(state, "trace")["kernel"]
        velocity = 0.1 * trace if form == "sum" else -trace  # after the rate comes its minus sign
        behind.append(float(y["kernel"] + 0.9 * velocity))
    np.testing.assert_allclose(behind, [0.9, 0.729, 0.51759], rtol=1e-6)


@pytest.mark.curriculum("D8", "D9")
def test_the_forms_of_momentum_differ_by_a_factor_and_under_a_changing_rate():
    def last(lr, form, **schedule):
        optimizer = make("sgd", lr, momentum=0.9, form=form, schedule=schedule)
        return float(run(optimizer, {"kernel": jnp.ones(())}, 15)[0][-1]["kernel"])

    assert last(0.5, "ema") == pytest.approx(last(0.05, "sum"), rel=1e-5)
    assert last(0.05, "rate") == pytest.approx(last(0.05, "sum"), rel=1e-5)
    step = {"name": "step", "every_steps": 5}
    assert last(0.5, "ema", **step) == pytest.approx(last(0.05, "sum", **step), rel=1e-5)
    assert abs(last(0.05, "rate", **step) - last(0.05, "sum", **step)) > 0.05


@pytest.mark.curriculum("D13")
def test_the_first_step_of_adam_is_the_sign_of_the_gradient():
    grad = lambda params: {"kernel": jnp.array([3.0, -2e-4, 50.0])}  # noqa: E731
    first = run(make("adam", 0.1), {"kernel": jnp.zeros(3)}, 1, grad)[0][0]["kernel"]
    np.testing.assert_allclose(first, [-0.1, 0.1, -0.1], rtol=1e-4)


@pytest.mark.curriculum("D11")
def test_adagrad_equalises_steep_and_shallow_directions():
    grad = jax.grad(lambda p: 0.5 * jnp.sum(jnp.array([1.0, 10000.0]) * p["kernel"] ** 2))
    history, _ = run(make("adagrad", 0.1), {"kernel": jnp.ones(2)}, 20, grad)
    np.testing.assert_allclose([p["kernel"][0] for p in history], [p["kernel"][1] for p in history], rtol=1e-4)


@pytest.mark.curriculum("D12")
def test_rmsprop_by_norm_keeps_the_direction_of_a_tensor_or_of_all():
    grads = {"bias": jnp.array([3.0, 4.0]), "kernel": jnp.array([[12.0]])}

    def step(norm):
        return run(make("rmsprop", 1.0, norm=norm), jax.tree.map(jnp.zeros_like, grads), 1, lambda p: grads)[0][0]

    root = np.sqrt(0.1)  # v = 0.1 |g|^2
    np.testing.assert_allclose(step("tensor")["bias"], np.array([-0.6, -0.8]) / root, rtol=1e-5)
    np.testing.assert_allclose(step("tensor")["kernel"], [[-1 / root]], rtol=1e-5)
    np.testing.assert_allclose(step("global")["bias"], np.array([-3, -4]) / 13 / root, rtol=1e-5)
    np.testing.assert_allclose(step("element")["bias"], np.array([-1, -1]) / root, rtol=1e-5)


@pytest.mark.curriculum("D16")
def test_penalties_in_other_forms_are_converted_as_documented():
    """`lambda |w|^2` is weight_decay = 2 lambda; `lambda / (2 m) |w|^2` is lambda / m."""
    params, factor = {"kernel": jnp.array([1.0, -2.0])}, 0.3
    for penalty, decay in ((lambda w: factor * jnp.sum(w**2), 2 * factor),
                           (lambda w: factor / (2 * 50) * jnp.sum(w**2), factor / 50)):  # fmt: skip
        written = run(make(), params, 3, jax.grad(lambda p, f=penalty: quadratic(p) + f(p["kernel"])))[0][-1]
        given = run(make(weight_decay=decay), params, 3)[0][-1]
        np.testing.assert_allclose(given["kernel"], written["kernel"], rtol=1e-6)


@pytest.mark.curriculum("D16")
def test_decay_of_plain_sgd_is_a_shrinking_step_either_way():
    shrunk = [(1 - 0.1 * 0.2 - 0.1) ** k for k in (1, 2, 3)]
    for decoupled in (None, True, False):
        values = one_dimensional({"name": "sgd", "weight_decay": 0.2, "decoupled": decoupled})
        np.testing.assert_allclose(values, shrunk, rtol=1e-6)


@pytest.mark.curriculum("D15")
def test_coupled_decay_of_adam_is_divided_by_its_scale_and_decoupled_is_not():
    grad = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    params = {"kernel": jnp.full((), 2.0)}
    coupled = run(make("adam", 0.1, weight_decay=0.01), params, 1, grad)[0][0]["kernel"]
    decoupled = run(make("adam", 0.1, weight_decay=0.01, decoupled=True), params, 1, grad)[0][0]["kernel"]
    np.testing.assert_allclose(coupled, 2 - 0.1, rtol=1e-5)  # Adam's first step has the size of the rate
    np.testing.assert_allclose(decoupled, 2 * (1 - 0.1 * 0.01), rtol=1e-6)


@pytest.mark.curriculum("D15")
def test_adamw_decays_weights_of_large_gradients_more_than_adam_with_a_penalty():
    """The gradient of either weight vanishes on average, so that what is left is the decay."""
    params = {"kernel": jnp.ones(2)}

    def shrunk(decoupled):
        optimizer, w = make("adam", 0.01, weight_decay=0.1, decoupled=decoupled, b1=0.0), params
        state = optimizer.init(w)
        for sign in (1, -1) * 20:
            updates, state = optimizer.update({"kernel": sign * jnp.array([0.1, 100.0])}, state, w)
            w = optax.apply_updates(w, updates)
        return 1 - np.asarray(w["kernel"])

    coupled, decoupled = shrunk(False), shrunk(True)
    np.testing.assert_allclose(decoupled, 1 - (1 - 0.001) ** 40, rtol=0.1)  # alike for both weights
    assert coupled[1] < 0.1 * decoupled[1] and coupled[0] > decoupled[0]


@pytest.mark.curriculum("D28")
@pytest.mark.parametrize("name", NAMES)
def test_conformance(name):
    """Runs compiled, stays finite, lowers a quadratic, and keeps its state in the parameters' precision."""
    params = parameters()
    history, state = run(make(name, RATES.get(name, 0.05), **HYPER.get(name, {})), params, 30)
    assert all(np.isfinite(p).all() for p in jax.tree.leaves(history[-1]))
    assert quadratic(history[-1]) < 0.7 * quadratic(params)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert all(leaf.dtype in (jnp.float32, jnp.int32) for leaf in jax.tree.leaves(state))
    rates = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")
    assert [float(value) for _, value in rates] == [pytest.approx(RATES.get(name, 0.05))]
    assert rate_state(state).count == 30


@pytest.mark.curriculum("D28")
@pytest.mark.parametrize("name", NAMES)
def test_frozen_parameters_keep_their_bits_and_have_no_moments(name):
    params = parameters()
    history, state = run(make(name, 0.1, freeze="body/.*|conv/.*", weight_decay=0.1), params, 3)
    for part in ("body", "conv"):
        jax.tree.map(np.testing.assert_array_equal, history[-1][part], params[part])
    assert not np.array_equal(history[-1]["head"]["kernel"], params["head"]["kernel"])
    shapes = {leaf.shape for leaf in jax.tree.leaves(state)} - {()}
    sums = {(4,), (1,)} if name in ("adafactor", "sm3") else set()  # of rows and columns; nothing
    assert shapes <= {(4, 3), (3,)} | sums
    assert len(optax.tree_utils.tree_get_all_with_path(state, "learning_rate")) == 1


@pytest.mark.curriculum("D28")
@pytest.mark.parametrize("name", NAMES)
def test_learning_rate_factors_scale_the_update_exactly(name):
    params = parameters()
    factors = {"head/kernel": 4.0, "body/.*": 0.25}
    plain = make(name, 0.125, weight_decay=0.5)
    first, second = after_one_step(
        params, plain, make(name, 0.125, weight_decay=0.5, lr_factors=tuple(factors.items()))
    )
    for part, factor in (("head/kernel", 4.0), ("body/bias", 0.25), ("conv/kernel", 1.0), ("head/bias", 1.0)):
        layer, leaf = part.split("/")
        a, b, w = (np.asarray(tree[layer][leaf], np.float64) for tree in (first, second, params))
        np.testing.assert_allclose(b - w, factor * (a - w), rtol=1e-4, atol=3e-7)


@pytest.mark.curriculum("D16")
@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_reaches_kernels_only(name):
    params, grad = parameters(), lambda p: jax.tree.map(lambda x: 0.1 * jnp.sign(x), p)
    decoupled = VARIANTS.get(name, {}).get("form") != "rate"  # where it is refused
    decayed = make(name, 0.1, weight_decay=2.0, decoupled=decoupled)
    none, some = after_one_step(params, make(name, 0.1), decayed, grad=grad)
    changed = {n for n, a, b in zip(trees.names(params), *map(jax.tree.leaves, (none, some)), strict=True)
               if not np.array_equal(a, b)}  # fmt: skip
    assert changed == {"body/kernel", "conv/kernel", "head/kernel"}


def test_every_matrix_of_weights_decays_by_default():
    """Those of recurrent layers, of attention in them, and the tables of words; no bias, norm, token or position."""
    kinds = {"lstm_tiny": (1, 6), "gru_tiny": (1, 6)}
    for name, shape in kinds.items():
        model = registry.create({"name": name}, "config.model", num_classes=3)
        params = jax.eval_shape(partial(model.init, train=False), jax.random.key(0), jnp.zeros(shape, int))["params"]
        for path, x in zip(trees.names(params), jax.tree.leaves(params), strict=True):
            assert param_groups.matches(param_groups.DECAY, path) == (x.ndim > 1), path
    for path in ("decoder0/query_kernel", "source_embedding/table", "words/embedding", "cell/context_kernel", "kernel"):
        assert param_groups.matches(param_groups.DECAY, path)
    for path in ("class_token", "positions", "block0/relative_bias", "norm/scale", "kernel_bias", "vector/codebook"):
        assert not param_groups.matches(param_groups.DECAY, path)


@pytest.mark.curriculum("D23", "D24", "D25")
def test_clipping():
    params = {"kernel": jnp.array([3.0, 4.0]), "bias": jnp.array([12.0])}  # the gradient of the quadratic; norm 13

    def step(**section):
        new = run(make(lr=1.0, **section), params, 1)[0][0]
        return jax.tree.map(lambda w, n: np.asarray(w - n), params, new)

    np.testing.assert_allclose(step(clip_norm=6.5)["kernel"], [1.5, 2.0], rtol=1e-6)
    np.testing.assert_allclose(step(clip_norm=20.0)["kernel"], [3.0, 4.0], rtol=1e-6)
    np.testing.assert_allclose(step(clip_value=3.5)["kernel"], [3.0, 3.5], rtol=1e-6)
    np.testing.assert_allclose(step(clip_adaptive=0.5)["kernel"], [1.5, 2.0], rtol=1e-6)  # |g| = |w|, so halved
    np.testing.assert_allclose(step(clip_norm=2.5, freeze="bias")["kernel"], [1.5, 2.0], rtol=1e-6)  # norm 5 without it
    np.testing.assert_allclose(step(clip_tensor_norm=1.0)["kernel"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_allclose(step(clip_tensor_norm=6.0)["kernel"], [3.0, 4.0])  # its own norm is 5
    np.testing.assert_allclose(step(clip_tensor_norm=6.0)["bias"], [6.0], rtol=1e-6)
    both = step(clip_tensor_norm=6.0, clip_norm=1.0)  # each tensor first, then all of them: norm (5^2 + 6^2)^(1/2)
    np.testing.assert_allclose(both["bias"], [6 / np.sqrt(61)], rtol=1e-6)


@pytest.mark.curriculum("D23")
@pytest.mark.parametrize("scale", [1.0, 1e19, 1e25, 2e37])
def test_large_gradients_are_clipped_and_not_lost(scale):
    """Squares beyond 3e38 are infinite in float32: the step of direction (3, 4, 3) was 0."""
    grad = {"kernel": jnp.float32([3, 4]) * scale, "bias": jnp.float32([12]) * scale / 4}
    unit = np.array([3, 4, 3]) / 34**0.5

    def step(**section):
        optimizer = make(lr=1.0, **section)
        params = jax.tree.map(jnp.zeros_like, grad)
        updates, _ = jax.jit(optimizer.update)(grad, optimizer.init(params), params)
        return -np.concatenate([updates["kernel"], updates["bias"]])

    np.testing.assert_allclose(step(clip_norm=2.0), 2 * unit, rtol=1e-5)
    np.testing.assert_allclose(step(clip_norm=0.01), 0.01 * unit, rtol=1e-5)
    np.testing.assert_allclose(step(clip_tensor_norm=2.0), [1.2, 1.6, 2.0], rtol=1e-5)
    grad = {**grad, "bias": jnp.float32([jnp.inf])}
    assert np.isnan(step(clip_norm=2.0)[2])  # what is not finite stays so, and is found


@pytest.mark.curriculum("D23")
def test_a_zero_gradient_survives_clipping():
    params = {"kernel": jnp.zeros(3)}
    new = run(make(clip_norm=1.0, clip_tensor_norm=1.0, clip_value=1.0, clip_adaptive=0.1), params, 1)[0][0]
    np.testing.assert_array_equal(new["kernel"], np.zeros(3))


def test_layer_wise_decay_of_the_rate():
    params = {f"block{i}": {"kernel": jnp.ones((2, 2))} for i in (0, 1, 10)}
    params |= {"embedding": {"kernel": jnp.ones(2)}, "head": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    section = {"layer_decay": 0.5, "layers": ("embedding/.*", "block([0-9]+)/.*", "head/.*")}
    section["lr_factors"] = (("head/bias", 4.0),)
    new = run(make(lr=0.8, **section), params, 1)[0][0]
    steps = {n: float((1 - p).ravel()[0]) for n, p in zip(trees.names(new), jax.tree.leaves(new), strict=True)}
    expected = {"embedding/kernel": 0.05, "block0/kernel": 0.1, "block1/kernel": 0.2, "block10/kernel": 0.4}
    assert steps == pytest.approx({**expected, "head/kernel": 0.8, "head/bias": 3.2}, rel=1e-5)
    rows = param_groups.table(params, **section)
    assert {r.name: 0.8 * r.factor for r in rows} == pytest.approx(steps, rel=1e-5)
    frozen = run(make(lr=0.8, freeze="block.*", **section), params, 1)[0][0]
    np.testing.assert_array_equal(frozen["embedding"]["kernel"], new["embedding"]["kernel"])
    np.testing.assert_array_equal(frozen["block1"]["kernel"], params["block1"]["kernel"])


def test_schedule_free_parameters_to_evaluate_are_the_average():
    params = {"head": {"kernel": jnp.array([2.0, -1.0])}, "stem": {"kernel": jnp.ones(2)}}
    optimizer = make("schedule_free_sgd", 0.3, interpolation=0.8, freeze="stem/.*")

    def loss(state, batch, key):
        return state, {"loss": (quadratic(state.params), jnp.ones(()))}

    train = descend(loss, optimizer)
    state = train.init(State(jnp.int32(0), params))
    z = x = y = np.array([2.0, -1.0])
    for t in range(1, 6):
        state, _, _ = train.update(state, {}, jax.random.key(0))
        z = z - 0.3 * y
        x = x + (z - x) / t
        y = 0.8 * x + 0.2 * z
    average = optim.averaged_params(state.opt["model"], state.params)
    np.testing.assert_allclose(state.params["head"]["kernel"], y, rtol=1e-5)
    np.testing.assert_allclose(average["head"]["kernel"], x, rtol=1e-5)
    np.testing.assert_array_equal(average["stem"]["kernel"], np.ones(2))
    plain = make("adam").init(params)
    assert optim.averaged_params(plain, params) is params


def test_the_linear_rule_for_the_batch_size():
    _, state = run(make(lr=0.1, lr_batch_size=256, batch_size=64), {"kernel": jnp.ones(2)}, 1)
    assert float(rate_state(state).learning_rate) == pytest.approx(0.025)


@pytest.mark.curriculum("D28")
def test_the_recorded_rate_is_the_one_that_moved_the_parameters():
    optimizer = make(lr=1.0, schedule={"name": "cosine", "warmup_steps": 3}, total_steps=10)
    state = optimizer.init({"kernel": jnp.ones(())})
    for k in range(10):
        state = optim.map_rates(lambda rate, k=k: rate._replace(scale=jnp.float32(0.5 if k > 5 else 1.0)), state)
        updates, state = optimizer.update({"kernel": jnp.ones(())}, state)
        assert float(-updates["kernel"]) == float(rate_state(state).learning_rate)
        expected = (k + 1) / 3 if k < 3 else 0.5 * (1 + math.cos(math.pi * (k - 3) / 7))
        assert float(-updates["kernel"]) == pytest.approx(expected * (0.5 if k > 5 else 1.0), rel=1e-5, abs=1e-7)
    assert int(rate_state(state).count) == 10


def test_changing_the_scale_leaves_the_moments_of_a_norms_scale_alone():
    _, state = run(make("adam"), parameters(), 2)
    new = optim.map_rates(lambda rate: rate._replace(scale=rate.scale * 0.5), state)
    assert float(rate_state(new).scale) == 0.5
    changed = [not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(new), strict=True)]
    assert sum(changed) == 1


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"name": "sgdd"}, ["config.optim.name", "'sgdd'", "did you mean 'sgd'"]),
        ({"momentun": 0.9}, ["config.optim.momentun", "'sgd'", "did you mean 'momentum'"]),
        ({"weight_decy": 0.9}, ["config.optim.weight_decy", "did you mean 'weight_decay'"]),
        ({"momentum": "a"}, ["config.optim.momentum='a'", "float"]),
        ({"lr": "a"}, ["config.optim.lr='a'", "float"]),
        ({"lr": -0.1}, ["config.optim.lr=-0.1", "0 or more"]),
        ({"lr": math.nan}, ["config.optim.lr=nan", "0 or more"]),
        ({"weight_decay": -1.0}, ["config.optim.weight_decay=-1.0", "0 or more"]),
        ({"name": "adam", "b1": 2.0}, ["config.optim.b1=2.0", "in [0, 1)"]),
        ({"name": "adamw", "b2": 1.0}, ["config.optim.b2=1.0", "in [0, 1)"]),
        ({"momentum": -0.1}, ["config.optim.momentum=-0.1", "in [0, 1)"]),
        ({"name": "adam", "eps_root": -1e-8}, ["config.optim.eps_root=-1e-08", "0 or more"]),
        ({"name": "muon", "ns_steps": 0}, ["config.optim.ns_steps=0", "1 or more"]),
        ({"name": "schedule_free_sgd", "interpolation": 0.0}, ["config.optim.interpolation=0.0", "in (0, 1)"]),
        ({"name": "rmsprop", "norm": "global", "centered": True}, ["config.optim.centered", "norm='element'"]),
        ({"name": "rmsprop", "norm": "tensors"}, ["config.optim.norm='tensors'", "did you mean 'tensor'"]),
        ({"momentum": 0.9, "form": "rate", "decoupled": True, "weight_decay": 0.1}, ["decoupled=True", "form='sum'"]),
        ({"clip_norm": 0.0}, ["config.optim.clip_norm=0.0", "positive"]),
        ({"clip_tensor_norm": -1.0}, ["config.optim.clip_tensor_norm=-1.0", "positive"]),
        ({"lr_batch_size": 0}, ["config.optim.lr_batch_size=0", "1 or more"]),
        ({"layer_decay": 0.5}, ["config.optim.layer_decay=0.5", "config.optim.layers"]),
        ({"layer_decay": 1.5, "layers": (".*",)}, ["config.optim.layer_decay=1.5", "in (0, 1]"]),
        ({"layer_decay": 0.5, "layers": ("conv/.*", "head/.*")}, ["body/bias", "in no layer"]),
        ({"layer_decay": 0.5, "layers": ("body/.*", ".*")}, ["body/bias", "both match"]),
        ({"layer_decay": 0.5, "layers": ("(body|conv|head)/.*",)}, ["captures ('body',)", "not a number"]),
        ({"layer_decay": 0.5, "layers": ("tail/.*", ".*")}, ["config.optim.layers='tail/.*'", "matches no parameter"]),
        ({"form": "emma", "momentum": 0.9}, ["config.optim.form='emma'", "'ema'"]),
        ({"freeze": "hed"}, ["config.optim.freeze='hed'", "matches no parameter", "head/"]),
        ({"freeze": "head"}, ["config.optim.freeze='head'", "whole path", "'head/.*'"]),
        ({"freeze": "(head"}, ["config.optim.freeze='(head'", "regular expression"]),
        ({"weight_decay": 0.1, "decay": "kernel"}, ["config.optim.decay='kernel'", "matches no parameter"]),
        ({"lr_factors": (("tail/.*", 2.0),)}, ["config.optim.lr_factors='tail/.*'", "matches no parameter"]),
        ({"lr_factors": (("head/.*", 2.0), (".*bias", 3.0))}, ["head/bias", "both match"]),
        ({"lr_factors": (("head/.*", "a"),)}, ["config.optim.lr_factors", "'a'"]),
        ({"lr_factors": ("head/.*", 2.0)}, ["config.optim.lr_factors"]),
    ],
)
def test_optimizers_refuse_by_name(section, words):
    message = refusal(lambda: make(**section).init(parameters()))
    assert all(word in message for word in words), message


def test_every_number_of_a_rule_has_a_range():
    for name, rule in RULES.items():
        for key, parameter in inspect.signature(rule).parameters.items():
            kind, *ranges = get_args(parameter.annotation) or (parameter.annotation,)
            if type(parameter.default) in (int, float) or kind in (int, float):
                assert [type(accepted) for accepted in ranges] == [Range], (name, key)


def test_the_table_covers_every_parameter():
    section = {
        "name": "adamw",
        "lr": 1.0,
        "weight_decay": 0.05,
        "freeze": "conv/.*",
        "lr_factors": (("head/.*", 10.0),),
    }
    rows = param_groups.table(jax.eval_shape(parameters), **section)
    assert [tuple(row) for row in rows] == [
        ("body/bias", (4,), 4, "default", 1.0, 0.0, False),
        ("body/kernel", (4, 4), 16, "default", 1.0, 0.05, False),
        ("body/norm/scale", (4,), 4, "default", 1.0, 0.0, False),
        ("conv/kernel", (3, 3, 2, 2), 36, "frozen", 0.0, 0.0, True),
        ("head/bias", (3,), 3, "head/.*", 10.0, 0.0, False),
        ("head/kernel", (4, 3), 12, "head/.*", 10.0, 0.05, False),
    ]
    text = param_groups.format_table(rows).splitlines()
    assert len(text) == 8 and text[-1] == "39 parameters trained, 36 frozen"
    assert text[4].split() == ["conv/kernel", "3x3x2x2", "36", "frozen", "0", "0", "yes"]
    assert "matches no parameter" in refusal(param_groups.table, parameters(), freeze="nothing")


def test_the_summary_has_at_most_ten_lines_in_natural_order():
    leaf = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    params = {f"block{i}": {"conv": {"kernel": leaf(2, 3)}, "norm": {"scale": leaf(4)}} for i in range(1, 13)}
    params["head"] = {"kernel": leaf(5)}
    section = {"name": "adamw", "lr": 1.0, "weight_decay": 0.05, "lr_factors": (("head/.*", 10.0),)}
    lines = param_groups.summary(section, params).splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "module", "block1", "block2", "block3", "block4", "... 6 more modules", "block11", "block12", "head",
        "125 parameters trained, 0 frozen; the report and --mode describe list each",
    ]  # fmt: skip
    assert lines[1].split() == ["block1", "10", "1", "6", "by", "0.05"] and "10         5 by 0.05" in lines[8]
    names = [row.name for row in param_groups.table(params, **section)]
    assert names[2] == "block2/conv/kernel" and names[18] == "block10/conv/kernel"
    few = {"a": {"x": {"kernel": leaf(2)}, "y": {"kernel": leaf(3)}}, "b": {"bias": leaf(1)}}
    lines = param_groups.summary({"name": "sgd", "lr": 1.0, "freeze": "a/x/.*"}, few).splitlines()
    assert [line.split() for line in lines[1:4]] == [
        ["a/x", "2", "frozen", "no"], ["a/y", "3", "1", "no"], ["b", "1", "1", "no"]
    ]  # fmt: skip
    players = {"a": {"name": "sgd", "lr": 1.0}, "b": {"name": "adam", "lr": 1.0}}
    text = param_groups.summary(players, few)
    assert text.count("\n") == 4 and "a/y" in text and "6 parameters trained" in text
    assert "a\nparameter" in param_groups.describe(players, few)


def test_a_schedule_free_run_is_evaluated_at_its_average(tmp_path):
    flags = [
        "--config=configs/classify/mlp.py:smoke",
        "--config.optim.name=schedule_free_adamw",
        "--config.optim.lr=0.1",
    ]
    assert launch.main([*flags, f"--workdir={tmp_path / 'run'}"]) == 0
    task, state, _ = runs.load(tmp_path / "run")
    average = optim.averaged_params(state.opt["model"], state.params)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (average, state.params)), strict=True))
    image = np.random.default_rng(0).random((3, 8, 8, 1), np.float32)
    scores = task.predict(state, {"image": image})["scores"]
    there = task.predict(state._replace(params=average, opt={}), {"image": image})["scores"]
    here = task.predict(state._replace(opt={}), {"image": image})["scores"]
    np.testing.assert_array_equal(scores, there)
    assert not np.array_equal(scores, here)
