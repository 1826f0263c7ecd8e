"""Anchors: grids of boxes over the maps of a network, and which true box each of them has to find.

Boxes are [ymin, xmin, ymax, xmax] in 0..1 (`ops/boxes.py`).
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Probability
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.boxes import encode, iou


def anchor_grid(
    rows: int, columns: int, sizes: Sequence[float], ratios: Sequence[float] = (1.0,), aspect: float = 1.0
) -> np.ndarray:
    """Anchors around the centre of every cell of a grid over the image, in the order row, column, size, ratio.

    Args:
        rows: of the grid.
        columns: of the grid.
        sizes: square roots of the anchors' areas, in heights of the image.
        ratios: height / width.
        aspect: height / width of the image.

    Returns:
        float32 [rows * columns * len(sizes) * len(ratios), 4] in 0..1; anchors near the border extend beyond the image.
    """
    size, ratio = np.meshgrid(sizes, ratios, indexing="ij")  # [s, r]
    shapes = np.stack([size * np.sqrt(ratio), size / np.sqrt(ratio) * aspect], -1).reshape(-1, 2)  # [s * r, 2]
    return shapes_on_grid(rows, columns, shapes)


def shapes_on_grid(rows: int, columns: int, shapes: Sequence[Sequence[float]]) -> np.ndarray:
    """Boxes of given shapes around the centre of every cell of a grid over the image.

    Args:
        rows: of the grid.
        columns: of the grid.
        shapes: [s, 2], heights in heights of the image and widths in widths of it.

    Returns:
        float32 [rows * columns * s, 4] in 0..1, in the order row, column, shape.
    """
    cy, cx = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    shapes = np.asarray(shapes, np.float64).reshape(-1, 2)
    centre = np.broadcast_to(np.stack([cy, cx], -1).reshape(-1, 1, 2), (rows * columns, len(shapes), 2))
    half = np.broadcast_to(shapes / 2, centre.shape)
    return np.concatenate([centre - half, centre + half], -1).reshape(-1, 4).astype(np.float32)


def anchor_pyramid(
    maps: Sequence[tuple[int, int]],
    image: tuple[int, int],
    scale: float = 4.0,
    octaves: int = 3,
    ratios: Sequence[float] = (0.5, 1.0, 2.0),
) -> list[np.ndarray]:
    """The anchors of each level of a pyramid: on a level of stride s their sizes are `scale s 2^(i / octaves)` pixels.

    Args:
        maps: (rows, columns) of the maps; the stride of a level is the nearest power of two to height / rows.
        image: (height, width) in pixels.
        scale: of the smallest anchor of a level, in strides.
        octaves: sizes of a level; the next one would be the first of a level of twice the stride.
        ratios: height / width.

    Returns:
        For each level float32 [rows * columns * octaves * len(ratios), 4] in 0..1.

    Reference: Lin et al. 2017, "Focal Loss", section 4: scale 4, 3 octaves, 1:2, 1:1, 2:1.
    """
    levels = []
    for rows, columns in maps:
        stride = stride_of(rows, image[0])
        sizes = [scale * stride * 2 ** (i / octaves) / image[0] for i in range(octaves)]
        levels.append(anchor_grid(rows, columns, sizes, ratios, image[0] / image[1]))
    return levels


def stride_of(rows: int, height: int) -> int:
    """The nearest power of two to the stride of a map, in pixels: a map of 4 rows of 27 pixels has stride 8."""
    return 2 ** max(round(np.log2(height / rows)), 0)


def match(
    boxes: jax.Array,
    mask: jax.Array,
    anchors: jax.Array,
    positive: Probability = 0.5,
    negative: Probability = 0.4,
    best_anchor: bool = True,
) -> tuple[jax.Array, jax.Array]:
    """Assigns boxes to anchors for training.

    An anchor is positive if its IoU with some box is at least `positive`, or if it is a box's best anchor, so that
    every box has an anchor, unless it is the best of two boxes. It belongs to the box with the largest IoU (the first
    of equals). It is negative if all its IoUs are below `negative`, else ignored.

    Args:
        boxes: [n, 4]; n may be 0, where every anchor is negative.
        mask: [n], 1 where a box is real.
        anchors: [a, 4].
        positive: threshold.
        negative: threshold, at most `positive`.
        best_anchor: whether the best anchor of a box is positive below the threshold too.

    Returns:
        int32 [a], the box of each anchor (meaningful where it is positive); int32 [a], 1 positive, 0 negative, -1
        ignored.

    Raises:
        ConfigError: for a negative threshold above the positive one.

    Reference: Ren et al. 2015, "Faster R-CNN", section 3.1.2 (0.7 and 0.3); Lin et al. 2017, "Focal Loss", section 4
    (0.5 and 0.4).
    """
    if negative > positive:
        raise ConfigError(f"config.match.negative={negative} must be at most config.match.positive={positive}")
    if not len(boxes):  # an image without objects is all background
        return jnp.zeros(len(anchors), jnp.int32), jnp.zeros(len(anchors), jnp.int32)
    overlaps = jnp.where(mask[None] > 0, iou(anchors, boxes), -1.0)  # [a, n]
    best = overlaps.argmax(0)  # [n]
    forced = (jnp.arange(len(anchors))[:, None] == best[None]) & (overlaps > 0) & best_anchor  # [a, n]
    overlap = overlaps.max(1)  # [a]
    is_forced = forced.any(1)
    box = jnp.where(is_forced, jnp.where(forced, overlaps, -1.0).argmax(1), overlaps.argmax(1))
    kind = jnp.where(is_forced | (overlap >= positive), 1, jnp.where(overlap < negative, 0, -1))
    return box.astype(jnp.int32), kind.astype(jnp.int32)


def wanted(mask: jax.Array, flags: Sequence[jax.Array]) -> jax.Array:
    """The mask [..., n] of boxes without those that one of the flags [..., n] says are not to be found, by true or 1.

    Open Images has -1 where nobody knows.
    """
    return reduce(lambda left, flag: jnp.where(flag > 0, 0, left), flags, mask)


def anchor_targets(
    match: Callable, boxes: jax.Array, labels: jax.Array, mask: jax.Array, anchors: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The training targets of a detector for every anchor of one image.

    Args:
        match: `match` with its thresholds.
        boxes: [n, 4].
        labels: int [n], classes from 0 on.
        mask: [n], 1 where a box is real.
        anchors: [a, 4].

    Returns:
        int32 [a], class plus one, 0 for the background, -1 for ignored anchors; [a, 4], the encoded box of positive
        anchors, else 0.
    """
    if not len(boxes):
        return jnp.zeros(len(anchors), jnp.int32), jnp.zeros_like(anchors)
    box, kind = match(boxes, mask, anchors)
    label = jnp.where(kind == 1, labels[box] + 1, jnp.minimum(kind, 0))
    target = jnp.where((kind == 1)[:, None], boxes[box], anchors)  # padding has no area and no logarithm
    return label.astype(jnp.int32), encode(target, anchors)
