"""Affine warps of images and boxes, each row by its own matrix.

Pixel (y, x) is a point, the centre of a unit square, and the centre of an image of height h and width w lies at
((h - 1) / 2, (w - 1) / 2), between pixels where a side is even. A matrix [A | t] maps output coordinates p' to input
coordinates p, both from the centre and in pixels, y down and x to the right:

    p - c = A (p' - c) + t

so that no warp leaves a hole. The functions that make matrices are named after what happens to the image:
`rotation(90)` turns it counter-clockwise, `scaling(2, 2)` enlarges it, `translation(0, 1)` moves it one pixel right.
"""

from functools import partial, reduce
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

Order = Literal["bilinear", "nearest"]
Mode = Literal["constant", "edge", "reflect"]


def _matrices(yy: jax.Array, yx: jax.Array, xy: jax.Array, xx: jax.Array) -> jax.Array:
    """[[yy, yx, 0], [xy, xx, 0]] of entries [b]: [b, 2, 3]."""
    zero = jnp.zeros_like(yy)
    return jnp.stack([jnp.stack([yy, yx, zero], -1), jnp.stack([xy, xx, zero], -1)], -2)


def identity(b: int) -> jax.Array:
    """Matrices that change nothing: float32 [b, 2, 3]."""
    one = jnp.ones(b, jnp.float32)
    return _matrices(one, 0 * one, 0 * one, one)


def rotation(degrees: jax.Array) -> jax.Array:
    """Counter-clockwise rotations about the centre, exact for multiples of 90 degrees.

    Args:
        degrees: float [b].

    Returns:
        float [b, 2, 3].
    """
    quarters = jnp.round(degrees / 90)
    rest = jnp.deg2rad(degrees - 90 * quarters)
    turn = (quarters % 4).astype(jnp.int32)
    c, s = jnp.cos(rest), jnp.sin(rest)
    cos = jnp.select([turn == 0, turn == 1, turn == 2], [c, -s, -c], s)
    sin = jnp.select([turn == 0, turn == 1, turn == 2], [s, c, -s], -c)
    return _matrices(cos, sin, -sin, cos)


def translation(y: jax.Array, x: jax.Array) -> jax.Array:
    """Moves by y pixels down and x to the right. Args: float [b] each. Returns: float [b, 2, 3]."""
    still = identity(len(y)).astype(y.dtype)
    return still.at[:, :, 2].set(-jnp.stack([y, x], -1))


def scaling(y: jax.Array, x: jax.Array) -> jax.Array:
    """Enlarges about the centre by a factor for each direction.

    Args:
        y: vertical factor, float [b], positive; below 1 the image shrinks.
        x: horizontal factor, likewise.

    Returns:
        float [b, 2, 3].
    """
    return _matrices(1 / y, jnp.zeros_like(y), jnp.zeros_like(x), 1 / x)


def shear_x(slope: jax.Array) -> jax.Array:
    """Moves each line to the right by `slope` times its distance below the centre. Args: [b]. Returns: [b, 2, 3]."""
    return _matrices(jnp.ones_like(slope), jnp.zeros_like(slope), -slope, jnp.ones_like(slope))


def shear_y(slope: jax.Array) -> jax.Array:
    """Moves each column down by `slope` times its distance right of the centre. Args: [b]. Returns: [b, 2, 3]."""
    return _matrices(jnp.ones_like(slope), -slope, jnp.zeros_like(slope), jnp.ones_like(slope))


def compose(*matrices: jax.Array) -> jax.Array:
    """One warp equal to several in this order, with a single interpolation. Args, returns: [b, 2, 3]."""

    def then(first: jax.Array, second: jax.Array) -> jax.Array:
        product = jnp.einsum("bij,bjk->bik", first[..., :2], second, precision=lax.Precision.HIGHEST)
        return product.at[..., 2].add(first[..., 2])

    return reduce(then, matrices)


def inverse(matrices: jax.Array) -> jax.Array:
    """The map from input to output coordinates. Args: [b, 2, 3] of non-zero determinant. Returns: [b, 2, 3]."""
    (a, b, ty), (c, d, tx) = ([row[:, i] for i in range(3)] for row in (matrices[:, 0], matrices[:, 1]))
    det = a * d - b * c
    back = _matrices(d / det, -b / det, -c / det, a / det)
    return back.at[..., 2].set(jnp.stack([(b * tx - d * ty) / det, (c * ty - a * tx) / det], -1))


@partial(jax.jit, static_argnames=("order", "mode"))
def warp(
    images: jax.Array, matrices: jax.Array, *, order: Order = "bilinear", mode: Mode = "constant", fill: float = 0.0
) -> jax.Array:
    """Each image warped by its matrix; the size stays.

    Bilinear: `(1 - f) I[floor p] + f I[floor p + 1]` along both axes, f the fraction of p. Nearest: I[floor(p + 1/2)].

    Args:
        images: [b, h, w, c]; floating point for bilinear interpolation, anything for nearest.
        matrices: float [b, 2, 3], see the top of this file.
        order: interpolation.
        mode: what lies outside the image: `fill`, the nearest pixel of the border, or the mirror image about that pixel
            (abcd|cba). SciPy calls them grid-constant, nearest and mirror.
        fill: value outside, for "constant".

    Returns:
        [b, h, w, c] of the dtype of the images.

    Raises:
        ValueError: for wrong shapes, an unknown order or mode, or bilinear interpolation of integers.
    """
    _check_warp(images, matrices, order, mode)
    b, h, w, _ = images.shape
    p = _coordinates(matrices.astype(jnp.float32), h, w)  # [2, b, h, w]
    if mode == "constant":
        images = jnp.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=jnp.asarray(fill, images.dtype))
    y, x = _fold(p[0], h, mode), _fold(p[1], w, mode)
    h, w = images.shape[1:3]
    flat = images.reshape(b, h * w, -1)

    def pixels(i: jax.Array, j: jax.Array) -> jax.Array:
        return jax.vmap(lambda rows, k: rows.at[k].get(mode="promise_in_bounds"))(flat, i * w + j)  # [b, h', w', c]

    if order == "nearest":
        return pixels(jnp.floor(y + 0.5).astype(jnp.int32), jnp.floor(x + 0.5).astype(jnp.int32))
    top, left = jnp.floor(y).astype(jnp.int32), jnp.floor(x).astype(jnp.int32)
    down = (y - top)[..., None].astype(images.dtype)  # [b, h', w', 1]
    right = (x - left)[..., None].astype(images.dtype)
    bottom, far = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
    above = _between(pixels(top, left), pixels(top, far), right)
    below = _between(pixels(bottom, left), pixels(bottom, far), right)
    return _between(above, below, down)


def _between(a: jax.Array, b: jax.Array, fraction: jax.Array) -> jax.Array:
    """`a + fraction (b - a)`, which is exact where the fraction is 0, and on a constant image."""
    return a + fraction * (b - a)


def _coordinates(matrices: jax.Array, h: int, w: int) -> jax.Array:
    """Input coordinates of every output pixel, relative to the first pixel: [2, b, h, w]."""
    cy, cx = (h - 1) / 2, (w - 1) / 2
    y, x = jnp.arange(h)[None, :, None] - cy, jnp.arange(w)[None, None] - cx  # [1, h, 1], [1, 1, w]
    m = matrices[..., None, None]  # [b, 2, 3, 1, 1]
    return jnp.stack([m[:, i, 0] * y + m[:, i, 1] * x + m[:, i, 2] + centre for i, centre in ((0, cy), (1, cx))])


def _fold(p: jax.Array, n: int, mode: str) -> jax.Array:
    """Coordinates mapped into the image, 0 ... n - 1, or 0 ... n + 1 after the padding of "constant"."""
    if mode == "constant":
        return jnp.clip(p + 1, 0, n + 1)
    if mode == "edge" or n == 1:
        return jnp.clip(p, 0, n - 1)
    p = jnp.abs(p) % (2 * (n - 1))
    return jnp.minimum(p, 2 * (n - 1) - p)


def _check_warp(images: jax.Array, matrices: jax.Array, order: str, mode: str) -> None:
    if images.ndim != 4 or matrices.shape != (images.shape[0], 2, 3):
        raise ValueError(
            f"warp takes images [b, h, w, c] and matrices [b, 2, 3], got {list(images.shape)} and "
            f"{list(matrices.shape)}; give every image its own matrix"
        )
    if order not in ("bilinear", "nearest"):
        raise ValueError(f"order={order!r} must be 'bilinear' or 'nearest'")
    if mode not in ("constant", "edge", "reflect"):
        raise ValueError(f"mode={mode!r} must be 'constant', 'edge' or 'reflect'")
    if order == "bilinear" and not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"order='bilinear' interpolates floating point images, got {images.dtype}; use 'nearest'")


def warp_boxes(boxes: jax.Array, matrices: jax.Array, height: int, width: int) -> jax.Array:
    """The smallest upright boxes around the four moved corners, not clipped to the image.

    Args:
        boxes: float [b, n, 4], [ymin, xmin, ymax, xmax] in 0..1, measured between the outer edges of the image.
        matrices: float [b, 2, 3], as given to `warp`.
        height: of the images.
        width: of the images.

    Returns:
        float [b, n, 4].
    """
    size = jnp.asarray([height, width], boxes.dtype)[:, None, None, None]
    low_high = jnp.stack([boxes[..., [0, 0, 2, 2]], boxes[..., [1, 3, 1, 3]]])  # [2, b, n, 4]: y, x of the corners
    y, x = (low_high - 0.5) * size  # [b, n, 4], from the centre in pixels
    m = inverse(matrices).astype(boxes.dtype)[..., None, None]  # [b, 2, 3, 1, 1]
    moved = [(m[:, i, 0] * y + m[:, i, 1] * x + m[:, i, 2]) / n + 0.5 for i, n in ((0, height), (1, width))]
    return jnp.stack([moved[0].min(-1), moved[1].min(-1), moved[0].max(-1), moved[1].max(-1)], -1)
