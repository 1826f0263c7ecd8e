"""Windows of images: at given places, in the centre, in the corners, and resized.

A window's place is its upper left pixel (y, x). All functions are pure and batched; the random ones are in
`data/augment`.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.value_checks import check_concrete


def crop(images: jax.Array, places: jax.Array, size: tuple[int, int]) -> jax.Array:
    """A window of each image.

    Args:
        images: [b, h, w, c].
        places: int [b, 2], the upper left pixels, 0..h - height and 0..w - width.
        size: height and width of the windows.

    Returns:
        [b, height, width, c].

    Raises:
        ValueError: for windows larger than the image, or a concrete place outside.
    """
    _check_fits(images, size)
    for axis, most in enumerate((images.shape[1] - size[0], images.shape[2] - size[1])):
        check_concrete(f"places[:, {axis}]", places[:, axis], lambda v, m=most: (v >= 0) & (v <= m), f"in 0..{most}")
    shape = (*size, images.shape[-1])
    return jax.vmap(lambda x, at: lax.dynamic_slice(x, (at[0], at[1], 0), shape))(images, places)


def five_places(h: int, w: int, size: tuple[int, int]) -> jax.Array:
    """Places of the windows of `five_crop` in an image of h x w pixels: int32 [5, 2]."""
    bottom, right = h - size[0], w - size[1]
    return jnp.asarray([[0, 0], [0, right], [bottom, 0], [bottom, right], [bottom // 2, right // 2]], jnp.int32)


def center_crop(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The window in the centre, or half a pixel above and to the left of it where sides differ by an odd number.

    Args:
        images: [b, h, w, c].
        size: height and width of the window.

    Returns:
        [b, height, width, c].

    Raises:
        ValueError: for a window larger than the image.
    """
    _check_fits(images, size)
    height, width = size
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def five_crop(images: jax.Array, size: tuple[int, int]) -> jax.Array:
    """The four corner windows and the centre: upper left, upper right, lower left, lower right, centre.

    Args:
        images: [b, h, w, c].
        size: height and width of the windows.

    Returns:
        [b, 5, height, width, c]; a network's predictions are averaged over axis 1.

    Raises:
        ValueError: for windows larger than the image.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """
    _check_fits(images, size)
    height, width = size
    top, left = slice(None, height), slice(None, width)
    bottom, right = slice(images.shape[1] - height, None), slice(images.shape[2] - width, None)
    corners = [images[:, i, j] for i in (top, bottom) for j in (left, right)]
    return jnp.stack([*corners, center_crop(images, size)], 1)


@partial(jax.jit, static_argnames=("size", "order", "antialias"))
def resized_crop(
    images: jax.Array,
    windows: jax.Array,
    size: tuple[int, int],
    *,
    order: Literal["bilinear", "nearest"] = "bilinear",
    antialias: bool = True,
) -> jax.Array:
    """A window of each image, of its own size, resized to one size.

    Bilinear is a product with one matrix per axis, `out = R_y I R_x^T`. Row i of R holds a triangle around
    `(i + 1/2) n / height`, where n is the side of the window, cut off at the border of the window and normalised to sum
    1. The result is that of `jax.image.resize`, Pillow and torchvision for the window alone.

    Args:
        images: [b, h, w, c]; floating point for bilinear interpolation, anything for nearest.
        windows: int [b, 4]: y, x of the upper left pixel, height and width; within the image.
        size: height and width of the result.
        order: interpolation.
        antialias: widen the triangle to n / height pixels where a window shrinks.

    Returns:
        [b, height, width, c] of the dtype of the images.

    Raises:
        ValueError: for wrong shapes, an unknown order, or bilinear interpolation of integers.
    """
    if images.ndim != 4 or windows.shape != (images.shape[0], 4):
        raise ValueError(
            f"resized_crop takes images [b, h, w, c] and windows [b, 4], got {list(images.shape)} and "
            f"{list(windows.shape)}; give every image its own window"
        )
    if order not in ("bilinear", "nearest"):
        raise ValueError(f"order={order!r} must be 'bilinear' or 'nearest'")
    (y, x), (n, m) = windows[:, :2].T, windows[:, 2:].T  # [b] each
    if order == "nearest":
        rows, columns = _nearest(y, n, size[0]), _nearest(x, m, size[1])  # [b, height], [b, width]
        return jax.vmap(lambda image, i, j: image[i][:, j])(images, rows, columns)
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"order='bilinear' interpolates floating point images, got {images.dtype}; use 'nearest'")
    down = _triangles(y, n, images.shape[1], size[0], antialias).astype(images.dtype)  # [b, height, h]
    across = _triangles(x, m, images.shape[2], size[1], antialias).astype(images.dtype)  # [b, width, w]
    product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)  # a GPU's default rounds pixels to ten bits
    return product("bxw,bywc->byxc", across, product("byh,bhwc->bywc", down, images))


@partial(jax.jit, static_argnames=("size", "order"))
def placed(
    images: jax.Array,
    sides: jax.Array,
    places: jax.Array,
    size: tuple[int, int],
    *,
    order: Literal["bilinear", "nearest"] = "bilinear",
    fill: float = 0.0,
) -> jax.Array:
    """Each image, resized to sides of its own, at a place of its own on a canvas; what does not fit is cut off.

    The resized image is that of `jax.image.resize`, antialiased where it shrinks.

    Args:
        images: [b, h, w, c]; floating point for bilinear interpolation, anything for nearest.
        sides: int [b, 2], height and width of the resized images, at least 1.
        places: int [b, 2], the rows and columns of their upper left pixels on the canvas, also negative.
        size: height and width of the canvas.
        order: interpolation.
        fill: value of the canvas where no image is.

    Returns:
        [b, height, width, c] of the dtype of the images.

    Raises:
        ValueError: for wrong shapes, or bilinear interpolation of integers.
    """
    if images.ndim != 4 or {sides.shape, places.shape} != {(images.shape[0], 2)}:
        raise ValueError(
            f"placed takes images [b, h, w, c], sides and places [b, 2], got {list(images.shape)}, "
            f"{list(sides.shape)} and {list(places.shape)}"
        )
    spots = [jnp.arange(n)[None] - places[:, i, None] for i, n in enumerate(size)]  # [b, height], [b, width]
    there = [(spot >= 0) & (spot < sides[:, i, None]) for i, spot in enumerate(spots)]
    covered = (there[0][:, :, None] & there[1][:, None])[..., None]  # [b, height, width, 1]
    if order == "nearest":
        rows, columns = (
            jnp.clip((2 * spot + 1) * images.shape[i + 1] // (2 * sides[:, i, None]), 0, images.shape[i + 1] - 1)
            for i, spot in enumerate(spots)
        )
        moved = jax.vmap(lambda image, i, j: image[i][:, j])(images, rows, columns)
        return jnp.where(covered, moved, jnp.asarray(fill, images.dtype))
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"order='bilinear' interpolates floating point images, got {images.dtype}; use 'nearest'")
    down, across = (
        _weights(spot, sides[:, i, None], images.shape[i + 1]).astype(images.dtype) for i, spot in enumerate(spots)
    )
    product = partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    moved = product("bxw,bywc->byxc", across, product("byh,bhwc->bywc", down, images))
    return jnp.where(covered, moved, jnp.asarray(fill, images.dtype))


def _weights(spot: jax.Array, n: jax.Array, side: int) -> jax.Array:
    """Weights of the `side` pixels of an axis in pixels `spot` [b, out] of one resized to n [b, 1]: [b, out, side]."""
    step = side / n.astype(jnp.float32)[..., None]  # [b, 1, 1]
    centre = (spot.astype(jnp.float32)[..., None] + 0.5) * step
    pixel = jnp.arange(side, dtype=jnp.float32)[None, None] + 0.5
    weight = jnp.maximum(1 - jnp.abs(centre - pixel) / jnp.maximum(step, 1), 0)
    total = weight.sum(-1, keepdims=True)
    return weight / jnp.where(total > 0, total, 1)


def _nearest(start: jax.Array, n: jax.Array, out: int) -> jax.Array:
    """Pixels `start + floor((i + 1/2) n / out)`, in whole numbers so that ties are exact: int32 [b, out]."""
    i = jnp.arange(out)[None]
    return start[:, None] + (2 * i + 1) * n[:, None] // (2 * out)


def _triangles(start: jax.Array, n: jax.Array, side: int, out: int, antialias: bool) -> jax.Array:
    """Weights of the `side` pixels of an axis in each of `out` pixels: float32 [b, out, side], rows sum to 1."""
    start, n = start.astype(jnp.float32)[:, None, None], n.astype(jnp.float32)[:, None, None]  # [b, 1, 1]
    step = n / out
    centre = (jnp.arange(out, dtype=jnp.float32)[None, :, None] + 0.5) * step  # [b, out, 1], from the window's edge
    pixel = jnp.arange(side, dtype=jnp.float32)[None, None] + 0.5 - start  # [b, 1, side]
    reach = jnp.maximum(step, 1) if antialias else jnp.ones_like(step)
    weight = jnp.maximum(1 - jnp.abs(centre - pixel) / reach, 0)  # [b, out, side]
    weight = jnp.where((pixel > 0) & (pixel < n), weight, 0)
    return weight / weight.sum(-1, keepdims=True)


def _check_fits(images: jax.Array, size: tuple[int, int]) -> None:
    if images.ndim != 4:
        raise ValueError(f"images must be [b, h, w, c], got shape {list(images.shape)}")
    (h, w), (height, width) = images.shape[1:3], size
    if not (1 <= height <= h and 1 <= width <= w):
        raise ValueError(f"a window of {height} x {width} pixels does not fit into images of {h} x {w}")
