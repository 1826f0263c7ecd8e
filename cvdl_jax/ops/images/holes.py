"""Square holes in images: where they are, how far their pixels are from what is known, and the window around one."""

import jax
import jax.numpy as jnp
from jax import lax


def hole_mask(corners: jax.Array, side: int, height: int, width: int) -> jax.Array:
    """1 inside a square, 0 outside.

    Args:
        corners: int [b, 2], row and column of its first pixel.
        side: in pixels.
        height: of the images.
        width: likewise.

    Returns:
        float [b, height, width, 1].
    """
    offset = _offsets(corners, height, width)
    inside = [(x >= 0) & (x < side) for x in offset]
    return (inside[0] & inside[1]).astype(jnp.result_type(float))[..., None]


def discounts(corners: jax.Array, side: int, height: int, width: int, decay: float) -> jax.Array:
    """`gamma = decay^distance` to the nearest known pixel: 1 where it is known, towards 0 in the middle of the hole.

    What is far inside may be completed in many ways, and is not to be blamed for being another one.

    Args:
        corners: see `hole_mask`, as the next three.
        side: likewise.
        height: likewise.
        width: likewise.
        decay: in (0, 1].

    Returns:
        float [b, height, width, 1]. A side of the hole at the edge of the image has nothing known beyond it.

    Reference: Yu et al. 2018, "Generative Image Inpainting with Contextual Attention", section 3.2.
    """
    offset, far = _offsets(corners, height, width), jnp.full((len(corners), height, width), jnp.inf)
    for x, corner, length in zip(offset, corners.T, (height, width), strict=True):
        corner = corner[:, None, None]
        far = jnp.minimum(far, jnp.where(corner > 0, x + 1, jnp.inf))
        far = jnp.minimum(far, jnp.where(corner + side < length, side - x, jnp.inf))
    return jnp.where(hole_mask(corners, side, height, width) > 0, decay ** far[..., None], 1.0)


def window(images: jax.Array, corners: jax.Array, side: int) -> jax.Array:
    """The square of each image: [b, side, side, c] of images [b, h, w, c] at corners int [b, 2]."""

    def one(x: jax.Array, at: jax.Array) -> jax.Array:
        return lax.dynamic_slice(x, (at[0], at[1], jnp.zeros((), at.dtype)), (side, side, x.shape[-1]))

    return jax.vmap(one)(images, corners)


def _offsets(corners: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Rows and columns from the corner, each int [b, height, width]."""
    shape = (len(corners), height, width)
    rows = jnp.arange(height)[None, :, None] - corners[:, 0, None, None]
    columns = jnp.arange(width)[None, None, :] - corners[:, 1, None, None]
    return jnp.broadcast_to(rows, shape), jnp.broadcast_to(columns, shape)
