"""Boxes and masks go where the pixels of their image go.

Masks move like the image, by the nearest pixel. Where nothing is known, whole numbers become 255, the label that losses
ignore, or 0 in masks of instances, which is no instance. A moved box is the smallest upright box around its corners,
cut to the image. It becomes padding if less than `min_visible` of the moved area is left: its row is 0 in every entry
beside it (`objects/label` ...) and in `boxes_mask`. What can still be seen of its object stays in the masks.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.data.augment._rows import is_boxes, moving
from cvdl_jax.data.boxes import MASK, ROUNDING
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.boxes import area
from cvdl_jax.ops.value_checks import is_concrete

IGNORE = 255
MIN_VISIBLE = 0.25


def outside(name: str, dtype: Any) -> int:
    """What a mask holds where the image holds nothing."""
    return IGNORE if jnp.issubdtype(dtype, jnp.integer) and "instance" not in name.split("/")[-1] else 0


def carry(
    operation: str,
    batch: Mapping[str, Any],
    image: Callable[[jax.Array], jax.Array],
    mask: Callable[[jax.Array, int], jax.Array],
    boxes: Callable[[jax.Array], jax.Array],
    rows: jax.Array | None = None,
    min_visible: float | None = None,
) -> dict[str, Any]:
    """The batch with its image, masks and boxes moved; other entries stay.

    Args:
        operation: its name, for errors.
        batch: image [b, h, w, c], masks [b, h, w, ...], boxes [b, ..., 4] in 0..1.
        image: [b, h, w, c] -> [b, h', w', c].
        mask: ([b, h, w, k], what it holds outside) -> [b, h', w', k], exact copies of pixels.
        boxes: [b, n, 4] -> [b, n, 4], not clipped.
        rows: bool [b], those that move; None for all, as it must be where the size changes.
        min_visible: part of a moved box's area that must be in the image; None: no box can leave it.

    Returns:
        The new batch.

    Raises:
        ConfigError: for masks of another size than the image, or boxes that are known to be wrong.
    """
    check_carried(operation, batch)
    out = dict(batch)
    for name in moving(batch):
        x = batch[name]
        if is_boxes(name):
            continue
        if name == "image":
            new = image(x)
        else:
            flat = x.reshape(*x.shape[:3], -1)  # [b, h, w, k]
            new = mask(flat, outside(name, x.dtype))
            new = new.reshape(*new.shape[:3], *x.shape[3:])
        out[name] = new if rows is None else jnp.where(rows.reshape(-1, *(1,) * (x.ndim - 1)), new, x)
    for name in filter(is_boxes, moving(batch)):
        out |= _carry_boxes(name, out, boxes, rows, min_visible)
    return out


def _carry_boxes(name: str, batch: Mapping, move: Callable, rows: Any, min_visible: float | None) -> dict[str, Any]:
    """The entries that change with the boxes of one name."""
    old = batch[name]
    moved = move(old.reshape(len(old), -1, 4)).reshape(old.shape)
    real = jnp.any(old != 0, axis=-1)  # [b, ...]; padding stays zero
    if rows is not None:
        real &= rows.reshape(-1, *(1,) * (old.ndim - 2))
    if min_visible is None:
        return {name: jnp.where(real[..., None], moved, old)}
    seen = jnp.clip(moved, 0, 1)
    left = area(seen)
    kept = (left > 0) & (left >= min_visible * (1 - ROUNDING) * area(moved))  # [b, ...]
    new = {name: jnp.where(real[..., None], jnp.where(kept[..., None], seen, 0), old)}
    prefix, lost = name.rpartition("/")[0], real & ~kept
    for other, x in batch.items():
        beside = prefix and other.rpartition("/")[0] == prefix and other not in moving(batch)
        if (beside or other == MASK) and x.shape[: lost.ndim] == lost.shape:
            new[other] = jnp.where(lost.reshape(*lost.shape, *(1,) * (x.ndim - lost.ndim)), jnp.zeros_like(x), x)
    return new


def check_carried(operation: str, batch: Mapping[str, Any]) -> None:
    """Refuses masks of another size than the image, and bad boxes. Raises ConfigError."""
    h, w = batch["image"].shape[1:3]
    for name in moving(batch):
        if is_boxes(name):
            check_boxes(operation, name, batch[name])
        elif batch[name].shape[1:3] != (h, w):
            raise ConfigError(
                f"config.augment: {operation} moves image and masks together, and {name!r} is "
                f"{list(batch[name].shape)} beside images of {h} x {w} pixels; set config.data.image_size so that both "
                "are resized, or leave it out with config.data.features"
            )


def check_boxes(operation: str, name: str, boxes: jax.Array) -> None:
    """Refuses boxes that reach out of 0..1 or are turned around, where their values are known (not while tracing).

    Args:
        operation: that would move them.
        name: of the entry.
        boxes: [..., 4], [ymin, xmin, ymax, xmax].

    Raises:
        ConfigError: with the first bad box.
    """
    if boxes.shape[-1:] != (4,):
        raise ConfigError(f"config.augment: {operation} moves boxes [..., 4], and {name!r} is {list(boxes.shape)}")
    if not is_concrete(boxes):
        return
    values = np.asarray(boxes).reshape(-1, 4)
    good = np.all((values >= -ROUNDING) & (values <= 1 + ROUNDING), 1) & np.all(values[:, 2:] >= values[:, :2], 1)
    if not good.all():
        raise ConfigError(
            f"config.augment: {operation} moves boxes [ymin, xmin, ymax, xmax] in 0..1, and {name!r} holds "
            f"{values[~good][0].tolist()}; divide pixels by the height and width of the image"
        )


# What operations on labels, boxes and masks share.


def soft(operation: str, label: jax.Array, num_classes: int | None) -> jax.Array:
    """Labels as float [b, num_classes]; soft ones pass unchanged, one-hot whole numbers become float32.

    Raises:
        ConfigError: for class numbers of a data set without classes.
    """
    if label.ndim == 2:
        return label if jnp.issubdtype(label.dtype, jnp.floating) else label.astype(jnp.float32)
    return jax.nn.one_hot(label, classes(operation, num_classes), dtype=jnp.float32)


def classes(operation: str, num_classes: int | None) -> int:
    """The number of classes. Raises ConfigError where there are none."""
    if num_classes is None:
        raise ConfigError(
            f"config.augment: {operation} changes class labels, and the data set has no classes; remove it"
        )
    return num_classes


def find(operation: str, batch: Mapping[str, Any], name: str) -> Any:
    """An entry of the batch. Raises ConfigError with those that there are."""
    if name not in batch:
        raise ConfigError(
            f"config.augment: {operation} finds no {name!r} in the batch, which has {sorted(batch)}; name another "
            "entry, or add it to config.data.features"
        )
    return batch[name]
