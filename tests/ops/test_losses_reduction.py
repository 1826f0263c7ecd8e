"""Sums and means of losses with weights and masks, checks of values that are known, the regularised objective."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cvdl_jax.ops import value_checks
from cvdl_jax.ops.losses import classification, penalties
from cvdl_jax.ops.losses.penalties import regularised
from cvdl_jax.ops.losses.reduction import reduce, reducible
from cvdl_jax.ops.losses.regression import l2

EACH = np.float32([[1, 2], [3, 4], [5, 6]])
COMPILED = {how: jax.jit(partial(reduce, reduction=how)) for how in ("none", "sum", "mean")}
SCORES = np.float32([[3.2, -5, 10], [0.1, 14, 5], [0.3, 8, 14]])
LABELS = np.array([0, 1, 2])


@given(
    hnp.arrays(np.float32, (3, 2), elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, 3, elements=st.sampled_from([0, 0.5, 1, 3])),
    hnp.arrays(bool, 3),
)
def test_weights_and_masks_equal_a_loop(losses, weights, mask):
    w = [[weights[i] * mask[i]] * 2 for i in range(3)]
    expected = [[w[i][j] * losses[i, j] for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(COMPILED["none"](losses, weights=weights, mask=mask), expected, rtol=1e-6)
    total, weight = np.sum(expected, dtype=np.float64), np.sum(w)
    np.testing.assert_allclose(COMPILED["sum"](losses, weights=weights, mask=mask), total, rtol=1e-5, atol=1e-3)
    mean = COMPILED["mean"](losses, weights=weights, mask=mask)
    np.testing.assert_allclose(mean, total / weight if weight else np.nan, rtol=1e-5, atol=1e-3)


def test_reductions_without_weights():
    np.testing.assert_array_equal(reduce(EACH), EACH)
    assert reduce(EACH, "sum") == 21 and reduce(EACH, "mean") == 3.5
    np.testing.assert_array_equal(reduce(EACH, weights=np.float32([[1, 0]] * 3)), EACH * [[1, 0]])
    np.testing.assert_array_equal(reduce(EACH, mask=np.array([[1], [0], [1]])), EACH * [[1], [0], [1]])
    np.testing.assert_array_equal(reduce(EACH, weights=2.0), 2 * EACH)


def test_a_masked_loss_counts_nothing_whatever_it_is():
    losses = np.float32([[1, 2], [np.nan, np.inf], [5, 6]])
    mask = np.array([True, False, True])
    assert COMPILED["mean"](losses, mask=mask) == 3.5 and COMPILED["sum"](losses, mask=mask) == 14
    assert COMPILED["mean"](losses, weights=mask.astype(np.float32)) == 3.5
    slope = jax.grad(lambda x: reduce(x, "mean", mask=mask))(EACH)
    np.testing.assert_array_equal(slope, [[0.25] * 2, [0] * 2, [0.25] * 2])


def test_bad_reductions_weights_and_masks():
    with pytest.raises(ValueError, match=r"reduction='mena' is not known; did you mean 'mean'\?"):
        reduce(EACH, "mena")
    with pytest.raises(ValueError, match=r"weights of shape \[2\] must have the shape \[3, 2\] of the losses"):
        reduce(EACH, weights=np.ones(2))
    with pytest.raises(ValueError, match=r"mask of shape \[3, 2, 1\]"):
        reduce(EACH, mask=np.ones((3, 2, 1)))
    with pytest.raises(ValueError, match=r"weights\[1\]=-1\.0 must be at least 0\.0 and finite"):
        reduce(EACH, weights=np.array([1, -1, 1]))
    with pytest.raises(ValueError, match=r"weights\[2\]=nan must be a number"):
        reduce(EACH, weights=np.array([1, 1, np.nan]))
    with pytest.raises(ValueError, match=r"mask\[0\]=2\.0 must be one of \(0, 1\)"):
        reduce(EACH, mask=np.array([2, 0, 1]))
    with pytest.raises(ValueError, match=r"the sum of weights and mask=0\.0 must be positive for reduction='mean'"):
        reduce(EACH, "mean", mask=np.zeros(3))
    with pytest.raises(ValueError, match=r"losses of shape \[0\]: there is nothing to average"):
        reduce(EACH[:0, 0], "mean")
    assert np.isnan(COMPILED["none"](EACH, weights=np.array([1.0, -1, 1]))).tolist() == [
        [False] * 2,
        [True] * 2,
        [False] * 2,
    ]
    assert np.isnan(COMPILED["mean"](EACH, mask=np.zeros(3)))


@pytest.mark.parametrize("name", ["multiclass_hinge", "softmax_cross_entropy", "focal", "sigmoid_cross_entropy"])
def test_every_loss_sums_and_averages(name):
    loss = getattr(classification, name)
    losses = loss(SCORES, LABELS)
    w, m = np.float32([1, 2, 3]), np.array([1, 1, 0])
    np.testing.assert_allclose(loss(SCORES, LABELS, reduction="sum"), losses.sum(), rtol=1e-6)
    np.testing.assert_allclose(
        loss(SCORES, LABELS, reduction="mean", weights=w, mask=m), (losses[0] + 2 * losses[1]) / 3, rtol=1e-5
    )
    assert loss.__doc__ and loss.__name__ == name


def test_reducible_keeps_the_function_it_wraps():
    @reducible
    def double(x, factor: float = 2.0):
        """Twice."""
        return factor * x

    assert double(3.0, factor=4.0) == 12 and double(np.float32([1, 2]), reduction="sum") == 6
    assert double.__doc__ == "Twice."


# Known values -----------------------------------------------------------------------------------------------------


def test_checks_raise_for_known_values_and_pass_traced_ones():
    x = np.float32([0.2, 1.5])
    with pytest.raises(ValueError, match=r"x\[1\]=1\.5 must be in \[0, 1\] \(1 of 2 values are not\)"):
        value_checks.between("x", jnp.asarray(x), 0, 1)
    with pytest.raises(ValueError, match=r"^x=3 must be positive and odd$"):
        value_checks.check_concrete("x", 3, lambda v: v > 5, "positive and odd")
    good = jax.jit(lambda x: value_checks.between("x", x, 0, 1))(x)
    assert good.tolist() == [True, False]
    assert jax.vmap(lambda x: value_checks.positive("x", x))(-x).tolist() == [False, False]
    assert value_checks.is_concrete(x) and value_checks.is_concrete(jnp.asarray(x)) and value_checks.is_concrete(2.0)
    jax.jit(lambda x: x if value_checks.is_concrete(x) is False else 1 / 0)(x)
    with pytest.raises(ValueError, match=r"labels\[0\]=7"):  # known although the other argument is traced
        jax.eval_shape(lambda s: classification.multiclass_hinge(s, np.array([7, 1, 2])), SCORES)


def test_distributions():
    good = value_checks.distribution("p", jnp.float32([[0.3, 0.7], [0, 1]]))
    assert good.tolist() == [True, True]
    assert value_checks.distribution("p", jnp.bfloat16([0.1, 0.2, 0.7])).tolist() is True
    with pytest.raises(ValueError, match=r"sum\(p, axis=0\)=0\.8.* must be 1, to 0\.001"):
        value_checks.distribution("p", jnp.float32([0.1, 0.7]), axis=0)


# Regularised objective --------------------------------------------------------------------------------------------


def test_penalties_of_the_lecture():
    """Two weights with nearly equal scores: L2 prefers the spread one, L1 the sparse one (the lecture prints 1.4)."""
    spread, sparse, x = np.float32([0.2, 0.8, 0.2, 0.1]), np.float32([1, 0, 0, 0]), np.float32([2, 0.1, 0.1, 0.5])
    np.testing.assert_allclose([penalties.l2(spread), penalties.l2(sparse)], [0.73, 1], rtol=1e-6)
    np.testing.assert_allclose([penalties.l1(spread), penalties.l1(sparse)], [1.3, 1], rtol=1e-6)
    np.testing.assert_allclose([spread @ x, sparse @ x], [0.55, 2], rtol=1e-6)
    np.testing.assert_allclose(np.float32([0.9, 0.8, 0.2, 0.2]) @ x, 2, rtol=1e-6)  # a pair with equal scores
    np.testing.assert_array_equal(jax.grad(penalties.l1)(jnp.float32([-2, 0, 3])), [-1, 0, 1])
    assert penalties.l2({}) == 0


@pytest.mark.curriculum("C11")
@pytest.mark.parametrize("regulariser", [penalties.l2, penalties.l1])
def test_objective_is_the_mean_loss_plus_the_penalty(regulariser):
    """For several losses and penalties; also its gradient, that of the data plus lambda times that of R."""
    rng = np.random.default_rng(0)
    params = {"w": rng.normal(size=(4, 3)).astype(np.float32), "b": np.float32([1, -2, 0.5])}
    x, y = rng.normal(size=(5, 4)).astype(np.float32), np.array([0, 1, 2, 1, 0])
    scores = lambda p, x: x @ p["w"] + p["b"][None]  # noqa: E731
    pairs = (
        (lambda p, x, y: classification.multiclass_hinge(scores(p, x), y), y),
        (lambda p, x, y: l2(scores(p, x), y).sum(1), np.eye(3, dtype=np.float32)[y]),
    )
    for loss, target in pairs:
        objective = jax.jit(jax.value_and_grad(regularised(loss, regulariser, 0.1)))
        value, gradient = objective(params, x, target)
        data, data_gradient = jax.value_and_grad(lambda p: loss(p, x, target).mean())(params)  # noqa: B023
        np.testing.assert_allclose(value, data + 0.1 * regulariser(params), rtol=1e-5)
        for name, p in params.items():
            slope = 2 * p if regulariser is penalties.l2 else np.sign(p)
            np.testing.assert_allclose(gradient[name], data_gradient[name] + 0.1 * slope, rtol=1e-4, atol=1e-5)


@pytest.mark.curriculum("C11")
def test_of_two_weights_with_the_same_data_loss_the_smaller_wins():
    """W and 2 W both have hinge loss 0; the penalty decides between them, and counts once however many examples."""
    loss = lambda w, x, y: classification.multiclass_hinge(x @ w, y)  # noqa: E731
    w, x, y = 5 * np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32), np.arange(3)
    plain, penalised = regularised(loss, penalties.l2, 0), regularised(loss, penalties.l2, 0.01)
    assert plain(w, x, y) == plain(2 * w, x, y) == 0
    np.testing.assert_allclose([penalised(w, x, y), penalised(2 * w, x, y)], [0.75, 3])
    np.testing.assert_allclose(penalised(w, x, y, mask=np.array([1, 0, 0])), 0.75)
    wrong = penalised(w, x, np.array([0, 1, 0]), weights=np.array([1, 1, 2]))  # one loss of 6 + 1, of weight 2 of 4
    np.testing.assert_allclose(wrong, 3.5 + 0.75)


def test_bad_penalties_are_refused():
    with pytest.raises(ValueError, match=r"strength=-1 must be at least 0"):
        regularised(l2, penalties.l2, -1)
    with pytest.raises(ValueError, match=r"regulariser\(params\) must be one number, got an array of shape \[2\]"):
        regularised(lambda p: p, jnp.abs, 1.0)(jnp.ones(2))
