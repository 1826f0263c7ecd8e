"""What networks that return maps share: images of sides that strides divide, maps of the size of others."""

import jax
import jax.numpy as jnp

from cvdl_jax.ops.upsampling import upsample


def padded(x: jax.Array, multiple: int) -> jax.Array:
    """Images whose sides are multiples of a stride; the last row and column are repeated, for whoever cuts them off.

    Args:
        x: [b, h, w, c].
        multiple: of the sides of the result.

    Returns:
        [b, H, W, c]; x itself where it has such sides.
    """
    more = [-n % multiple for n in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *((0, n) for n in more), (0, 0)), "edge") if any(more) else x


def centred(x: jax.Array, like: jax.Array) -> jax.Array:
    """The middle of a map, of the size of another one; an odd pixel is cut off at the end."""
    (h, w), (m, n) = x.shape[1:3], like.shape[1:3]
    top, left = (h - m) // 2, (w - n) // 2
    return x[:, top : top + m, left : left + n]


def resized(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A map of another size, bilinear with pixels as squares; x itself where it has this size."""
    return x if x.shape[1:3] == tuple(size) else upsample(x, tuple(size), mode="bilinear")
