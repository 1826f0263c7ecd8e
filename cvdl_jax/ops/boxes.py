"""Boxes: formats, overlap, anchors, matching, and non-maximum suppression of a fixed size.

Boxes are [ymin, xmin, ymax, xmax] in any unit, 0..1 in batches. Other formats are named: "centres" are [cy, cx, h, w]
and "xywh" is COCO's [xmin, ymin, w, h]. Functions accept any leading axes unless their docstring gives the shape.
"""

from collections.abc import Callable, Sequence
from functools import reduce

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config.binding import Probability, Size


def to_centres(boxes: jax.Array) -> jax.Array:
    """[ymin, xmin, ymax, xmax] as [cy, cx, h, w]: [..., 4]."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return jnp.concatenate([(low + high) / 2, high - low], -1)


def from_centres(centres: jax.Array) -> jax.Array:
    """[cy, cx, h, w] as [ymin, xmin, ymax, xmax]: [..., 4]."""
    centre, half = centres[..., :2], centres[..., 2:] / 2
    return jnp.concatenate([centre - half, centre + half], -1)


def to_xywh(boxes: jax.Array) -> jax.Array:
    """[ymin, xmin, ymax, xmax] as [xmin, ymin, w, h]: [..., 4]."""
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    return jnp.stack([xmin, ymin, xmax - xmin, ymax - ymin], -1)


def from_xywh(boxes: jax.Array) -> jax.Array:
    """[xmin, ymin, w, h] as [ymin, xmin, ymax, xmax]: [..., 4]."""
    x, y, w, h = (boxes[..., i] for i in range(4))
    return jnp.stack([y, x, y + h, x + w], -1)


def to_pixels(boxes: jax.Array, height: int, width: int) -> jax.Array:
    """Boxes in 0..1 as boxes in pixels of an image: [..., 4]. Divide by the same numbers for the inverse."""
    return boxes * jnp.asarray([height, width, height, width], boxes.dtype).reshape((1,) * (boxes.ndim - 1) + (4,))


def area(boxes: jax.Array) -> jax.Array:
    """Areas [...] of boxes [..., 4]; 0 where a side is zero or negative."""
    sides = jnp.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of every pair, `|A n B| / |A u B|`.

    Args:
        a: [..., n, 4].
        b: [..., m, 4].

    Returns:
        [..., n, m] in 0..1; 0 for two empty boxes.
    """
    return _overlap(a, b)[0]


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU of every pair, `IoU - (|C| - |A u B|) / |C|`, C the smallest box around both.

    Args:
        a: [..., n, 4].
        b: [..., m, 4].

    Returns:
        [..., n, m] in (-1, 1]; unlike IoU it distinguishes near boxes from far ones.

    Reference: Rezatofighi et al. 2019, "Generalized Intersection over Union", algorithm 1.
    """
    ratio, union, low, high = _overlap(a, b)
    around = area(jnp.concatenate([low, high], -1))  # [..., n, m]
    return ratio - _divide(around - union, around)


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """IoU and union [..., n, m], and both corners [..., n, m, 2] of the box around each pair."""
    a, b = a[..., :, None, :], b[..., None, :, :]  # [..., n, 1, 4], [..., 1, m, 4]
    low, high = jnp.maximum(a[..., :2], b[..., :2]), jnp.minimum(a[..., 2:], b[..., 2:])  # [..., n, m, 2]
    shared = area(jnp.concatenate([low, high], -1))  # [..., n, m]
    union = area(a) + area(b) - shared
    around = jnp.minimum(a[..., :2], b[..., :2]), jnp.maximum(a[..., 2:], b[..., 2:])
    return _divide(shared, union), union, *around


def _divide(x: jax.Array, y: jax.Array) -> jax.Array:
    """`x / y`, or 0 where y is 0; the inner `where` keeps the gradient finite."""
    return jnp.where(y > 0, x / jnp.where(y > 0, y, 1), 0)


def encode(boxes: jax.Array, anchors: jax.Array) -> jax.Array:
    """The offsets from anchors to boxes: `t_y = (y - y_a) / h_a, t_h = log(h / h_a)`, and x, w likewise.

    Args:
        boxes: [..., 4], of positive area.
        anchors: [..., 4], of positive area.

    Returns:
        [..., 4]: (t_y, t_x, t_h, t_w).

    Reference: Ren et al. 2015, "Faster R-CNN", equation 2.
    """
    b, a = to_centres(boxes), to_centres(anchors)
    return jnp.concatenate([(b[..., :2] - a[..., :2]) / a[..., 2:], jnp.log(b[..., 2:] / a[..., 2:])], -1)


def decode(deltas: jax.Array, anchors: jax.Array, largest: float = 4.135) -> jax.Array:
    """The inverse of `encode`: the boxes of given offsets.

    Args:
        deltas: [..., 4]: (t_y, t_x, t_h, t_w).
        anchors: [..., 4].
        largest: bound on t_h and t_w, so that extreme predictions stay finite; log(1000 / 16) is usual.

    Returns:
        [..., 4].
    """
    a = to_centres(anchors)
    sides = jnp.exp(jnp.minimum(deltas[..., 2:], largest)) * a[..., 2:]
    return from_centres(jnp.concatenate([deltas[..., :2] * a[..., 2:] + a[..., :2], sides], -1))


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
    cy, cx = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    size, ratio = np.meshgrid(sizes, ratios, indexing="ij")  # [s, r]
    h, w = (size * np.sqrt(ratio)).reshape(-1), (size / np.sqrt(ratio) * aspect).reshape(-1)  # [s * r]
    centre = np.broadcast_to(np.stack([cy, cx], -1).reshape(-1, 1, 2), (rows * columns, len(h), 2))
    half = np.broadcast_to(np.stack([h, w], -1) / 2, centre.shape)
    return np.concatenate([centre - half, centre + half], -1).reshape(-1, 4).astype(np.float32)


def match(
    boxes: jax.Array, mask: jax.Array, anchors: jax.Array, positive: Probability = 0.5, negative: Probability = 0.4
) -> tuple[jax.Array, jax.Array]:
    """Assigns boxes to anchors for training.

    An anchor is positive if its IoU with some box is at least `positive`, or if it is a box's best anchor, so that
    every box has an anchor. It belongs to the box with the largest IoU (the first of equals). It is negative if all its
    IoUs are below `negative`, else ignored.

    Args:
        boxes: [n, 4]; n may be 0, where every anchor is negative.
        mask: [n], 1 where a box is real.
        anchors: [a, 4].
        positive: threshold.
        negative: threshold, at most `positive`.

    Returns:
        int32 [a], the box of each anchor (meaningful where it is positive); int32 [a], 1 positive, 0 negative, -1
        ignored.

    Reference: Ren et al. 2015, "Faster R-CNN", section 3.1.2 (0.7 and 0.3); Lin et al. 2017, "Focal Loss", section 4
    (0.5 and 0.4).
    """
    if not len(boxes):  # an image without objects is all background
        return jnp.zeros(len(anchors), jnp.int32), jnp.zeros(len(anchors), jnp.int32)
    overlaps = jnp.where(mask[None] > 0, iou(anchors, boxes), -1.0)  # [a, n]
    best_anchor = overlaps.argmax(0)  # [n]
    forced = (jnp.arange(len(anchors))[:, None] == best_anchor[None]) & (overlaps > 0)  # [a, n]
    overlap = overlaps.max(1)  # [a]
    is_forced = forced.any(1)
    box = jnp.where(is_forced, jnp.where(forced, overlaps, -1.0).argmax(1), overlaps.argmax(1))
    kind = jnp.where(is_forced | (overlap >= positive), 1, jnp.where(overlap < negative, 0, -1))
    return box.astype(jnp.int32), kind.astype(jnp.int32)


def wanted(mask: jax.Array, flags: Sequence[jax.Array]) -> jax.Array:
    """The mask [..., n] of boxes without those that one of the flags, bool [..., n], says are not to be found."""
    return reduce(lambda left, flag: jnp.where(flag, 0, left), flags, mask)


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


def nms(
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array,
    keep: int,
    iou_threshold: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """Greedy non-maximum suppression: keep the best box, remove those of its class with IoU >= the threshold, repeat.

    Args:
        boxes: [n, 4].
        scores: [n].
        classes: int [n]; boxes of different classes do not suppress each other.
        keep: largest number of boxes that are kept.
        iou_threshold: in (0, 1].
        score_threshold: boxes with scores up to this are not considered.

    Returns:
        int32 [keep], indices into `boxes` by falling score (the first of equals), 0 where there is none; bool [keep],
        whether there is one.
    """
    nothing = -jnp.inf

    def pick(i: jax.Array, carry: tuple) -> tuple:
        left, places, valid = carry
        best = left.argmax()
        overlap = iou(boxes[best][None], boxes)[0]  # [n]
        gone = (overlap >= iou_threshold) & (classes == classes[best])
        gone = gone.at[best].set(True)  # also if it has no area
        is_one = left[best] > nothing
        return jnp.where(gone, nothing, left), places.at[i].set(jnp.where(is_one, best, 0)), valid.at[i].set(is_one)

    start = jnp.where(scores > score_threshold, scores, nothing)
    _, places, valid = lax.fori_loop(
        0, keep, pick, (start, jnp.zeros(keep, jnp.int32), jnp.zeros(keep, bool))
    )  # fmt: skip
    return places, valid


def detections(
    boxes: jax.Array,
    scores: jax.Array,
    candidates: Size = 200,
    keep: Size = 20,
    iou_threshold: Probability = 0.5,
    score_threshold: Probability = 0.05,
) -> dict[str, jax.Array]:
    """The detections of one image: the best pairs of box and class that remain after `nms`.

    Args:
        boxes: [a, 4]; they are clipped to 0..1.
        scores: [a, k], of each class.
        candidates: pairs that enter the suppression.
        keep: largest number of detections.
        iou_threshold: of the suppression.
        score_threshold: pairs with scores up to this are no detections.

    Returns:
        boxes [keep, 4], classes int32 [keep], scores [keep] and mask float32 [keep], 1 where there is a detection;
        by falling score, zero where there is none.
    """
    k = scores.shape[1]
    best, place = lax.top_k(scores.reshape(-1), min(candidates, scores.size))
    boxes, classes = jnp.clip(boxes, 0, 1)[place // k], place % k
    places, valid = nms(boxes, best, classes, keep, iou_threshold, score_threshold)
    return {
        "boxes": jnp.where(valid[:, None], boxes[places], 0),
        "classes": jnp.where(valid, classes[places], 0),
        "scores": jnp.where(valid, best[places], 0),
        "mask": valid.astype(jnp.float32),
    }
