"""Operations that change the ground truth alone: class labels, boxes and label masks. Images pass bit for bit.

Those that move an image together with its boxes and masks are in `geometry.py` and `crops.py`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._carry import check_boxes, classes, find, soft
from cvdl_jax.data.augment._rows import check_not_negative, check_number, check_probability, check_size, chosen, moving
from cvdl_jax.data.schema import beyond
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.images import masks

_MANY = 2**30  # a number that no object has


def label_noise(probability: float = 0.1, entry: str = "label", num_classes: int | None = None):
    """Replaces class labels by one of the other classes, all equally likely.

    Labels are drawn again each time an example is seen; the paper corrupts the labels of a data set once.

    Args:
        probability: of each label.
        entry: of the batch, int [b] or, for objects, [b, n]; those of padding stay.
        num_classes: at least 2.

    Raises:
        ConfigError: for a missing entry, or labels that are soft or of fewer than two classes.

    Reference: Zhang et al. 2017, "Understanding Deep Learning Requires Rethinking Generalization", section 2.2.
    """
    check_probability("label_noise", probability)

    def update(state, batch, key):
        label = find("label_noise", batch, entry)  # [b, ...]
        if not jnp.issubdtype(label.dtype, jnp.integer):
            raise ConfigError(
                f"config.augment: label_noise takes class numbers, and {entry!r} is {label.dtype} {list(label.shape)}; "
                "put it before operations that blend or smooth labels"
            )
        count = classes("label_noise", num_classes)
        if count < 2:
            raise ConfigError(f"config.augment: label_noise needs another class, and there is {count}; remove it")
        which, what = jax.random.split(key)
        flip = row_random(jax.random.uniform, which, label.shape) < probability
        if "/" in entry and "boxes_mask" in batch:
            flip &= batch["boxes_mask"] > 0
        step = row_random(lambda k, s: jax.random.randint(k, s, 1, count), what, label.shape)  # int32: no overflow
        other = ((label + step) % count).astype(label.dtype)
        return state, {**batch, entry: jnp.where(flip, other, label)}, {}

    return update


def smooth_labels(smoothing: float = 0.1, probability: float = 1.0, num_classes: int | None = None):
    """Label smoothing of the ground truth: `y <- (1 - smoothing) y + smoothing / num_classes`.

    Args:
        smoothing: 0..1.
        probability: for each row.
        num_classes: to turn integer labels into one-hot rows.

    Returns:
        A transform; labels become float32 [b, num_classes], each row's sum unchanged.

    Reference: Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7.
    """
    check_number("smooth_labels", "smoothing", smoothing, 0, 1)
    check_probability("smooth_labels", probability)

    def update(state, batch, key):
        label = soft("smooth_labels", find("smooth_labels", batch, "label"), num_classes)  # [b, num_classes]
        share = jnp.where(chosen(key, probability, label)[:, 0, 0], smoothing, 0.0).astype(label.dtype)  # [b, 1]
        return state, {**batch, "label": (1 - share) * label + share * label.mean(1, keepdims=True)}, {}

    return update


def box_jitter(amount: float = 0.1, probability: float = 1.0, entry: str = "objects/bbox"):
    """Moves each of the four sides of each box by a part of the box's height or width uniform in -amount ... amount.

    What would lie beyond the image is cut off, and boxes keep a positive area; padding stays zero.

    Args:
        amount: 0..0.49: below one half, opposite sides never meet.
        probability: for each row of the batch.
        entry: of the batch, [b, ..., 4] as ymin, xmin, ymax, xmax in 0..1.

    Raises:
        ConfigError: for a missing entry, invalid boxes where values are known, or an amount out of range.
    """
    check_number("box_jitter", "amount", amount, 0, 0.49)
    check_probability("box_jitter", probability)

    def update(state, batch, key):
        boxes = find("box_jitter", batch, entry)  # [b, ..., 4]
        check_boxes("box_jitter", entry, boxes)
        where, which = jax.random.split(key)
        u = row_random(lambda k, s: jax.random.uniform(k, s, boxes.dtype, -amount, amount), where, boxes.shape)
        sides = jnp.tile(boxes[..., 2:] - boxes[..., :2], 2)  # [b, ..., 4]: height, width, height, width
        real = jnp.any(boxes != 0, -1, keepdims=True)
        if "boxes_mask" in batch and batch["boxes_mask"].shape == boxes.shape[:-1]:
            real &= batch["boxes_mask"][..., None] > 0
        rows = chosen(which, probability, boxes).reshape(-1, *(1,) * (boxes.ndim - 1))
        return state, {**batch, entry: jnp.where(real & rows, jnp.clip(boxes + u * sides, 0, 1), boxes)}, {}

    return update


def mask_erode(size: int = 1, probability: float = 0.5, entry: str | None = None):
    """Erodes every object of the masks: pixels near another label become background, 0.

    Args:
        size: width of the rim in pixels.
        probability: for each row.
        entry: of the batch, int [b, h, w, ...] with 0 for the background and 255, which stays, for pixels to ignore (in
            masks of instances it is an object); None for all masks of the batch.

    Raises:
        ConfigError: for a missing entry.
    """
    check_size("mask_erode", "size", size)
    return _on_masks("mask_erode", lambda mask, key: masks.erode(mask, size), probability, entry)


def mask_dilate(size: int = 1, probability: float = 0.5, entry: str | None = None):
    """Dilates every object of the masks into the background; where two meet, the larger label wins.

    Args:
        size: width of the rim in pixels.
        probability: for each row.
        entry: as in `mask_erode`.

    Raises:
        ConfigError: for a missing entry.
    """
    check_size("mask_dilate", "size", size)
    return _on_masks("mask_dilate", lambda mask, key: masks.dilate(mask, size), probability, entry)


def mask_warp(amount: float = 2.0, cell: int = 8, probability: float = 1.0, entry: str | None = None):
    """Bends the boundaries of masks: labels move by a smooth random field, to the nearest pixel.

    The field is drawn at the corners of a grid, uniform in -amount ... amount in both directions, and linear between
    them. All masks of a row move by the same field. Pixels to ignore, 255, stay, and no others become so.

    Args:
        amount: pixels, 0 or more; below 0.5 nothing moves.
        cell: side of the grid's cells in pixels; smaller ones give more ragged boundaries.
        probability: for each row.
        entry: as in `mask_erode`.

    Raises:
        ConfigError: for a missing entry.
    """
    check_not_negative("mask_warp", "amount", amount)
    check_size("mask_warp", "cell", cell)

    def warp(mask: jax.Array, key: jax.Array) -> jax.Array:
        rows, columns = (_interpolation(size, cell) for size in mask.shape[1:3])  # [h, m], [w, n]
        shape = (mask.shape[0], rows.shape[1], columns.shape[1], 2)
        corners = row_random(lambda k, s: jax.random.uniform(k, s, jnp.float32, -amount, amount), key, shape)
        return masks.displace(mask, jnp.einsum("ym,bmnd,xn->byxd", rows, corners, columns))

    return _on_masks("mask_warp", warp, probability, entry)


def _interpolation(size: int, cell: int) -> jax.Array:
    """Linear interpolation of `size` pixels between corners every `cell` pixels: [size, corners], rows of sum 1."""
    place = jnp.arange(size)[:, None] / cell
    return jnp.maximum(1 - jnp.abs(place - jnp.arange((size - 1) // cell + 2)[None]), 0)


def _renumbered(mask: jax.Array, change: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """A change of a mask of instances, in which 255 is an object's number and no pixel is to be ignored."""
    wide = jnp.where(mask == masks.IGNORE, _MANY, mask.astype(jnp.int32))
    new = change(wide)
    return jnp.where(new == _MANY, masks.IGNORE, new).astype(mask.dtype)


def _on_masks(operation: str, apply: Callable, probability: float, entry: str | None) -> Callable:
    """Applies `(mask, key) -> mask` to one or all masks of the batch."""
    check_probability(operation, probability)

    def update(state, batch, key):
        names = [name for name in moving(batch) if name.endswith("mask")] if entry is None else [entry]
        if not names:
            find(operation, batch, "..._mask")
        where, which = jax.random.split(key)
        new = {}
        for name in names:
            mask = find(operation, batch, name)  # [b, h, w, ...]
            if mask.ndim < 3 or not jnp.issubdtype(mask.dtype, jnp.integer):
                raise ConfigError(
                    f"config.augment: {operation}(entry={name!r}) must name a mask [b, h, w, ...] of integers, got "
                    f"{mask.dtype} {list(mask.shape)}"
                )
            rows = chosen(which, probability, mask).reshape(-1, *(1,) * (mask.ndim - 1))
            changed = apply(mask, where) if beyond(name) else _renumbered(mask, lambda x: apply(x, where))
            new[name] = jnp.where(rows, changed, mask)
        return state, {**batch, **new}, {}

    return update
