"""Losses of real numbers: `loss(predictions [...], targets [...]) -> [...]`.

All take `reduction`, `weights` and `mask` (see `reduce.reducible`), compute in at least float32, and refuse NaN and
shapes that differ with a ValueError.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.ops import detection_losses
from cvdl_jax.ops.concrete import between, floats, or_nan, positive, same_shape
from cvdl_jax.ops.reduce import reducible


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
def smooth_l1(
    predictions: Any, targets: Any, beta: float = 1.0, form: Literal["standard", "seed"] = "standard"
) -> jax.Array:
    """Smooth L1 of x = y - t, `x^2 / (2 beta)` for |x| < beta, else `|x| - beta / 2`: outliers pull with slope 1.

    Args:
        predictions: y, float [...].
        targets: t, [...].
        beta: where the square ends, positive.
        form: "seed" is the variant of `detection_losses.smooth_l1`, whose slope jumps.

    Returns:
        float32 [...].

    Raises:
        ValueError: see the module; also for beta or form.

    Reference: Girshick 2015, "Fast R-CNN", equation 3. Errata of the course: ER18.
    """
    positive("beta", beta)
    if form not in ("standard", "seed"):
        raise ValueError(f"form={form!r} must be 'standard' or 'seed'")
    return detection_losses.smooth_l1(_difference(predictions, targets), beta, form)


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
