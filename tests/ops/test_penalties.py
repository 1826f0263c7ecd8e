"""Penalties on weights: worked numbers, conversions between conventions, exact zeros, what a config switches on."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st
from regression import KEY, PARAMS, assert_close, regression_batch, regression_gradient, squared_error, state_of

from cvdl_jax.config import configs
from cvdl_jax.core import gradients
from cvdl_jax.core.parallel import PMAP_AXIS
from cvdl_jax.core.task import Task, create_state, descend, step_function
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import penalties
from cvdl_jax.ops.losses.penalties import as_weight_decay, regularised, soft_threshold
from cvdl_jax.optim import optimizer as optim

SPREAD, SPARSE = np.float32([0.2, 0.8, 0.2, 0.1]), np.float32([1, 0, 0, 0])


def make(name="sgd", lr=0.1, steps_per_epoch=10.0, batch_size=5, **section):
    return configs.call(
        optim.optimizer, {"name": name, "lr": lr, **section}, "config.optim",
        total_steps=100, steps_per_epoch=steps_per_epoch, batch_size=batch_size,
    )  # fmt: skip


def steps(optimizer, params, grad, n):
    """The parameters after n steps."""

    @jax.jit
    def one(params, state):
        updates, state = optimizer.update(grad(params), state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(n):
        params, state = one(params, state)
    return params


def zero(params):
    return jax.tree.map(jnp.zeros_like, params)


# Values and gradients ---------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F1")
def test_l2_of_two_weights_and_its_gradient():
    """The squares of (.2, .8, .2, .1) sum to .73, less than those of (1, 0, 0, 0): L2 spreads weights out."""
    np.testing.assert_allclose([penalties.l2(SPREAD), penalties.l2(SPARSE)], [0.73, 1], rtol=1e-6)
    np.testing.assert_allclose(jax.grad(penalties.l2)(jnp.asarray(SPREAD)), 2 * SPREAD, rtol=1e-6)


@pytest.mark.curriculum("F1")
def test_of_equal_scores_descent_with_l2_finds_the_smallest_weights():
    """w x = 2 has many solutions; with a small penalty, 2 x / |x|^2 is found, whose weights are spread as x is."""
    x = jnp.float32([2, 0.1, 0.1, 0.5])
    grad = jax.grad(lambda p: (p["kernel"] @ x - 2) ** 2)
    start = {"kernel": jnp.float32([0.9, 0.8, 0.2, 0.2])}
    np.testing.assert_allclose(start["kernel"] @ x, 2, rtol=1e-6)
    w = steps(make(lr=0.1, penalty={"name": "l2", "strength": 0.1}), start, grad, 800)["kernel"]
    np.testing.assert_allclose(w, 2 * x / (x @ x + 0.1), rtol=1e-3)  # ridge regression in closed form
    plain = steps(make(lr=0.1), start, grad, 100)["kernel"]
    np.testing.assert_allclose(plain, start["kernel"], rtol=1e-5)


@pytest.mark.curriculum("F2")
def test_l1_of_two_weights_and_its_subgradient():
    """1.3 and 1: L1 prefers (1, 0, 0, 0), which L2 does not. (1.3 is sometimes misprinted as 1.4.)"""
    np.testing.assert_allclose([penalties.l1(SPREAD), penalties.l1(SPARSE)], [1.3, 1], rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(penalties.l1)(jnp.float32([-2, 0, 3])), [-1, 0, 1])


@pytest.mark.curriculum("F2")
@given(st.floats(-3, 3, width=32), st.floats(0, 2, width=32))
def test_soft_thresholding_is_the_proximal_operator(x, t):
    """It minimises t |u| + (u - x)^2 / 2 over u, here over a grid that holds 0 and x."""
    u = np.concatenate([np.linspace(-4, 4, 4001), [0.0, x, x - t, x + t]])
    best = u[np.argmin(t * abs(u) + (u - x) ** 2 / 2)]
    minimum = float(soft_threshold(jnp.float32(x), t))
    assert minimum == pytest.approx(best, abs=3e-3)
    assert (minimum == 0) == (abs(np.float32(x)) <= np.float32(t))


@pytest.mark.curriculum("F3")
def test_the_cost_with_frobenius_norms_by_a_loop():
    rng = np.random.default_rng(0)
    weights = {"w1": rng.normal(size=(4, 3)), "w2": rng.normal(size=(3, 2))}
    params = jax.tree.map(jnp.float32, weights)
    x, y = rng.normal(size=(6, 4)).astype(np.float32), rng.normal(size=(6, 2)).astype(np.float32)

    def losses(p, x, y):
        return jnp.sum((jnp.tanh(x @ p["w1"]) @ p["w2"] - y) ** 2, 1)

    m, strength = len(x), 0.7
    cost = regularised(losses, lambda p: penalties.frobenius(p, m), strength)
    value, gradient = jax.jit(jax.value_and_grad(cost))(params, x, y)
    norms = sum(w[i, j] ** 2 for w in weights.values() for i in range(w.shape[0]) for j in range(w.shape[1]))
    data, slope = jax.value_and_grad(lambda p: losses(p, x, y).sum() / m)(params)
    np.testing.assert_allclose(value, data + strength / (2 * m) * norms, rtol=1e-5)
    for name, w in weights.items():
        np.testing.assert_allclose(gradient[name], slope[name] + strength / m * w, rtol=1e-4, atol=1e-6)


# Conversions ------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F1", "F3", "D16")
@pytest.mark.parametrize(
    ("convention", "penalty"),
    [
        ("decay", lambda w: 0.3 / 2 * jnp.sum(w**2)),
        ("sum", lambda w: 0.3 * penalties.l2(w)),
        ("mean", lambda w: 0.3 * penalties.frobenius(w, 50)),
    ],
)
def test_each_convention_of_l2_is_a_weight_decay_of_sgd(convention, penalty):
    """`w <- (1 - lr d) w - lr g` with d = lambda, 2 lambda and lambda / m descends the three penalties."""
    d = as_weight_decay(0.3, convention, examples=50)
    assert d == pytest.approx({"decay": 0.3, "sum": 0.6, "mean": 0.006}[convention])
    w, g = jnp.float32([1.0, -2.0, 0.5]), jnp.float32([0.3, 0.1, -1.0])
    shrunk, descended = w, w
    for _ in range(5):
        shrunk = (1 - 0.1 * d) * shrunk - 0.1 * g
        descended = descended - 0.1 * (g + jax.grad(penalty)(descended))
    np.testing.assert_allclose(descended, shrunk, rtol=1e-5)
    given = steps(make(weight_decay=d), {"kernel": w}, lambda _: {"kernel": g}, 5)["kernel"]
    np.testing.assert_allclose(given, shrunk, rtol=1e-5)


def test_what_cannot_be_converted_is_refused():
    for call, words in (
        (lambda: as_weight_decay(-1, "sum"), "strength=-1 must be at least 0"),
        (lambda: as_weight_decay(1, "half"), "convention='half' must be 'decay', 'sum' or 'mean'"),
        (lambda: as_weight_decay(1, "mean"), "examples is missing"),
        (lambda: penalties.frobenius({}, 0), "examples=0 must be at least 1"),
        (lambda: soft_threshold(jnp.ones(2), -0.1), "threshold=-0.1 must be at least 0"),
    ):
        with pytest.raises(ValueError, match=words):
            call()


# The switch of a config -------------------------------------------------------------------------------------------


@pytest.mark.curriculum("F1", "F2", "F3")
@pytest.mark.parametrize(
    ("penalty", "slope"),
    [
        ({"name": "l2", "strength": 0.3}, lambda w: 0.6 * w),
        ({"name": "l1", "strength": 0.3}, np.sign),
        ({"name": "frobenius", "strength": 0.3}, lambda w: 0.3 / 50 * w),  # 10 steps of 5 examples are an epoch
        ({"name": "frobenius", "strength": 0.3, "examples": 7}, lambda w: 0.3 / 7 * w),
    ],
)
def test_a_penalty_of_a_config_adds_its_gradient(penalty, slope):
    slope = (lambda w: 0.3 * np.sign(w)) if penalty["name"] == "l1" else slope
    params = {"head": {"kernel": jnp.float32([1.0, -2.0, 0.0]), "bias": jnp.float32([3.0])}}
    kernel = np.asarray(params["head"]["kernel"])
    new = steps(make(penalty=penalty), params, zero, 1)["head"]
    np.testing.assert_allclose(new["kernel"], kernel - 0.1 * slope(kernel), rtol=1e-6)
    np.testing.assert_array_equal(new["bias"], params["head"]["bias"])  # biases only where they are asked for
    new = steps(make(penalty={**penalty, "on": ".*"}), params, zero, 1)["head"]
    np.testing.assert_allclose(new["bias"], 3 - 0.1 * slope(np.float32([3.0])), rtol=1e-6)


@pytest.mark.curriculum("F1")
def test_l2_of_a_config_is_twice_its_weight_decay_to_the_bit():
    params, grad = {"kernel": jnp.linspace(-2.0, 2.0, 9)}, lambda p: jax.tree.map(jnp.sin, p)
    for rule in ("sgd", "adam"):
        given = steps(make(rule, clip_norm=0.5, penalty={"name": "l2", "strength": 0.05}), params, grad, 4)
        decayed = steps(make(rule, clip_norm=0.5, weight_decay=0.1), params, grad, 4)
        np.testing.assert_array_equal(given["kernel"], decayed["kernel"])


@pytest.mark.curriculum("F3")
@pytest.mark.parametrize("estimator", ["plain", "accumulate(2)"])
def test_a_penalty_counts_once_over_micro_batches_and_devices(estimator):
    """One step on four devices of three rows, some of them masked, is the step on one batch, by NumPy."""
    optimizer = make(penalty={"name": "frobenius", "strength": 0.5, "on": "w"}, batch_size=12, steps_per_epoch=3.0)
    train = descend(squared_error, optimizer, grad=gradients.build(estimator))
    state, batch = state_of(PARAMS, train), regression_batch()
    grads = regression_gradient(PARAMS, batch)
    expected = {"w": np.asarray(PARAMS["w"]) * (1 - 0.1 * 0.5 / 36) - 0.1 * grads["w"], "b": 0.25 - 0.1 * grads["b"]}
    assert_close(jax.jit(train.update)(state, batch, KEY)[0].params, expected)
    parts = jax.tree.map(lambda x: x.reshape(2, 6, *x.shape[1:]), batch)
    mapped = jax.vmap(lambda part: train.update(state, part, KEY)[0].params, axis_name=PMAP_AXIS)
    if estimator == "plain":
        assert_close(jax.tree.map(lambda x: x[1], jax.jit(mapped)(parts)), expected)


# Exact zeros ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lasso():
    """A regression on twenty features of which three matter, and scikit-learn's solution."""
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 20))
    true = np.zeros(20)
    true[[2, 7, 11]] = [1.5, -2.0, 0.8]
    y = x @ true + 0.1 * rng.normal(size=100)
    strength = 0.1
    expected = Lasso(alpha=strength, fit_intercept=False, tol=1e-10).fit(x, y).coef_
    x, y = jnp.float32(x), jnp.float32(y)
    return jax.grad(lambda p: jnp.mean((x @ p["kernel"] - y) ** 2) / 2), true, expected, strength


@pytest.mark.curriculum("F2")
def test_proximal_steps_select_features_as_the_lasso_does(lasso):
    grad, true, expected, strength = lasso
    start = {"kernel": jnp.full(20, 0.5)}
    ema, factors = {"momentum": 0.5, "form": "ema"}, {"lr_factors": (("kernel", 2.0),), "lr": 0.1}
    for factor, more in ((1, {}), (2, {"momentum": 0.5}), (1, ema), (1, factors)):  # see `proximal_l1` for the 2
        optimizer = make(**{"lr": 0.2, "penalty": {"name": "proximal_l1", "strength": factor * strength}, **more})
        w = np.asarray(steps(optimizer, start, grad, 300)["kernel"])
        np.testing.assert_allclose(w, expected, atol=1e-4)
        np.testing.assert_array_equal(w == 0, true == 0)  # to the bit


@pytest.mark.curriculum("F2")
def test_subgradient_steps_come_close_to_zero_and_miss_it(lasso):
    grad, _, expected, strength = lasso
    optimizer = make(lr=0.2, penalty={"name": "l1", "strength": strength}, schedule={"name": "cosine"})
    w = np.asarray(steps(optimizer, {"kernel": jnp.full(20, 0.5)}, grad, 100)["kernel"])
    np.testing.assert_allclose(w, expected, atol=0.02)
    assert (w != 0).all()
    ridge = steps(make(lr=0.2, penalty={"name": "l2", "strength": strength}), {"kernel": jnp.full(20, 0.5)}, grad, 300)
    assert (np.asarray(ridge["kernel"]) != 0).all()  # L2 leaves no zeros either


@pytest.mark.curriculum("F2")
def test_thresholds_follow_the_rate_its_scale_and_what_is_frozen():
    params = {"a": {"kernel": jnp.float32([1.0, 0.05])}, "b": {"kernel": jnp.ones(1)}}
    section = {"penalty": {"name": "proximal_l1", "strength": 1.0}, "freeze": "b/.*"}
    optimizer = make(lr=0.1, schedule={"name": "step", "every_steps": 1, "factor": 0.5}, **section)
    new = steps(optimizer, params, zero, 2)
    np.testing.assert_allclose(new["a"]["kernel"], [1 - 0.1 - 0.05, 0], rtol=1e-6)
    np.testing.assert_array_equal(new["b"]["kernel"], params["b"]["kernel"])
    new = steps(optim.with_scale(make(lr=0.1, **section), jnp.float32(0.25)), params, zero, 1)
    np.testing.assert_allclose(new["a"]["kernel"], [0.975, 0.025], rtol=1e-6)


@pytest.mark.curriculum("F2")
@pytest.mark.parametrize("rule", ["adam", "lion", "rmsprop"])
def test_zeros_stay_zeros_under_adaptive_rules(rule):
    grad = lambda p: {"kernel": p["kernel"] - jnp.float32([2.0, 0.01, -0.02])}  # noqa: E731
    start = {"kernel": jnp.float32([1.0, 0.0, 0.0])}
    new = steps(make(rule, lr=0.01, penalty={"name": "proximal_l1", "strength": 5.0}), start, grad, 20)
    np.testing.assert_array_equal(new["kernel"][1:], [0, 0])
    assert new["kernel"][0] != 0


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"penalty": {"strength": 1.0}}, ["config.optim.penalty.name is missing", "l1"]),
        ({"penalty": {"name": "l3", "strength": 1.0}}, ["config.optim.penalty.name", "'l3'", "did you mean"]),
        ({"penalty": {"name": "l2"}}, ["config.optim.penalty.strength is missing"]),
        ({"penalty": {"name": "l1", "strength": -0.5}}, ["config.optim.penalty.strength=-0.5", "0 or more"]),
        ({"penalty": {"name": "l1", "strenth": 0.5}}, ["config.optim.penalty.strenth", "did you mean 'strength'"]),
        ({"penalty": {"name": "l2", "strength": 1.0, "on": "bias"}}, ["penalty.on='bias'", "matches no parameter"]),
        ({"penalty": {"name": "l2", "strength": 1.0, "on": "(a"}}, ["penalty.on='(a'", "regular expression"]),
        ({"penalty": {"name": "frobenius", "strength": 1.0, "examples": 0}}, ["penalty.examples=0", "1 or more"]),
        ({"penalty": {"name": "frobenius", "strength": 1.0}, "steps_per_epoch": None}, ["penalty.examples is missing"]),
        (
            {"name": "schedule_free_sgd", "penalty": {"name": "proximal_l1", "strength": 1.0}},
            ["'proximal_l1'", "schedule-free", "'l1'"],
        ),
        ({"gradient_noise": {"eta": -1.0}}, ["config.optim.gradient_noise.eta=-1.0", "0 or more"]),
        ({"gradient_noise": {"gamma": 0.5}}, ["config.optim.gradient_noise.eta is missing"]),
        ({"gradient_noise": {"eta": 1.0, "gama": 0.5}}, ["gradient_noise.gama", "did you mean 'gamma'"]),
    ],
)
def test_impossible_penalties_and_noises_are_refused_by_name(section, words):
    with pytest.raises(ConfigError) as error:
        make(**section).init({"kernel": jnp.ones(2)})
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.curriculum("F10")
def test_gradient_noise_has_the_variance_of_its_schedule_and_repeats_itself():
    params = {"kernel": jnp.zeros((100, 100)), "bias": jnp.zeros(10_000)}
    optimizer = make(lr=1.0, gradient_noise={"eta": 0.3, "gamma": 0.55})
    keys = jax.random.split(jax.random.key(7), 3)

    def first(key=None, **section):
        updates, _ = make(lr=1.0, gradient_noise={"eta": 0.3, **section}).update(
            zero(params), optimizer.init(params), params, key=key
        )
        return np.asarray(updates["bias"])

    state, seen = optimizer.init(params), []
    for key in keys:
        updates, state = optimizer.update(zero(params), state, params, key=key)
        seen.append(np.concatenate([np.asarray(u).ravel() for u in jax.tree.leaves(updates)]))
    for t, noise in enumerate(seen):
        assert noise.var() == pytest.approx(0.3 / (1 + t) ** 0.55, rel=0.05)
        assert abs(noise.mean()) < 0.02
    assert abs(np.corrcoef([*seen, seen[0][::-1]])[np.triu_indices(4, 1)]).max() < 0.05  # steps and tensors differ
    for noise in seen:  # the two tensors of one step
        assert abs(np.corrcoef(noise[:10_000], noise[10_000:])[0, 1]) < 0.05
    np.testing.assert_array_equal(first(keys[0]), seen[0][:10_000])
    own = [first(key, seed=seed) for key, seed in ((None, 0), (keys[0], 0), (None, 1))]  # of its own seed alone
    np.testing.assert_array_equal(own[0], own[1])
    assert abs(np.corrcoef([*own[1:], seen[0][:10_000]])[np.triu_indices(3, 1)]).max() < 0.05
    with pytest.raises(ConfigError, match="gradient_noise draws from the key of a step"):
        first()


@pytest.mark.curriculum("F10")
def test_gradient_noise_follows_the_seed_of_the_run():
    """What two runs of one seed add is equal, and of two seeds it is not; both descend a loss without a slope."""

    def one_step(seed: int) -> np.ndarray:
        optimizer = make(lr=1.0, gradient_noise={"eta": 1.0})
        loss = lambda state, batch, key: (state, {"loss": (0.0 * state.params["w"].sum(), jnp.ones(()))})  # noqa: E731
        task = Task(init=lambda key, batch: {"params": {"w": jnp.zeros(1000)}}, train=descend(loss, optimizer))
        state = create_state(task, jax.random.key(0), {})
        state, _ = step_function(task, seed)(state, {})
        return np.asarray(state.params["w"])

    first, again, other = one_step(0), one_step(0), one_step(1)
    np.testing.assert_array_equal(first, again)
    assert first.std() == pytest.approx(1, rel=0.1) and abs(np.corrcoef(first, other)[0, 1]) < 0.15


@pytest.mark.curriculum("F10")
def test_gradient_noise_follows_the_clips_and_leaves_frozen_parameters_alone():
    params = {"a": jnp.zeros(5), "b": jnp.ones(5)}
    optimizer = make(lr=1.0, clip_norm=1e-6, freeze="b", gradient_noise={"eta": 1.0})
    updates, _ = optimizer.update(params, optimizer.init(params), params, key=jax.random.key(0))
    assert float(jnp.linalg.norm(updates["a"])) > 0.1
    np.testing.assert_array_equal(updates["b"], np.zeros(5))
