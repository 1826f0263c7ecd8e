"""Morphology of label masks: integers [b, h, w, ...], 0 the background, 255 pixels to ignore.

A neighbourhood is 3 x 3 pixels; beyond the border the nearest pixel is repeated, so that the border has no effect.
Ignored pixels stay, and have no influence on others.
"""

from collections.abc import Callable
from functools import reduce

import jax
import jax.numpy as jnp
from jax import lax

IGNORE = 255


def erode(mask: jax.Array, size: int = 1) -> jax.Array:
    """Every object loses a rim: a pixel with a different label in its neighbourhood becomes background.

    Where two objects touch, both lose their rims.

    Args:
        mask: int [b, h, w, ...].
        size: width of the rim in pixels, 0 or more.

    Returns:
        The same shape and type.
    """
    for _ in range(size):
        real = mask != IGNORE
        low = _extreme(jnp.where(real, mask, IGNORE), jnp.minimum)
        high = _extreme(jnp.where(real, mask, 0), jnp.maximum)
        mask = jnp.where(real & (low < high), 0, mask)
    return mask


def dilate(mask: jax.Array, size: int = 1) -> jax.Array:
    """Every object gains a rim: background takes the largest label of its neighbourhood; objects stay.

    Args:
        mask: int [b, h, w, ...].
        size: width of the rim in pixels, 0 or more.

    Returns:
        The same shape and type.
    """
    for _ in range(size):
        high = _extreme(jnp.where(mask == IGNORE, 0, mask), jnp.maximum)
        mask = jnp.where(mask == 0, high, mask)
    return mask


def displace(mask: jax.Array, moves: jax.Array) -> jax.Array:
    """Moves labels: each pixel gets the label at its place plus its displacement, rounded and clipped to the image.

    Ignored pixels stay ignored, and no other pixels become ignored.

    Args:
        mask: int [b, h, w, ...].
        moves: float [b, h, w, 2], rows and columns.

    Returns:
        The same shape and type; every label is one that the mask had.
    """
    b, h, w = mask.shape[:3]
    y = jnp.arange(h)[None, :, None] + jnp.round(moves[..., 0]).astype(jnp.int32)  # [b, h, w]
    x = jnp.arange(w)[None, None] + jnp.round(moves[..., 1]).astype(jnp.int32)
    place = jnp.clip(y, 0, h - 1) * w + jnp.clip(x, 0, w - 1)
    flat = mask.reshape(b, h * w, -1)  # [b, h w, c]
    moved = jnp.take_along_axis(flat, place.reshape(b, -1, 1), 1).reshape(mask.shape)
    return jnp.where((mask == IGNORE) | (moved == IGNORE), mask, moved)


def _extreme(x: jax.Array, of: Callable) -> jax.Array:
    """The extreme value of every neighbourhood, by `of` (jnp.minimum or jnp.maximum)."""
    for axis in (1, 2):
        pad = [(0, 0)] * x.ndim
        pad[axis] = (1, 1)
        padded, size = jnp.pad(x, pad, "edge"), x.shape[axis]
        x = reduce(of, [lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(3)])
    return x
