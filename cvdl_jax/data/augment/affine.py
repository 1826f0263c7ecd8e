"""Operations that turn, shear and scale about the centre, by interpolation. Boxes and masks come along.

Each row has its own matrix (`ops.images.affine`). A box becomes the smallest upright box around its turned corners, so
that it grows; it becomes padding if less than `min_visible` of that is left in the image. What a `mode` other than
"constant" brings in around the image has no boxes.
"""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._carry import MIN_VISIBLE, carry
from cvdl_jax.data.augment._rows import check_number, check_probability, chosen_rows
from cvdl_jax.ops.images import affine
from cvdl_jax.ops.images.affine import Mode, Order
from cvdl_jax.parallel import row_random

_LARGEST = 10.0


def rotate(
    degrees: float = 15.0,
    order: Order = "bilinear",
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Turns by an angle, uniform in -degrees ... degrees.

    Args:
        degrees: in 0..180.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what comes in: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which less stays in the image become padding.
    """
    check_number("rotate", "degrees", degrees, 0, 180)
    return _warp("rotate", lambda u: affine.rotation(degrees * u[:, 0]), order, mode, fill, probability, min_visible)


def shear(
    x: float = 0.2,
    y: float = 0.2,
    order: Order = "bilinear",
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Slants: along x by a slope uniform in -x ... x, then along y by one in -y ... y.

    Args:
        x: largest slope, pixels to the side for each pixel down; in 0..1.
        y: largest slope, pixels down for each pixel to the side; in 0..1.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what comes in: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which less stays in the image become padding.
    """
    check_number("shear", "x", x, 0, 1)
    check_number("shear", "y", y, 0, 1)

    def matrices(u):  # [b, 2]
        return affine.compose(affine.shear_x(x * u[:, 0]), affine.shear_y(y * u[:, 1]))

    return _warp("shear", matrices, order, mode, fill, probability, min_visible)


def scale(
    low: float = 0.8,
    high: float = 1.25,
    order: Order = "bilinear",
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Enlarges by a factor, log-uniform in low ... high, at the size of the image.

    Args:
        low: smallest factor, in 0.1..10; below 1 the picture shrinks, without averaging over pixels.
        high: largest factor, from `low` on.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what comes in where it shrinks: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which less stays in the image become padding.
    """
    check_number("scale", "low", low, 1 / _LARGEST, _LARGEST)
    check_number("scale", "high", high, low, _LARGEST)

    def matrices(u):  # [b, 2]
        factor = jnp.exp(math.log(low) + (u[:, 0] + 1) / 2 * math.log(high / low))
        return affine.scaling(factor, factor)

    return _warp("scale", matrices, order, mode, fill, probability, min_visible)


def stretch(
    ratio: float = 4 / 3,
    order: Order = "bilinear",
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Changes the aspect and keeps the area: width / height times r, log-uniform in 1 / ratio ... ratio.

    Args:
        ratio: largest r, in 1..10.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what comes in: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which less stays in the image become padding.
    """
    check_number("stretch", "ratio", ratio, 1, _LARGEST)

    def matrices(u):  # [b, 2]
        root = jnp.exp(u[:, 0] * math.log(ratio) / 2)
        return affine.scaling(1 / root, root)

    return _warp("stretch", matrices, order, mode, fill, probability, min_visible)


def _warp(
    operation: str,
    matrices: Callable[[jax.Array], jax.Array],
    order: Order,
    mode: Mode,
    fill: float,
    probability: float,
    min_visible: float,
):
    """Warps each row by `matrices` of two numbers, uniform in -1..1: [b, 2] -> [b, 2, 3]."""
    check_number(operation, "fill", fill, 0, 1)
    check_number(operation, "min_visible", min_visible, 0, 1)
    check_probability(operation, probability)

    def update(state, batch, key):
        b, h, w, _ = batch["image"].shape
        where, which = jax.random.split(key)
        m = matrices(row_random(partial(jax.random.uniform, minval=-1.0), where, (b, 2)))  # [b, 2, 3]
        rows = chosen_rows(which, probability, batch["image"])  # [b]
        image = partial(affine.warp, matrices=m, order=order, mode=mode, fill=fill)
        boxes = partial(affine.warp_boxes, matrices=m, height=h, width=w)

        def mask(x, value):
            return affine.warp(x, m, order="nearest", mode=mode, fill=value)

        return state, carry(operation, batch, image, mask, boxes, rows, min_visible), {}

    return update
