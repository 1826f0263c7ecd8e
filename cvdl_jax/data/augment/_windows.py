"""Windows of a batch: padding, then a crop of each image at a given place, with its boxes and masks."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._carry import carry
from cvdl_jax.data.augment._rows import check_number, check_probability, check_size
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import crops

Mode = Literal["constant", "edge", "reflect"]


def check_window(operation: str, height: int, width: int | None, fill: float, min_visible: float) -> tuple[int, int]:
    """Height and width of a window, square unless a width is given. Raises ConfigError for impossible values."""
    check_size(operation, "height", height)
    check_size(operation, "width", height if width is None else width)
    check_number(operation, "fill", fill, 0, 1)
    check_number(operation, "min_visible", min_visible, 0, 1)
    return height, height if width is None else width


def check_pads(operation: str, padding: int, probability: float) -> None:
    """Raises ConfigError for a negative padding or a probability out of 0..1."""
    check_size(operation, "padding", padding, least=0)
    check_probability(operation, probability)


def room(operation: str, batch: Mapping[str, Any], size: tuple[int, int], pads: tuple[int, int]) -> tuple[int, int]:
    """The largest offset (y, x) of a window in the padded image. Raises ConfigError if it does not fit."""
    sides = zip(("height", "width"), size, batch["image"].shape[1:3], pads, strict=True)
    left = []
    for name, window, side, pad in sides:
        if pad >= side > 0:
            raise ConfigError(
                f"config.augment: {operation} pads images of {side} pixels by {pad} on each side, so that a window may "
                f"hold nothing of them; choose less than {side}, such as {max(side // 8, 1)}"
            )
        if window > side + 2 * pad:
            padded = f" with {pad} of padding on both sides" if pad else ""
            raise ConfigError(
                f"config.augment: {operation}({name}={window}) must be at most {side + 2 * pad}: the images have "
                f"{side} pixels{padded}"
            )
        left.append(side + 2 * pad - window)
    return left[0], left[1]


def places_or(others: jax.Array, places: jax.Array, rows: jax.Array | None) -> jax.Array:
    """`places` [b, k] in the given rows (bool [b]; None for all) and `others` [1, k] elsewhere: [b, k]."""
    return places if rows is None else jnp.where(rows[:, None], places, others)


def window(
    operation: str,
    batch: Mapping[str, Any],
    places: jax.Array,
    size: tuple[int, int],
    pads: tuple[int, int] = (0, 0),
    mode: Mode = "constant",
    fill: float = 0.0,
    min_visible: float = 0.0,
) -> dict[str, Any]:
    """The batch padded and cropped.

    Args:
        operation: its name, for errors.
        batch: see `carry`.
        places: int [b, 2], upper left pixels in the padded images.
        size: of the windows.
        pads: pixels above and below, left and right.
        mode: kind of the padding.
        fill: of a constant padding of the image.
        min_visible: see `carry`.

    Returns:
        The new batch.
    """
    h, w = batch["image"].shape[1:3]

    def cut(x: jax.Array, value: float) -> jax.Array:
        more = {"constant_values": jnp.asarray(value, x.dtype)} if mode == "constant" else {}
        padded = jnp.pad(x, ((0, 0), *((p, p) for p in pads), (0, 0)), mode, **more)
        return crops.crop(padded, places, size)

    def shifted(boxes: jax.Array) -> jax.Array:
        enlarged = jnp.asarray([h / size[0], w / size[1]] * 2, boxes.dtype)  # exactly 1 where the size stays
        offset = (jnp.asarray([pads], places.dtype) - places) / jnp.asarray([size], boxes.dtype)  # [b, 2]
        return boxes * enlarged[None, None] + jnp.tile(offset, 2)[:, None]

    return carry(operation, batch, lambda x: cut(x, fill), cut, shifted, None, min_visible)
