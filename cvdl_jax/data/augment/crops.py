"""Operations that cut a window out of an image, with its boxes and masks: crops, and the resized crop.

All but `random_resized_crop` change the size of the images, so the evaluation's images must have that size too, or the
model must accept any size.
"""

import math
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._carry import MIN_VISIBLE, carry
from cvdl_jax.data.augment._rows import check_number, check_probability, check_size, chosen_rows
from cvdl_jax.data.augment._windows import Mode, check_pads, check_window, places_or, room, window
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import crops

_TRIES = 10


def _half(most: tuple[int, int]) -> jax.Array:
    """The place in the centre: int32 [1, 2]."""
    return jnp.asarray([most], jnp.int32) // 2


def random_crop(
    height: int,
    width: int | None = None,
    padding: int = 0,
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """A window at a uniformly random place, after padding if wanted.

    Args:
        height: of the window, at most that of the padded image.
        width: of the window; the height by default.
        padding: pixels on every side first.
        mode: what the padding holds: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row; the others take the window in the centre.
        min_visible: boxes of which a smaller part stays in the window become padding.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """
    size = check_window("random_crop", height, width, fill, min_visible)
    check_pads("random_crop", padding, probability)

    def update(state, batch, key):
        most = room("random_crop", batch, size, (padding, padding))
        where, which = jax.random.split(key)
        draw = partial(jax.random.randint, minval=0, maxval=jnp.asarray(most) + 1)
        places = row_random(draw, where, (batch["image"].shape[0], 2))  # [b, 2]
        places = places_or(_half(most), places, chosen_rows(which, probability, batch["image"]))
        return state, window("random_crop", batch, places, size, (padding, padding), mode, fill, min_visible), {}

    return update


def corner_crop(
    height: int,
    width: int | None = None,
    padding: int = 0,
    mode: Mode = "constant",
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """One of five windows at random: the four corners and the centre; `ops.images.crops.five_crop` gives all five.

    Args:
        height: of the window, at most that of the padded image.
        width: of the window; the height by default.
        padding: pixels on every side first.
        mode: what the padding holds: `fill`, the repeated border, or the reflected image.
        fill: in 0..1.
        probability: for each row; the others take the window in the centre.
        min_visible: boxes of which a smaller part stays in the window become padding.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1.
    """
    size = check_window("corner_crop", height, width, fill, min_visible)
    check_pads("corner_crop", padding, probability)

    def update(state, batch, key):
        b, h, w, _ = batch["image"].shape
        most = room("corner_crop", batch, size, (padding, padding))
        where, which = jax.random.split(key)
        number = row_random(partial(jax.random.randint, minval=0, maxval=5), where, (b,))  # [b]
        places = crops.five_places(h + 2 * padding, w + 2 * padding, size)[number]  # [b, 2]
        places = places_or(_half(most), places, chosen_rows(which, probability, batch["image"]))
        return state, window("corner_crop", batch, places, size, (padding, padding), mode, fill, min_visible), {}

    return update


def center_crop(height: int, width: int | None = None, min_visible: float = MIN_VISIBLE):
    """The window in the centre of every row; nothing is random.

    Args:
        height: of the window, at most that of the image.
        width: of the window; the height by default.
        min_visible: boxes of which a smaller part stays in the window become padding.
    """
    size = check_window("center_crop", height, width, 0.0, min_visible)

    def update(state, batch, key):
        most = room("center_crop", batch, size, (0, 0))
        places = jnp.broadcast_to(_half(most), (batch["image"].shape[0], 2))
        return state, window("center_crop", batch, places, size, min_visible=min_visible), {}

    return update


def random_resized_crop(
    height: int | None = None,
    width: int | None = None,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    order: Literal["bilinear", "nearest"] = "bilinear",
    antialias: bool = True,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """A window of random area and aspect, resized to one size.

    As torchvision does it: area uniform in `scale` of the image's, width / height log-uniform in `ratio`, a uniform
    place; the first of ten tries whose window fits, else the largest central window with an aspect in `ratio`. All
    tries are drawn at once, because a compiled function needs fixed shapes; the distribution is the same.

    Args:
        height: of the result; the image's by default.
        width: of the result; `height` where that is given, else the image's.
        scale: smallest and largest part of the area.
        ratio: smallest and largest width / height.
        order: interpolation of the image; masks take the nearest pixel.
        antialias: average over several pixels where a window shrinks.
        probability: for each row; the others are the whole image, resized.
        min_visible: boxes of which a smaller part stays in the window become padding.

    Reference: Szegedy et al. 2015, "Going Deeper with Convolutions", section 6.
    """
    for name, value in (("height", height), ("width", width)):
        if value is not None:
            check_size("random_resized_crop", name, value)
    _check_range("scale", scale, 1.0)
    _check_range("ratio", ratio, float("inf"))
    check_probability("random_resized_crop", probability)
    check_number("random_resized_crop", "min_visible", min_visible, 0, 1)

    def update(state, batch, key):
        b, h, w, _ = batch["image"].shape
        out = height or h, width or height or w
        where, which = jax.random.split(key)
        windows = row_random(lambda k, _: _resized_window(k, h, w, scale, ratio), where, (b, 4))  # [b, 4]
        whole = jnp.asarray([[0, 0, h, w]], jnp.int32)
        windows = places_or(whole, windows, chosen_rows(which, probability, batch["image"]))

        def boxes(x):  # [b, n, 4]
            place, size = (jnp.tile(p, 2)[:, None].astype(x.dtype) for p in (windows[:, :2], windows[:, 2:]))
            return (x * jnp.asarray([[[h, w, h, w]]], x.dtype) - place) / size

        def mask(x, _):
            return crops.resized_crop(x, windows, out, order="nearest")

        def image(x):
            return crops.resized_crop(x, windows, out, order=order, antialias=antialias)

        return state, carry("random_resized_crop", batch, image, mask, boxes, None, min_visible), {}

    return update


def _check_range(name: str, value: tuple[float, float], most: float) -> None:
    if not 0 < value[0] <= value[1] <= most:
        limit = f"<= {most:g}" if most < float("inf") else "< infinity"
        raise ConfigError(
            f"config.augment: random_resized_crop({name}={value}) must be (low, high) with 0 < low <= high {limit}"
        )


def _resized_window(key: jax.Array, h: int, w: int, scale: tuple, ratio: tuple) -> jax.Array:
    """One row's window: int32 [4], y, x, height, width."""
    u = jax.random.uniform(key, (_TRIES, 4))
    area = h * w * (scale[0] + (scale[1] - scale[0]) * u[:, 0])
    low, high = map(math.log, ratio)
    aspect = jnp.exp(low + (high - low) * u[:, 1])
    sides = jnp.round(jnp.sqrt(jnp.stack([area / aspect, area * aspect], -1))).astype(jnp.int32)  # [tries, 2]
    spare = jnp.asarray([[h, w]], jnp.int32) - sides
    fits = jnp.all((sides > 0) & (spare >= 0), -1)  # [tries]
    tries = jnp.concatenate([jnp.floor(u[:, 2:] * (spare + 1)).astype(jnp.int32), sides], -1)  # [tries, 4]
    n, m = min(h, max(1, round(w / ratio[0]))), min(w, max(1, round(h * ratio[1])))  # the largest that keeps the ratio
    centred = jnp.asarray([(h - n) // 2, (w - m) // 2, n, m], jnp.int32)
    return jnp.where(jnp.any(fits), tries[jnp.argmax(fits)], centred)
