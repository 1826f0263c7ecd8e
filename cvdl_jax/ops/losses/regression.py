"""Losses of real numbers and of images: `loss(predictions [...], targets [...]) -> [...]`, or one value per image.

The functions with predictions and targets also take `reduction`, `weights` and `mask` (see `reduction.reducible`),
compute in at least float32, and refuse NaN and shapes that differ with a ValueError.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.ops.losses.reduction import expand, reducible
from cvdl_jax.ops.value_checks import between, floats, or_nan, positive, same_shape

Form = Literal["standard", "seed"]


@reducible
def l1(predictions: Any, targets: Any) -> jax.Array:
    """Absolute error, `|y - t|`; "sum" is the L1 loss, "mean" the mean absolute error.

    Args:
        predictions: y, float [...].
        targets: t, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.
    """
    return jnp.abs(_difference(predictions, targets))


@reducible
def l2(predictions: Any, targets: Any) -> jax.Array:
    """Squared error, `(y - t)^2` without a half; "sum" is the L2 loss, "mean" the mean squared error.

    Args:
        predictions: y, float [...].
        targets: t, [...].

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module.
    """
    return optax.squared_error(_difference(predictions, targets))


@reducible
def smooth_l1(predictions: Any, targets: Any, beta: float = 1.0, form: Form = "standard") -> jax.Array:
    """Smooth L1 of the difference y - t; see `smooth_l1_of_differences`.

    Args:
        predictions: y, float [...].
        targets: t, [...].
        beta: where the square ends, positive.
        form: "standard" or "seed".

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module; also for beta or form.
    """
    positive("beta", beta)
    if form not in ("standard", "seed"):
        raise ValueError(f"form={form!r} must be 'standard' or 'seed'")
    return smooth_l1_of_differences(_difference(predictions, targets), beta, form)


def smooth_l1_of_differences(x: jax.Array, beta: float = 1.0, form: Form = "standard") -> jax.Array:
    """Smooth L1, `x^2 / (2 beta)` for |x| < beta, else `|x| - beta / 2`: the gradient of outliers is bounded by 1.

    Args:
        x: differences, float [...]; nothing is checked, so that padding may hold anything.
        beta: where the square ends, positive.
        form: "standard", whose slope is continuous, or "seed", the variant of some lecture notes, `x^2 / beta` and
            `|x|`, whose slope jumps from 2 to 1 at beta.

    Returns:
        float [...].

    Reference: Girshick 2015, "Fast R-CNN", equation 3. Errata of the course: ER18.
    """
    if form == "seed":
        return jnp.where(jnp.abs(x) > beta, jnp.abs(x), jnp.square(x) / beta)
    return optax.huber_loss(x, delta=beta) / beta


@reducible
def gaussian_nll(means: Any, targets: Any, variances: Any = 1.0) -> jax.Array:
    """Negative log-likelihood of a normal distribution, `[log(2 pi v) + (t - m)^2 / v] / 2`.

    With a fixed variance it is the squared error times 1 / (2 v) plus a constant: least squares is maximum likelihood.

    Args:
        means: m, float [...].
        targets: t, [...].
        variances: v > 0, [...] or one number.

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module; also for variances that are not positive (NaN inside jit).

    Reference: Bishop 2006, "Pattern Recognition and Machine Learning", section 1.2.5.
    """
    x = _difference(means, targets, "means")
    good, v = positive("variances", variances), _like(x, "variances", variances)
    return or_nan(good, 0.5 * (jnp.log(2 * jnp.pi * v) + x**2 / v))


@reducible
def age(predictions: Any, targets: Any, sigma: Any, blend: float) -> jax.Array:
    """Blend of a squared and a bounded loss of d = y - a, `(1 - l) d^2 / 2 + l (1 - exp(-d^2 / (2 sigma^2)))`.

    Args:
        predictions: y, the predicted age, float [...].
        targets: a, the apparent age, [...].
        sigma: the standard deviation of the annotators, positive, [...] or one number.
        blend: l in [0, 1]; training starts at 0, the Euclidean loss, and may end at 1, the Gaussian one.

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module; also for sigma or blend.

    Reference: Ranjan et al. 2017, "An All-In-One Convolutional Neural Network for Face Analysis", section III.
    """
    d = _difference(predictions, targets)
    good, sigma = positive("sigma", sigma) & between("blend", blend, 0.0, 1.0), _like(d, "sigma", sigma)
    bounded = -jnp.expm1(-(d**2) / (2 * sigma**2))
    return or_nan(good, (1 - blend) * 0.5 * d**2 + blend * bounded)


@reducible
def weighted_pixel_l1(predictions: Any, targets: Any, pixel_weights: Any) -> jax.Array:
    """Weighted absolute error of each image, `L_i = sum_pixels w |y - t|`, the first stage of inpainting.

    The mean over pixels is `l1(..., weights=w, reduction="mean")`.

    Args:
        predictions: y, images, float [b, h, w, c].
        targets: t, [b, h, w, c].
        pixel_weights: w >= 0, [b, h, w] for all channels of a pixel, or [b, h, w, c]; see `hole_weights`.

    Returns:
        float32 [b].

    Raises:
        ValueError: for shapes that do not fit, NaN, or negative weights (NaN inside jit).

    Reference: Yu et al. 2018, "Generative Image Inpainting with Contextual Attention", section 3.
    """
    errors, w = l1(predictions, targets), floats("pixel_weights", pixel_weights)
    good = between("pixel_weights", w, 0.0, float("inf"))
    errors = errors * expand("pixel_weights", or_nan(good, w), errors)
    return errors.reshape(errors.shape[0], -1).sum(1)


def hole_weights(images: Any, hole: float = 1.0, inside: float = 0.0) -> jax.Array:
    """Weights of the pixels of images with a hole: `inside` where every channel has the hole's value, else 1.

    Args:
        images: corrupted, float [b, h, w, c].
        hole: the value of the hole's pixels, white by default.
        inside: the weight there, in [0, 1].

    Returns:
        float32 [b, h, w].

    Raises:
        ValueError: for NaN, a weight outside [0, 1], or images of another rank.
    """
    images = floats("images", images)
    if images.ndim != 4:
        raise ValueError(f"images must be [b, h, w, c], got shape {list(images.shape)}")
    weight = or_nan(between("inside", inside, 0.0, 1.0), jnp.asarray(inside, images.dtype))
    return jnp.where((images == hole).all(-1), weight, 1.0)


def _difference(predictions: Any, targets: Any, name: str = "predictions") -> jax.Array:
    """The error of each prediction, float [...]."""
    predictions, targets = floats(name, predictions), floats("targets", targets)
    same_shape(**{name: predictions, "targets": targets})
    return predictions - targets


def _like(x: jax.Array, name: str, values: Any) -> jax.Array:
    """One number, or one for each element of x, in the shape of x."""
    values = floats(name, values)
    if values.ndim:
        same_shape(targets=x, **{name: values})
    return jnp.broadcast_to(values, x.shape)
