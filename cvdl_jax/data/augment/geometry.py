"""Operations that move pixels and keep the size of the image, with its boxes and masks.

Flips, translation and the padded crop move whole pixels. Rotation, shear, scaling and stretching interpolate: each row
has its own matrix (`ops/images/affine.py`) about the centre. There a box becomes the smallest upright box around its
moved corners, so that it grows. With a `mode` other than "constant" the border shows pixels again, without boxes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._carry import MIN_VISIBLE, carry
from cvdl_jax.data.augment._rows import check_number, check_probability, check_size, chosen_rows
from cvdl_jax.data.augment._windows import places_or, room, window
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import affine
from cvdl_jax.ops.images.affine import Mode, Order

_LARGEST = 10.0  # scale or stretch
_PADS: dict[str, Mode] = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def flip(probability: float = 0.5):
    """Mirrors left and right: images, masks and boxes.

    Args:
        probability: for each row.
    """
    return _flip("flip", 1, probability)


def vertical_flip(probability: float = 0.5):
    """Mirrors top and bottom: images, masks and boxes.

    Args:
        probability: for each row.
    """
    return _flip("vertical_flip", 0, probability)


def _flip(operation: str, axis: int, probability: float):
    """Mirrors some rows; axis 0 exchanges top and bottom, 1 left and right."""
    check_probability(operation, probability)

    def boxes(x):  # [b, n, 4]
        low, high = x[..., axis], x[..., axis + 2]
        return x.at[..., axis].set(1 - high).at[..., axis + 2].set(1 - low)

    def mirror(x, *_):
        return jnp.flip(x, axis + 1)

    def update(state, batch, key):
        rows = chosen_rows(key, probability, batch["image"])  # [b]
        return state, carry(operation, batch, mirror, mirror, boxes, rows), {}

    return update


def translate(
    fraction: float | tuple[float, float] = 0.125,
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Moves down and to the right by whole pixels, each uniform in -n ... n: images, masks and boxes.

    Args:
        fraction: n over the side of the image, rounded to pixels; in 0..1, one number or (down, right).
        mode: what fills the border: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
    """
    parts = fraction if isinstance(fraction, tuple) else (fraction, fraction)
    for part in parts:
        check_number("translate", "fraction", part, 0, 1)
    check_number("translate", "fill", fill, 0, 1)
    check_number("translate", "min_visible", min_visible, 0, 1)

    def pads(h, w):
        most = round(parts[0] * h), round(parts[1] * w)
        if most == (0, 0):
            raise ConfigError(
                f"config.augment: translate(fraction={fraction}) moves images of {h} x {w} by less than a pixel; "
                f"choose at least {1 / max(h, w):.2g}, or remove it"
            )
        return most

    return _moved_window("translate", pads, mode, fill, probability, min_visible)


def padded_crop(
    padding: int = 4,
    mode: Literal["zeros", "reflect", "edge"] = "zeros",
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Pads all sides, then crops a window of the original size at a uniformly random place, with boxes and masks.

    Args:
        padding: pixels on each side; the image moves by -padding ... padding in both directions.
        mode: what the padding holds: black, the reflected image, or the repeated border.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.

    Reference: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (4 pixels on CIFAR-10).
    """
    check_size("padded_crop", "padding", padding, least=0)
    check_number("padded_crop", "min_visible", min_visible, 0, 1)
    return _moved_window("padded_crop", lambda h, w: (padding, padding), _PADS[mode], 0.0, probability, min_visible)


def _moved_window(operation: str, pads_of: Callable, mode: Mode, fill: float, probability: float, visible: float):
    """A window of the image's size at a random place of the padded image; other rows stay in the centre."""
    check_probability(operation, probability)

    def update(state, batch, key):
        image = batch["image"]
        b, size = image.shape[0], image.shape[1:3]
        pads = pads_of(*size)
        where, which = jax.random.split(key)
        most = jnp.asarray(room(operation, batch, size, pads))
        places = row_random(partial(jax.random.randint, minval=0, maxval=most + 1), where, (b, 2))  # [b, 2]
        places = places_or(jnp.asarray([pads], places.dtype), places, chosen_rows(which, probability, image))
        return state, window(operation, batch, places, size, pads, mode, fill, visible), {}

    return update


def rotate(
    degrees: float = 15.0,
    order: Order = "bilinear",
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Rotates by an angle, uniform in -degrees ... degrees.

    Args:
        degrees: in 0..180.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what fills the border: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
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
    """Shears: along x by a slope uniform in -x ... x, then along y by one in -y ... y.

    Args:
        x: largest slope, pixels to the side for each pixel down; in 0..1.
        y: largest slope, pixels down for each pixel to the side; in 0..1.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what fills the border: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
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
        low: smallest factor, in 0.1..10; below 1 the image shrinks, without averaging over pixels.
        high: largest factor, from `low` on.
        order: interpolation of the image; masks take the nearest pixel.
        mode: what fills the border where it shrinks: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
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
        mode: what fills the border: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in the image become padding.
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
    """Warps each row by `matrices`, a function of two numbers uniform in -1..1 for each row: [b, 2] -> [b, 2, 3]."""
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
