"""The ground truth of an image: boxes and masks that move with its pixels, and labels in the form an operation needs.

Masks move like the image, by the nearest pixel. Pixels from outside the image become 255 in masks of whole numbers, the
label that losses ignore, or 0 in masks of instances, which is no instance. A moved box is the smallest upright box
around its corners, cut to the image. It becomes padding if less than `min_visible` of the moved area is left: its row
is 0 in every entry beside it (`objects/label` ...) and in `boxes_mask`. The masks keep what is still visible of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.data.augment._rows import is_boxes, moving
from cvdl_jax.data.boxes import MASK, PROPOSALS, ROUNDING
from cvdl_jax.data.schema import beyond
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.boxes import area
from cvdl_jax.ops.value_checks import is_concrete

IGNORE = 255
MIN_VISIBLE = 0.25


def outside(name: str, dtype: Any) -> int:
    """The value of a mask outside the image: 255, or 0 for masks of instances and of floats."""
    return beyond(name) if jnp.issubdtype(dtype, jnp.integer) else 0


def carry(
    operation: str,
    batch: Mapping[str, Any],
    image: Callable[[jax.Array], jax.Array],
    mask: Callable[[jax.Array, int], jax.Array],
    boxes: Callable[[jax.Array], jax.Array],
    rows: jax.Array | None = None,
    min_visible: float | None = None,
    part: jax.Array | None = None,
) -> dict[str, Any]:
    """Moves the image, the masks and the boxes of a batch; other entries stay.

    Args:
        operation: its name, for errors.
        batch: image [b, h, w, c], masks [b, h, w, ...], boxes [b, ..., 4] in 0..1.
        image: [b, h, w, c] -> [b, h', w', c].
        mask: ([b, h, w, k], value outside the image) -> [b, h', w', k], exact copies of pixels.
        boxes: [b, n, 4] -> [b, n, 4], not clipped.
        rows: bool [b], the rows that move; None for all, which is needed where the size of the image changes.
        min_visible: the part of a moved box's area that must be in the image; None if no box can leave it.
        part: [b, 4], the part of the image that boxes are cut to, as a box; None for the whole.

    Returns:
        The new batch.

    Raises:
        ConfigError: for masks of another size than the image, or invalid boxes where values are known.
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
        out |= _carry_boxes(name, out, boxes, rows, min_visible, part)
    return out


def _carry_boxes(
    name: str, batch: Mapping, move: Callable, rows: Any, min_visible: float | None, part: jax.Array | None
) -> dict[str, Any]:
    """The moved boxes of one entry, and the entries beside it where boxes became padding."""
    old = batch[name]
    moved = move(old.reshape(len(old), -1, 4)).reshape(old.shape)
    real = jnp.any(old != 0, axis=-1)  # [b, ...]; padding stays zero
    if rows is not None:
        real &= rows.reshape(-1, *(1,) * (old.ndim - 2))
    if min_visible is None:
        return {name: jnp.where(real[..., None], moved, old)}
    if part is None:
        seen = jnp.clip(moved, 0, 1)
    else:
        low, high = (jnp.tile(x, 2).reshape(-1, *(1,) * (old.ndim - 2), 4) for x in (part[:, :2], part[:, 2:]))
        seen = jnp.clip(moved, low, high)
    left = area(seen)
    kept = (left > 0) & (left >= min_visible * (1 - ROUNDING) * area(moved))  # [b, ...]
    new = {name: jnp.where(real[..., None], jnp.where(kept[..., None], seen, 0), old)}
    prefix, lost = name.rpartition("/")[0], real & ~kept
    for other, x in batch.items():
        beside = prefix and other.rpartition("/")[0] == prefix and other not in moving(batch)
        if (beside or (other == MASK and name != PROPOSALS)) and x.shape[: lost.ndim] == lost.shape:
            new[other] = jnp.where(lost.reshape(*lost.shape, *(1,) * (x.ndim - lost.ndim)), jnp.zeros_like(x), x)
    return new


def check_carried(operation: str, batch: Mapping[str, Any]) -> None:
    """Refuses masks of another size than the image, and invalid boxes. Raises ConfigError."""
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
    """Refuses boxes that leave 0..1 or have a negative side, where their values are known (not while tracing).

    Args:
        operation: the name of the one that would move them, for messages.
        name: of the entry, for messages.
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


def soft(operation: str, label: jax.Array, num_classes: int | None) -> jax.Array:
    """Labels as float [b, num_classes]: integer labels become one-hot rows in float32; soft ones pass unchanged.

    Raises:
        ConfigError: for class numbers of a data set without classes.
    """
    if label.ndim == 2:
        return label if jnp.issubdtype(label.dtype, jnp.floating) else label.astype(jnp.float32)
    return jax.nn.one_hot(label, classes(operation, num_classes), dtype=jnp.float32)


def classes(operation: str, num_classes: int | None) -> int:
    """The number of classes. Raises ConfigError for a data set without classes."""
    if num_classes is None:
        raise ConfigError(
            f"config.augment: {operation} changes class labels, and the data set has no classes; remove it"
        )
    return num_classes


def find(operation: str, batch: Mapping[str, Any], name: str) -> Any:
    """An entry of the batch. Raises ConfigError that lists the entries there are."""
    if name not in batch:
        raise ConfigError(
            f"config.augment: {operation} finds no {name!r} in the batch, which has {sorted(batch)}; name another "
            "entry, or add it to config.data.features"
        )
    return batch[name]
