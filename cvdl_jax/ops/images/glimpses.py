"""Glimpses of an image: square windows about a point, the larger the coarser, as the eye sees.

The window i has the side `2^i size` in pixels of the image and is averaged to `size`; all stand about one centre, a
point (y, x) in -1 ... 1 from the upper left to the lower right corner. Beyond the image it is black.

Reference: Mnih et al. 2014, "Recurrent Models of Visual Attention", section 3.1 and figure 1A.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError


def corners(places: jax.Array, shape: tuple[int, int], side: int) -> jax.Array:
    """The first row and column of windows about points, which may lie beyond the image.

    Args:
        places: float [..., 2], y and x in -1 ... 1.
        shape: height and width of the image.
        side: of the windows, in pixels.

    Returns:
        int32 [..., 2].
    """
    extent = jnp.asarray(shape, places.dtype)
    centre = (places + 1) / 2 * extent.reshape((1,) * (places.ndim - 1) + (2,))  # in pixels, from the corner
    return jnp.round(centre - side / 2).astype(jnp.int32)


def glimpses(images: jax.Array, places: jax.Array, size: int, scales: int) -> jax.Array:
    """The windows of each image about its own point.

    Args:
        images: float [b, h, w, c].
        places: float [b, 2], y and x in -1 ... 1; beyond it they are moved to the edge.
        size: side of the smallest window, and of all as they are returned, in pixels.
        scales: number of windows, each twice as large as the one before.

    Returns:
        [b, scales, size, size, c], the smallest window first.

    Raises:
        ConfigError: for a size or number below 1.
    """
    if min(size, scales) < 1:
        raise ConfigError(f"glimpses of size={size} at scales={scales} must be at least 1")
    b, h, w, c = images.shape
    places = jnp.clip(places, -1, 1)
    margin = size * 2 ** (scales - 1)  # a window reaches half of it beyond the image, and less than a pixel by rounding
    padded = jnp.pad(images, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    windows = []
    for scale in (2**i for i in range(scales)):
        side = scale * size
        first = jnp.pad(corners(places, (h, w), side) + margin, ((0, 0), (0, 1)))  # [b, 3]: row, column, channel 0
        cut = jax.vmap(lambda image, at, side=side: jax.lax.dynamic_slice(image, at, (side, side, c)))
        window = cut(padded, first).reshape(b, size, scale, size, scale, c)
        windows.append(window.mean((2, 4)))
    return jnp.stack(windows, 1)
