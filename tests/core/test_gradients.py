"""Gradient estimators: plain, accumulated and sharpness-aware, against NumPy by hand, and inside each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from regression import KEY, PARAMS, assert_close, regression_batch, regression_gradient, squared_error, state_of

from cvdl_jax.core import gradients
from cvdl_jax.core.gradients import accumulate, plain, sam
from cvdl_jax.core.task import descend


def estimate(estimator, batch, params=PARAMS, loss=squared_error, rows=None, on=None):
    return jax.jit(estimator(loss, on))(state_of(params, rows=rows), batch, KEY)


def test_plain_divides_by_the_weight_of_the_whole_batch():
    grads, _, sums = estimate(plain, regression_batch())
    assert_close(grads, regression_gradient(PARAMS, regression_batch()))
    assert sums["loss"][0].dtype == jnp.float32


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_accumulation_equals_the_big_batch(n):
    batch = regression_batch()
    grads, _, sums = estimate(accumulate(n), batch)
    expected, _, expected_sums = estimate(plain, batch)
    assert_close(grads, expected)
    assert_close(sums, expected_sums)


def test_accumulation_with_a_micro_batch_that_is_all_padding():
    batch = regression_batch()
    batch["weight"] = batch["weight"].at[1::3].set(0.0)
    assert_close(estimate(accumulate(3), batch)[0], regression_gradient(PARAMS, batch))


def test_accumulation_gives_each_row_its_own_hidden_state():
    def loss(state, batch, key):
        hidden = state.rows["hidden"]
        total = jnp.sum(state.params["w"] * jnp.sum(batch["x"] * hidden, axis=0))
        return state._replace(rows={"hidden": hidden + batch["x"]}), {"loss": (total, jnp.float32(len(hidden)))}

    batch = {"x": regression_batch()["x"]}
    rows = {"hidden": jnp.arange(36.0).reshape(12, 3)}
    grads, state, _ = estimate(accumulate(3), batch, {"w": jnp.ones(3)}, loss, rows)
    expected, expected_state, _ = estimate(plain, batch, {"w": jnp.ones(3)}, loss, rows)
    assert_close(grads, expected)
    assert_close(state.rows, expected_state.rows)


def test_accumulation_passes_extra_state_from_one_micro_batch_to_the_next():
    def loss(state, batch, key):
        mean = 0.9 * state.extra["mean"] + 0.1 * batch["x"].mean()
        return state._replace(extra={"mean": mean}), squared_error(state, batch, key)[1]

    batch = regression_batch()
    _, state, _ = accumulate(2)(loss, None)(state_of(PARAMS, extra={"mean": jnp.float32(1)}), batch, KEY)
    expected = 1.0
    for i in range(2):
        expected = 0.9 * expected + 0.1 * float(batch["x"][i::2].mean())
    np.testing.assert_allclose(state.extra["mean"], expected, rtol=1e-6)


def sharpness_aware_gradient(params, batch, rho):
    grads = regression_gradient(params, batch)
    norm = np.sqrt(np.sum(grads["w"] ** 2) + grads["b"] ** 2)
    return regression_gradient({name: np.asarray(p) + rho * grads[name] / norm for name, p in params.items()}, batch)


@pytest.mark.parametrize("rho", [0.05, 0.5])
def test_sam_equals_the_gradient_at_the_worst_neighbour(rho):
    grads, state, sums = estimate(sam(rho), regression_batch())
    assert_close(grads, sharpness_aware_gradient(PARAMS, regression_batch(), rho))
    assert_close(state.params, PARAMS, rtol=0, atol=0)
    assert_close(sums, estimate(plain, regression_batch())[2])  # of the unperturbed pass


def test_sam_on_a_quadratic_by_hand():
    """f = w^T A w / 2 with A = diag(1, 4) at w = (3, 1): g = (3, 4), |g| = 5, e = 0.5 g / 5 = (0.3, 0.4)."""

    def loss(state, batch, key):
        w = state.params["w"]
        return state, {"loss": (0.5 * jnp.sum(jnp.array([1.0, 4.0]) * w**2), jnp.float32(1))}

    transform = descend(loss, optax.sgd(0.1), grad=sam(0.5))
    state = state_of({"w": jnp.array([3.0, 1.0])}, transform)
    state, _, sums = transform.update(state, {}, KEY)
    np.testing.assert_allclose(state.params["w"], [3 - 0.1 * 3.3, 1 - 0.1 * 5.6], rtol=1e-6)
    np.testing.assert_allclose(sums["loss"][0], 6.5, rtol=1e-6)


def test_sam_perturbs_only_the_sub_tree_that_it_differentiates():
    def loss(state, batch, key):
        a, b = state.params["a"], state.params["b"]
        return state, {"loss": (a**2 * b, jnp.float32(1))}

    grads, state, _ = estimate(sam(0.5), {}, {"a": jnp.float32(2), "b": jnp.float32(3)}, loss, on="a")
    np.testing.assert_allclose(grads, 2 * 2.5 * 3, rtol=1e-6)
    assert_close(state.params, {"a": 2.0, "b": 3.0})


def test_accumulation_inside_sam_is_sam_of_the_big_batch():
    grads, _, sums = estimate(sam(0.3, accumulate(4)), regression_batch())
    assert_close(grads, sharpness_aware_gradient(PARAMS, regression_batch(), 0.3))
    np.testing.assert_allclose(sums["error"][1], 12)


def test_sam_inside_accumulation_perturbs_for_each_micro_batch():
    batch = regression_batch()
    grads, _, _ = estimate(accumulate(3, sam(0.3)), batch)
    expected = {"w": np.zeros(3), "b": 0.0}
    for i in range(3):
        part = {name: leaf[i::3] for name, leaf in batch.items()}
        share = float(part["weight"].sum() / batch["weight"].sum())
        for name, grad in sharpness_aware_gradient(PARAMS, part, 0.3).items():
            expected[name] = expected[name] + share * grad
    assert_close(grads, expected)


@pytest.mark.parametrize(
    ("text", "estimator"),
    [
        ("plain", plain),
        ("accumulate(3)", accumulate(3)),
        ("sam(0.3) | accumulate(4)", sam(0.3, accumulate(4))),
        ("accumulate(3) | sam(rho=0.3)", accumulate(3, sam(0.3))),
    ],
)
def test_estimators_by_their_names(text, estimator):
    batch = regression_batch()
    assert_close(estimate(gradients.build(text), batch)[0], estimate(estimator, batch)[0], rtol=0, atol=0)
