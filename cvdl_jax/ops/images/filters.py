"""Blurs and sharpening of batches of images.

Images are float [b, h, w, c] in 0..1; a parameter is one number or one per image [b]. Beyond the border the nearest
pixel is repeated, as in Pillow. A separable filter is two products with small matrices, one pair for each image, so
that every image of a compiled batch can have its own kernel width.
"""

from functools import reduce
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.images.inputs import blend, check_image, per_image, saturate


def gaussian_blur(x: jax.Array, sigma: Any) -> jax.Array:
    """Convolution with a Gaussian, weights proportional to `exp(-d^2 / (2 sigma^2))` at distance d <= 4 sigma.

    Args:
        x: float [b, h, w, c] in 0..1.
        sigma: standard deviation in pixels, 0 or more, number or [b]; 0 is the image. The kernel ends at 4 sigma,
            rounded, or one pixel short of the longer side of the image if that is less.

    Returns:
        [b, h, w, c].

    Raises:
        ValueError: for a negative sigma.
    """
    x = check_image(x, "gaussian_blur")
    sigma = per_image("sigma", sigma, x)[:, :, 0, 0]  # [b, 1]
    d = jnp.arange(max(x.shape[1:3]), dtype=x.dtype)[None]  # [1, n]
    weights = jnp.exp(-0.5 * jnp.square(d / jnp.where(sigma > 0, sigma, 1)))
    weights = jnp.where(d <= jnp.floor(4 * sigma + 0.5), weights, 0)
    weights = jnp.where(jnp.isnan(sigma), sigma, jnp.where(sigma > 0, weights, (d == 0).astype(x.dtype)))
    return _separable(x, weights / (2 * weights.sum(1, keepdims=True) - weights[:, :1]))


def box_blur(x: jax.Array, radius: Any) -> jax.Array:
    """The mean over a square of side `2 radius + 1`; pixels that it covers in part count in part, as in Pillow.

    Args:
        x: float [b, h, w, c] in 0..1.
        radius: in pixels, 0 or more, also fractional, number or [b]; 0 is the image. It acts as at most one less than
            the longer side of the image.

    Returns:
        [b, h, w, c].

    Raises:
        ValueError: for a negative radius.
    """
    x = check_image(x, "box_blur")
    radius = per_image("radius", radius, x)[:, :, 0, 0]  # [b, 1]
    weights = jnp.clip(radius + 1 - jnp.arange(max(x.shape[1:3]), dtype=x.dtype)[None], 0, 1)  # [b, n]
    return _separable(x, weights / (2 * weights.sum(1, keepdims=True) - weights[:, :1]))


def _separable(x: jax.Array, weights: jax.Array) -> jax.Array:
    """Rows and columns convolved with a symmetric kernel of sum 1, whose weights at distance 0, 1 ... are [b, n]."""
    rows, columns = (_matrix(weights[:, :size]) for size in x.shape[1:3])
    # The default precision of accelerators would lose more accuracy than it saves time on small images
    x = jnp.einsum("biy,byxc->bixc", rows, x, precision=lax.Precision.HIGHEST)
    return jnp.einsum("bjx,byxc->byjc", columns, x, precision=lax.Precision.HIGHEST)


def _matrix(weights: jax.Array) -> jax.Array:
    """The convolution of a line of n pixels as matrices [b, n, n]; the end pixels get all weight beyond the ends."""
    n = weights.shape[1]
    i = jnp.arange(n)
    inner = weights[:, jnp.abs(i[:, None] - i[None])]  # [b, n, n]
    # The weight at a distance above k on one side: half of all but the centre, minus the nearer weights.
    beyond = 0.5 * (1 - weights[:, :1]) - (jnp.cumsum(weights, 1) - weights[:, :1])  # [b, n]
    first, last = (i == 0).astype(weights.dtype), (i == n - 1).astype(weights.dtype)
    return inner + beyond[:, :, None] * first[None, None] + beyond[:, ::-1, None] * last[None, None]


def _neighbours(x: jax.Array) -> list[jax.Array]:
    """The image moved by -1, 0, 1 in both directions, nine images [b, h, w, c]; the border is repeated."""
    _, h, w, _ = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), "edge")
    return [padded[:, i : i + h, j : j + w] for i in range(3) for j in range(3)]


# Compare-and-exchange steps that leave the median of nine numbers at index 4.
_MEDIAN_OF_NINE = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3)),
    *((5, 8), (4, 7), (3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def median(x: jax.Array) -> jax.Array:
    """The median of every 3 x 3 neighbourhood of a channel: removes single pixels, keeps edges.

    Args:
        x: float [b, h, w, c].

    Returns:
        [b, h, w, c].

    Reference: Smith 1996, "Implementing median filters in XC4000E FPGAs" (nineteen exchanges instead of a sort).
    """
    values = _neighbours(check_image(x, "median"))
    for low, high in _MEDIAN_OF_NINE:
        a, b = values[low], values[high]
        values[low], values[high] = jnp.minimum(a, b), jnp.maximum(a, b)
    return values[4]


def smooth(x: jax.Array) -> jax.Array:
    """Convolution with `[[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13`, Pillow's SMOOTH; border pixels stay.

    Args:
        x: float [b, h, w, c].

    Returns:
        [b, h, w, c].
    """
    x = check_image(x, "smooth")
    _, h, w, _ = x.shape
    total = reduce(jnp.add, _neighbours(x))
    i, j = jnp.arange(h)[:, None], jnp.arange(w)[None]
    inside = (i > 0) & (i < h - 1) & (j > 0) & (j < w - 1)  # [h, w]
    return jnp.where(inside[None, :, :, None], (total + 4 * x) / 13, x)


def sharpness(x: jax.Array, factor: Any) -> jax.Array:
    """Pillow's sharpness, `factor x + (1 - factor) smooth(x)`, saturated at 0..1.

    Args:
        x: float [b, h, w, c] in 0..1.
        factor: 0 or more, number or [b]; 0 is the smoothed image, 1 the image, more is sharper.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for a negative factor.
    """
    x = check_image(x, "sharpness")
    return blend(smooth(x), x, per_image("factor", factor, x))


def unsharp(x: jax.Array, sigma: Any, amount: Any = 1.0) -> jax.Array:
    """Unsharp masking, `x + amount (x - gaussian_blur(x, sigma))`, saturated at 0..1.

    Args:
        x: float [b, h, w, c] in 0..1.
        sigma: of the blur in pixels, 0 or more, number or [b].
        amount: 0 or more, number or [b]; 0 is the image.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for a negative sigma or amount.
    """
    x = check_image(x, "unsharp")
    return saturate(x + per_image("amount", amount, x) * (x - gaussian_blur(x, sigma)))
