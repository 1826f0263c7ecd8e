"""Losses of depth from one image: totals and weights of images, from logarithms of depths and the true depths.

`config.loss.name` is the name of one of these functions. All are of the difference of logarithms of a pixel,
`d = log y - log y*`, so that 10 % of a metre count as much as 10 % of ten. Pixels whose depth is not known have no
influence on values and gradients, whatever stands there. The objective is `sum of totals / sum of weights` over the
global batch. A known depth that is not positive gives NaN, which stops a run.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import UpToOne
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.value_checks import or_nan


def l1(log_predictions: jax.Array, depths: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Absolute error of the logarithm, `sum |d|` over the known pixels; every pixel counts the same.

    Args:
        log_predictions: log y, float [b, h, w].
        depths: y*, float [b, h, w], in metres.
        known: bool [b, h, w].

    Returns:
        (totals, numbers of known pixels): float32 [b] each.

    Raises:
        ConfigError: for shapes that differ.
    """
    d, known = _differences(log_predictions, depths, known)
    return jnp.abs(d).sum((1, 2)), known.sum((1, 2))


def l2(log_predictions: jax.Array, depths: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared error of the logarithm, `sum d^2` over the known pixels; every pixel counts the same.

    Args:
        log_predictions: log y, float [b, h, w].
        depths: y*, float [b, h, w], in metres.
        known: bool [b, h, w].

    Returns:
        (totals, numbers of known pixels): float32 [b] each.

    Raises:
        ConfigError: for shapes that differ.
    """
    d, known = _differences(log_predictions, depths, known)
    return jnp.square(d).sum((1, 2)), known.sum((1, 2))


def scale_invariant(
    log_predictions: jax.Array, depths: jax.Array, known: jax.Array, balance: UpToOne = 0.5
) -> tuple[jax.Array, jax.Array]:
    """The error of an image that forgives a common factor, `mean d^2 - balance (mean d)^2` over its n known pixels.

    With balance 1 a prediction and its double cost the same: the loss is the variance of d, half the mean of
    `(d_i - d_j)^2` over all pairs of pixels. Every image with a known pixel counts the same.

    Args:
        log_predictions: log y, float [b, h, w].
        depths: y*, float [b, h, w], in metres.
        known: bool [b, h, w].
        balance: lambda, in (0, 1]; 0.5 in the paper. `l2` is the loss without it.

    Returns:
        (losses of images, 1 where an image has a known pixel, else 0): float32 [b] each.

    Raises:
        ConfigError: for shapes that differ.

    Reference: Eigen et al. 2014, "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", section
        3.2, equation 4.
    """
    d, known = _differences(log_predictions, depths, known)
    n = known.sum((1, 2))
    mean = d.sum((1, 2)) / jnp.maximum(n, 1)
    # mean d^2 - mean^2 as the variance, whose rounding does not depend on the mean
    variance = (known * jnp.square(d - mean[:, None, None])).sum((1, 2)) / jnp.maximum(n, 1)
    return variance + (1 - balance) * jnp.square(mean), jnp.minimum(n, 1)


def _differences(log_predictions: jax.Array, depths: jax.Array, known: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(d, 0 where it is not known; known as numbers): float32 [b, h, w] each."""
    shapes = [list(x.shape) for x in (log_predictions, depths, known)]
    if log_predictions.ndim != 3 or shapes[1] != shapes[0] or shapes[2] != shapes[0]:
        raise ConfigError(
            f"losses of depth take log_predictions, depths and known of one shape [b, h, w]; got {shapes}: the network "
            "must return the size of the depth maps, as a U-Net with config.model.padding=same does"
        )
    d = log_predictions.astype(jnp.float32) - jnp.log(jnp.where(known, depths, 1).astype(jnp.float32))
    d = or_nan(~known | (depths > 0), d)
    return jnp.where(known, d, 0), known.astype(jnp.float32)
