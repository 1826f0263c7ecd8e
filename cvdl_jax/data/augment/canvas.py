"""Operations that put images of other sizes on a canvas of the image's size, with their boxes and masks.

Where no image is, the canvas has the value `fill`; masks have 255 there, masks of instances 0.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._carry import MIN_VISIBLE, carry, outside
from cvdl_jax.data.augment._rows import (
    check_interval,
    check_number,
    check_probability,
    chosen_rows,
    is_boxes,
    moving,
    rectangle,
)
from cvdl_jax.data.boxes import MASK
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import crops

_IDS = 256  # values of an instance mask, where no entry says how many objects an image has at most


def large_scale_jitter(
    low: float = 0.1,
    high: float = 2.0,
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Resizes by a random factor: a larger image is cropped, a smaller one lies on an empty canvas, at a random place.

    The factor is uniform in low ... high, and so is the place among all those where the image lies on the canvas, or
    covers it.

    Args:
        low: smallest factor of both sides.
        high: largest factor, at most 8.
        fill: value of the canvas, in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays on the canvas become padding.

    Reference: Ghiasi et al. 2021, "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation",
    section 3 (0.1 to 2.0; 0.8 to 1.25 is the standard jitter).
    """
    name = "large_scale_jitter"
    check_number(name, "low", low, 0.01, 8)
    check_number(name, "high", high, 0.01, 8)
    check_interval(name, ("low", low), ("high", high))
    check_number(name, "fill", fill, 0, 1)
    check_number(name, "min_visible", min_visible, 0, 1)
    check_probability(name, probability)

    def update(state, batch, key):
        b, h, w, _ = batch["image"].shape
        which, draw = jax.random.split(key)
        u = row_random(jax.random.uniform, draw, (b, 3))  # [b, 3]
        factor, rows = low + (high - low) * u[:, :1], chosen_rows(which, probability, batch["image"])
        factor = factor if rows is None else jnp.where(rows[:, None], factor, 1)
        sides = _sides(factor, h, w)
        free = jnp.asarray([[h, w]], jnp.int32) - sides
        places = jnp.floor(u[:, 1:] * (jnp.abs(free) + 1)).astype(jnp.int32) * jnp.sign(free)
        return state, _on_canvas(name, batch, sides, places, fill, min_visible), {}

    return update


def mosaic(
    low: float = 0.5,
    high: float = 1.0,
    margin: float = 0.25,
    fill: float = 0.0,
    probability: float = 1.0,
    min_visible: float = MIN_VISIBLE,
):
    """Four images around a random point: each row and three others of its four fill a quarter each.

    Of each image, resized by a factor uniform in low ... high, the corner that points to the middle lies there; what
    does not fit into its quarter is cut off, with its boxes. The batch then has four times as many rows for objects, so
    that none is lost; the numbers in masks of instances go on from one image to the next.

    Args:
        low: smallest factor of both sides of an image.
        high: largest factor, at most 8.
        margin: the point is uniform in margin ... 1 - margin of both sides; 0.5 for the centre.
        fill: value of the canvas where an image does not fill its quarter, in 0..1.
        probability: for each row.
        min_visible: boxes of which a smaller part stays in their quarter become padding.

    Raises:
        ConfigError: for batches whose rows are not a multiple of four, or entries that cannot be put together.

    Reference: Bochkovskiy et al. 2020, "YOLOv4: Optimal Speed and Accuracy of Object Detection", section 3.3.
    """
    check_number("mosaic", "low", low, 0.01, 8)
    check_number("mosaic", "high", high, 0.01, 8)
    check_interval("mosaic", ("low", low), ("high", high))
    check_number("mosaic", "margin", margin, 0, 0.5)
    check_number("mosaic", "fill", fill, 0, 1)
    check_number("mosaic", "min_visible", min_visible, 0, 1)
    check_probability("mosaic", probability)

    def update(state, batch, key):
        _check_mosaic(batch)
        b, h, w, _ = batch["image"].shape
        which, draw = jax.random.split(key)
        u = row_random(jax.random.uniform, draw, (b, 6))  # [b, 6]
        size = jnp.asarray([[h, w]], jnp.int32)
        middle = jnp.round((margin + (1 - 2 * margin) * u[:, :2]) * size).astype(jnp.int32)  # [b, 2]
        parts, quarters = [], []
        for j, after in enumerate(([[0, 0]], [[0, 1]], [[1, 0]], [[1, 1]])):  # below, to the right of the middle?
            after = jnp.asarray(after, jnp.int32)
            sides = _sides(low + (high - low) * u[:, 2 + j, None], h, w)
            corner, end = after * middle, after * size + (1 - after) * middle
            others = {name: _partner(x, j) for name, x in batch.items()}
            quarter = jnp.concatenate([corner, end], 1) / jnp.tile(size, 2)
            places = middle - (1 - after) * sides
            parts.append(_on_canvas("mosaic", others, sides, places, fill, min_visible, quarter))
            quarters.append(rectangle(corner, end - corner, h, w))
        return state, _together(batch, parts, quarters, chosen_rows(which, probability, batch["image"])), {}

    return update


def _sides(factor: jax.Array, h: int, w: int) -> jax.Array:
    """Height and width of an image of (h, w) enlarged by factors [b, 1], at least one pixel: int32 [b, 2]."""
    return jnp.maximum(jnp.round(factor * jnp.asarray([[h, w]])), 1).astype(jnp.int32)


def _on_canvas(
    operation: str,
    batch: Mapping[str, Any],
    sides: jax.Array,
    places: jax.Array,
    fill: float,
    min_visible: float,
    part: jax.Array | None = None,
) -> dict[str, Any]:
    """The batch with its images of given sides at given places; boxes are cut to `part`, see `carry`."""
    size = h, w = batch["image"].shape[1:3]

    def mask(x: jax.Array, value: int) -> jax.Array:
        return crops.placed(x, sides, places, size, order="nearest", fill=value)

    def boxes(x: jax.Array) -> jax.Array:
        whole = jnp.asarray([[h, w, h, w]], x.dtype)
        zoom, move = (jnp.tile(v, 2).astype(x.dtype) / whole for v in (sides, places))  # [b, 4]
        return x * zoom[:, None] + move[:, None]

    image = lambda x: crops.placed(x, sides, places, size, fill=fill)  # noqa: E731
    return carry(operation, batch, image, mask, boxes, None, min_visible, part)


def _partner(x: jax.Array, j: int) -> jax.Array:
    """The rows of x, each replaced by row i xor j, 0 <= j < 4."""
    return x.reshape(-1, 4, *x.shape[1:])[:, [i ^ j for i in range(4)]].reshape(x.shape)


def _objects(batch: Mapping[str, Any]) -> list[str]:
    """The entries with a row for each object, [b, n, ...]: boxes, those beside them, and their mask."""
    boxes = [name for name in batch if is_boxes(name) and batch[name].ndim == 3]
    prefixes = {name.rpartition("/")[0] for name in boxes} - {""}
    shapes = {batch[name].shape[:2] for name in boxes}
    beside = [name for name in batch if name.rpartition("/")[0] in prefixes and name not in moving(batch)]
    return boxes + [n for n in (*beside, MASK) if n in batch and batch[n].shape[:2] in shapes]


def _check_mosaic(batch: Mapping[str, Any]) -> None:
    b = batch["image"].shape[0]
    if b % 4:
        raise ConfigError(
            f"config.augment: mosaic puts four rows together, and a device has {b} rows; choose config.batch_size as a "
            "multiple of four times the number of devices"
        )
    single = [name for name in moving(batch) if is_boxes(name) and batch[name].ndim != 3]
    single += [name for name in ("label",) if name in batch]
    if single:
        raise ConfigError(
            f"config.augment: mosaic puts four images together, and {single} says one thing of an image; leave it out "
            "with config.data.features"
        )


def _together(
    batch: Mapping[str, Any], parts: list[dict[str, Any]], quarters: list[jax.Array], rows: jax.Array | None
) -> dict[str, Any]:
    """The batch of four quarters; rows that are not chosen stay, with padding for the objects of the others."""
    objects, out = _objects(batch), dict(batch)
    most = batch[MASK if MASK in objects else objects[0]].shape[1] if objects else _IDS

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return new if rows is None else jnp.where(rows.reshape(-1, *(1,) * (old.ndim - 1)), new, old)

    for name in (name for name in moving(batch) if not is_boxes(name)):
        old, numbered = batch[name], name != "image" and _numbered(name, batch[name])
        new = old = old.astype(jnp.int32) if numbered else old
        for j, (part, quarter) in enumerate(zip(parts, quarters, strict=True)):
            x = part[name].astype(new.dtype)
            x = jnp.where(x > 0, x + j * most, 0) if numbered else x
            new = jnp.where(quarter.reshape(*quarter.shape[:3], *(1,) * (x.ndim - 3)), x, new)
        out[name] = pick(new, old)
    for name in objects:
        values = [part[name] for part in parts]
        if name.endswith("mask_id"):
            values = [jnp.where(x > 0, x + j * most, 0) for j, x in enumerate(values)]
        padded = jnp.concatenate([batch[name], *[jnp.zeros_like(batch[name])] * 3], 1)
        out[name] = pick(jnp.concatenate(values, 1), padded)
    return out


def _numbered(name: str, x: jax.Array) -> bool:
    """Whether a mask numbers objects, whose numbers must differ between images that are put together."""
    return outside(name, x.dtype) == 0 and jnp.issubdtype(x.dtype, jnp.integer)
