"""Rectangles in images, one for each row."""

import jax
import jax.numpy as jnp


def rectangle(corner: jax.Array, sides: jax.Array, h: int, w: int) -> jax.Array:
    """The pixels inside, without those beyond the border.

    Args:
        corner: int [b, 2], the first row and column, in the image or not.
        sides: int [b, 2], numbers of rows and columns.
        h: rows of the image.
        w: columns of the image.

    Returns:
        bool [b, h, w, 1].
    """
    (top, left), (bottom, right) = corner.T[..., None], (corner + sides).T[..., None]  # [b, 1]
    y, x = jnp.arange(h)[None], jnp.arange(w)[None]  # [1, h], [1, w]
    return (((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None])[..., None]
