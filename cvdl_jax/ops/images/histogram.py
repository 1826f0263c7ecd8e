"""Operations on the values of the pixels, one map from old to new value for each channel of each image.

Images are float [b, h, w, c] in 0..1; a parameter is one number or one per image [b]. `posterize` and `equalize` are
defined on bytes: they round the image to the nearest of 0, 1/255 ... 1 first.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.ops.images.inputs import check_image, per_image


def invert(x: jax.Array) -> jax.Array:
    """The negative, `1 - x`.

    Args:
        x: float [b, h, w, c] in 0..1.

    Returns:
        [b, h, w, c].
    """
    return 1 - check_image(x, "invert")


def solarize(x: jax.Array, threshold: Any) -> jax.Array:
    """Inverts what is at least the threshold: `x` below it, else `1 - x`.

    Args:
        x: float [b, h, w, c] in 0..1.
        threshold: 0 or more, number or [b]; 0 inverts everything, above 1 nothing. Pillow's byte k is k / 255.

    Returns:
        [b, h, w, c].

    Raises:
        ValueError: for a negative threshold.
    """
    x = check_image(x, "solarize")
    threshold = per_image("threshold", threshold, x)
    return jnp.where(jnp.isnan(threshold), threshold, jnp.where(x < threshold, x, 1 - x))


def posterize(x: jax.Array, bits: Any) -> jax.Array:
    """Keeps the highest bits of every byte: `floor(byte / 2^(8 - bits)) 2^(8 - bits)`.

    Args:
        x: float [b, h, w, c] in 0..1, rounded to bytes first.
        bits: whole, 0..8, number or [b]; 8 keeps the bytes, 0 is black.

    Returns:
        [b, h, w, c], multiples of 1 / 255.

    Raises:
        ValueError: for bits outside 0..8.
    """
    x = check_image(x, "posterize")
    step = jnp.exp2(8 - jnp.round(per_image("bits", bits, x, 0, 8)))
    return jnp.floor(_bytes(x) / step) * step / 255


def autocontrast(x: jax.Array) -> jax.Array:
    """Stretches every channel of every image to 0..1: `(x - min) / (max - min)`; a constant channel stays.

    Args:
        x: float [b, h, w, c] in 0..1.

    Returns:
        [b, h, w, c].
    """
    x = check_image(x, "autocontrast")
    low, high = x.min((1, 2), keepdims=True), x.max((1, 2), keepdims=True)  # [b, 1, 1, c]
    return jnp.where(high > low, (x - low) / jnp.where(high > low, high - low, 1), x)


def equalize(x: jax.Array, compare: bool = False) -> jax.Array:
    """Histogram equalisation of every channel of every image, by Pillow's algorithm.

    `new(v) = min(255, (step // 2 + n(< v)) // step)`, where n(< v) counts the smaller bytes of the channel and
    `step = (pixels - n(= max)) // 255`. A channel with step 0 (at most 254 pixels below its maximum) stays.

    Args:
        x: float [b, h, w, c] in 0..1, rounded to bytes first.
        compare: count and look up bytes by comparing each with all of them. That is for TPUs, which add to single
            places one after the other, and whose compiler summed the counts of all rows over several devices.

    Returns:
        [b, h, w, c], multiples of 1 / 255.
    """
    x = check_image(x, "equalize")
    b, h, w, c = x.shape
    values = _bytes(x).astype(jnp.int32).transpose(0, 3, 1, 2).reshape(b * c, h * w)  # one histogram a row
    count = _counts(values, compare)
    below = jnp.cumsum(count, 1) - count  # [b c, 256]
    step = jnp.take_along_axis(below, values.max(1, keepdims=True), 1) // 255  # [b c, 1]
    new = jnp.minimum((step // 2 + below) // jnp.maximum(step, 1), 255)
    new = jnp.where(step > 0, new, jnp.arange(256)[None])
    out = _looked_up(new, values, compare).reshape(b, c, h, w).transpose(0, 2, 3, 1)
    return out.astype(x.dtype) / 255


def _counts(values: jax.Array, compare: bool) -> jax.Array:
    """How often each byte occurs in each row, int [rows, n] -> int32 [rows, 256]."""
    if compare:
        return _is_byte(values).astype(jnp.int32).sum(1)
    rows = 256 * jnp.arange(len(values))[:, None]
    return jnp.zeros(len(values) * 256, jnp.int32).at[(rows + values).reshape(-1)].add(1).reshape(-1, 256)


def _is_byte(values: jax.Array) -> jax.Array:
    """Which byte each number is: [rows, n] -> bool [rows, n, 256]."""
    return values[..., None] == jnp.arange(256)[None, None]


def _looked_up(table: jax.Array, values: jax.Array, compare: bool) -> jax.Array:
    """`table[i, values[i, j]]`: int [rows, 256], [rows, n] -> [rows, n]."""
    if compare:
        return jnp.where(_is_byte(values), table[:, None], 0).sum(-1)
    return jnp.take_along_axis(table, values, 1)


def _bytes(x: jax.Array) -> jax.Array:
    """0..1 rounded to the nearest of 0..255, as floats."""
    return jnp.round(255 * x)
