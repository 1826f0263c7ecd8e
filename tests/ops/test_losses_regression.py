"""Losses of real numbers, boxes and pixels: worked numbers, NumPy and SciPy oracles, gradients, bad input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special, stats

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import regression as r
from cvdl_jax.ops.losses.localisation import classification_localisation
from cvdl_jax.ops.losses.regression import hole_weights, weighted_pixel_l1

COMPILED = {
    "l1": jax.jit(r.l1),
    "l2": jax.jit(r.l2),
    "smooth_l1": jax.jit(r.smooth_l1),
    "gaussian_nll": jax.jit(r.gaussian_nll),
    "age": jax.jit(partial(r.age, sigma=3.0, blend=0.3)),
}
VECTORS = hnp.arrays(np.float32, (2, 3), elements=st.floats(-100, 100, width=32))


@pytest.mark.curriculum("C7", "C8")
def test_absolute_and_squared_error_worked_numbers():
    y, t = np.float32([[1, 2], [3, -4]]), np.float32([[1, 0], [0, 0]])
    np.testing.assert_array_equal(COMPILED["l1"](y, t), [[0, 2], [3, 4]])
    np.testing.assert_array_equal(COMPILED["l2"](y, t), [[0, 4], [9, 16]])
    for loss, total in ((r.l1, 9), (r.l2, 29)):
        assert float(loss(y, t, reduction="sum")) == total
        assert float(loss(y, t, reduction="mean")) == total / 4
        assert float(loss(y, t, reduction="mean", mask=np.array([True, False]))) == (2 if loss is r.l2 else 1)


@pytest.mark.curriculum("C7", "C8")
@given(VECTORS, VECTORS)
def test_absolute_and_squared_error_equal_numpy(y, t):
    np.testing.assert_allclose(COMPILED["l1"](y, t), np.abs(y - t), rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(COMPILED["l2"](y, t), (y - t) ** 2, rtol=1e-6, atol=1e-30)


@pytest.mark.curriculum("C10")
def test_smooth_l1_in_both_forms_with_predictions_and_targets():
    """OR83, ER18; the standard form's value and slope are continuous at beta, the other's slope jumps from 2 to 1."""
    t = np.float32([1, -1, 3])
    x = np.float32([0.5, 1, 2])
    np.testing.assert_allclose(COMPILED["smooth_l1"](t + x, t), [0.125, 0.5, 1.5])
    np.testing.assert_allclose(r.smooth_l1(t - x, t, form="seed"), [0.25, 1, 2])
    assert float(r.smooth_l1(t + x, t, reduction="sum")) == pytest.approx(2.125)
    near = np.float32([0.4999, 0.5001])
    slope = {form: jax.vmap(jax.grad(partial(r.smooth_l1, beta=0.5, form=form))) for form in ("standard", "seed")}
    np.testing.assert_allclose(slope["standard"](near, np.zeros(2, np.float32)), [1, 1], rtol=1e-3)
    np.testing.assert_allclose(slope["seed"](near, np.zeros(2, np.float32)), [2, 1], rtol=1e-3)


@pytest.mark.curriculum("C6")
def test_least_squares_is_maximum_likelihood_of_a_normal_distribution():
    """The NLL equals SciPy's; with a fixed variance it is MSE / (2 v) and a constant, with the same gradient."""
    rng = np.random.default_rng(0)
    m, t = rng.normal(size=(2, 5)).astype(np.float32)
    v = rng.uniform(0.5, 3, 5).astype(np.float32)
    np.testing.assert_allclose(
        COMPILED["gaussian_nll"](m, t, v), -stats.norm(m, np.sqrt(v)).logpdf(t), rtol=1e-5, atol=1e-6
    )
    nll = r.gaussian_nll(m, t, 2.0, reduction="mean")
    np.testing.assert_allclose(nll, r.l2(m, t, reduction="mean") / 4 + 0.5 * np.log(4 * np.pi), rtol=1e-6)
    slopes = jax.grad(lambda m: r.gaussian_nll(m, t, reduction="mean"))(m)
    np.testing.assert_allclose(slopes, jax.grad(lambda m: 0.5 * r.l2(m, t, reduction="mean"))(m), rtol=1e-6)


@pytest.mark.curriculum("C13")
def test_age_loss():
    """d = 2, sigma = 3, lambda = 0.3: OR85. lambda 0 is half the squared error, lambda 1 never exceeds 1."""
    np.testing.assert_allclose(COMPILED["age"](np.float32([32, 28]), np.float32([30, 30])), 1.4597787791, rtol=1e-6)
    y, t = np.float32([30, 31, 90]), np.float32([30, 30, 30])
    np.testing.assert_allclose(r.age(y, t, 3.0, 0.0), [0, 0.5, 1800])
    np.testing.assert_allclose(r.age(y, t, 3.0, 1.0), [0, -np.expm1(-1 / 18), 1], rtol=1e-6)
    losses = r.age(y, t, np.float32([1, 2, 3]), 0.5)  # a spread per example, as annotators differ
    expected = [0.5 * (0.5 * d**2) + 0.5 * (1 - np.exp(-(d**2) / (2 * s**2))) for d, s in ((0, 1), (1, 2), (60, 3))]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    np.testing.assert_allclose(r.age(y, t, 3.0, 0.5, reduction="mean"), r.age(y, t, 3.0, 0.5).mean(), rtol=1e-6)


# Boxes ------------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C12")
def test_classification_and_localisation():
    """Cross-entropy over K + 1 classes; the box counts only where there is an object, whatever it holds elsewhere."""
    rng = np.random.default_rng(0)
    logits, boxes = rng.normal(size=(3, 4)).astype(np.float32), rng.uniform(size=(3, 4)).astype(np.float32)
    labels, true_boxes = np.array([2, 0, 1]), rng.uniform(size=(3, 4)).astype(np.float32)
    true_boxes[1] = np.nan
    compiled = jax.jit(classification_localisation)
    losses = compiled(logits, boxes, labels, true_boxes)
    log_p = special.log_softmax(logits.astype(np.float64), axis=1)
    squares = [sum((b - t) ** 2 for b, t in zip(boxes[i], true_boxes[i], strict=True)) for i in range(3)]
    expected = [-log_p[0, 2] + squares[0], -log_p[1, 0], -log_p[2, 1] + squares[2]]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    total = classification_localisation(logits, boxes, labels, true_boxes, 0.0, reduction="mean")
    np.testing.assert_allclose(total, -(log_p[0, 2] + log_p[1, 0] + log_p[2, 1]) / 3, rtol=1e-5)
    slope = jax.grad(lambda b: classification_localisation(logits, b, labels, true_boxes, reduction="sum"))(boxes)
    np.testing.assert_array_equal(slope[1], np.zeros(4))
    np.testing.assert_allclose(slope[0], 2 * (boxes[0] - true_boxes[0]), rtol=1e-5)
    assert np.isnan(compiled(logits, boxes, np.array([2, 4, 1]), boxes)).tolist() == [False, True, False]


def test_bad_boxes_are_refused():
    logits, boxes, labels = np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32), np.array([0, 1])
    loss = classification_localisation
    with pytest.raises(ValueError, match=r"boxes and true_boxes must have one shape, got boxes \[2, 4\]"):
        loss(logits, boxes, labels, boxes[:1])
    with pytest.raises(ValueError, match=r"boxes must be \[2, 4\], one for each row of logits, got \[2, 3\]"):
        loss(logits, boxes[:, :3], labels, boxes[:, :3])
    with pytest.raises(ValueError, match=r"predictions|targets"):
        loss(logits, boxes, labels, boxes + np.nan)
    with pytest.raises(ValueError, match=r"labels must be int \[b\]"):
        loss(logits, boxes, np.full((2, 3), 1 / 3, np.float32), boxes)
    with pytest.raises(ValueError, match=r"labels\[1\]=3 must be in \[0, 2\]"):
        loss(logits, boxes, np.array([0, 3]), boxes)
    with pytest.raises(ValueError, match=r"box_weight=-1 must be at least 0"):
        loss(logits, boxes, labels, boxes, box_weight=-1)
    with pytest.raises(ConfigError, match="softmax_cross_entropy takes"):
        loss(logits, boxes, labels[:1], boxes)


# Pixels -----------------------------------------------------------------------------------------------------------


@pytest.mark.curriculum("C17")
def test_weighted_pixel_loss_of_an_image_with_a_hole():
    """Pixels under the white patch count less, or nothing; one weight per pixel serves all channels."""
    rng = np.random.default_rng(0)
    x, y = rng.uniform(0, 0.9, size=(2, 2, 4, 4, 3)).astype(np.float32)
    corrupted = x.copy()
    corrupted[:, 1:3, 1:3] = 1
    corrupted[0, 0, 0, 0] = 1  # one bright channel is no hole
    weight = hole_weights(corrupted, inside=0.1)
    expected = np.ones((2, 4, 4))
    expected[:, 1:3, 1:3] = 0.1
    np.testing.assert_allclose(weight, expected, rtol=1e-6)
    losses = jax.jit(weighted_pixel_l1)(y, x, weight)
    np.testing.assert_allclose(losses, (np.abs(y - x) * expected[..., None]).sum((1, 2, 3)), rtol=1e-5)
    per_channel = weighted_pixel_l1(y, x, np.broadcast_to(expected[..., None], x.shape).astype(np.float32))
    np.testing.assert_allclose(per_channel, losses, rtol=1e-5)
    np.testing.assert_allclose(weighted_pixel_l1(y, x, weight, reduction="mean"), losses.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        weighted_pixel_l1(y, x, weight, reduction="mean", mask=np.array([0, 1])), losses[1], rtol=1e-6
    )
    slope = jax.grad(lambda y: weighted_pixel_l1(y, x, hole_weights(corrupted), reduction="sum"))(y)
    assert not slope[:, 1:3, 1:3].any() and (np.abs(slope[:, 0]) == 1).all()


def test_bad_pixel_weights_are_refused():
    x = np.zeros((2, 4, 4, 3), np.float32)
    with pytest.raises(ValueError, match=r"pixel_weights\[0, 0, 0\]=-1\.0 must be at least 0"):
        weighted_pixel_l1(x, x, -np.ones((2, 4, 4)))
    with pytest.raises(ValueError, match=r"pixel_weights of shape \[4, 4\] must have the shape \[2, 4, 4, 3\]"):
        weighted_pixel_l1(x, x, np.ones((4, 4)))
    with pytest.raises(ValueError, match=r"images must be \[b, h, w, c\]"):
        hole_weights(x[0])
    with pytest.raises(ValueError, match=r"inside=2 must be in \[0\.0, 1\.0\]"):
        hole_weights(x, inside=2)


# Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPILED)
def test_bad_values_are_named_or_nan(name):
    loss = partial(r.age, sigma=3.0, blend=0.3) if name == "age" else getattr(r, name)
    first = "means" if name == "gaussian_nll" else "predictions"
    y, nan = np.float32([1, 2]), np.float32([0, np.nan])
    with pytest.raises(ValueError, match=rf"{first}\[1\]=nan must be a number, not NaN \(1 of 2 values are not\)"):
        loss(nan, y)
    with pytest.raises(ValueError, match=r"targets\[1\]=nan"):
        loss(y, nan)
    assert np.isnan(COMPILED[name](y, nan)).tolist() == [False, True]
    with pytest.raises(
        ValueError, match=rf"{first} and targets must have one shape, got {first} \[2\], targets \[2, 1\]"
    ):
        jax.eval_shape(loss, y, y[:, None])
    with pytest.raises(ValueError, match=r"reduction='avg' is not known"):
        loss(y, y, reduction="avg")
    assert loss(y.astype(jnp.bfloat16), y.astype(jnp.bfloat16)).dtype == jnp.float32


def test_impossible_parameters():
    y = np.float32([1, 2])
    for beta in (0, -1.0, np.nan):
        with pytest.raises(ValueError, match=rf"beta={beta} must be positive"):
            r.smooth_l1(y, y, beta=beta)
    with pytest.raises(ValueError, match=r"form='sead' must be 'standard' or 'seed'"):
        r.smooth_l1(y, y, form="sead")
    with pytest.raises(ValueError, match=r"sigma=0\.0 must be positive"):
        r.age(y, y, 0.0, 0.5)
    with pytest.raises(ValueError, match=r"blend=1\.5 must be in \[0\.0, 1\.0\]"):
        r.age(y, y, 1.0, 1.5)
    with pytest.raises(ValueError, match=r"variances\[1\]=-1\.0 must be positive"):
        r.gaussian_nll(y, y, np.float32([1, -1]))
    with pytest.raises(ValueError, match="targets and variances must have one shape"):
        r.gaussian_nll(y, y, np.ones(3))
    assert np.isnan(COMPILED["gaussian_nll"](y, y, np.float32([1, -1]))).tolist() == [False, True]
