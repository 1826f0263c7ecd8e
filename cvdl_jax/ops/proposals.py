"""Proposals of a first stage, and the sample of them that a second stage is trained on. All numbers are fixed.

Boxes are [ymin, xmin, ymax, xmax] in 0..1 (`ops/boxes.py`). Functions are of one image; `jax.vmap` makes them those of
a batch, with a key for each image, so that what is drawn does not depend on the layout of devices.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.anchors import match
from cvdl_jax.ops.boxes import area, decode, encode, iou
from cvdl_jax.ops.suppression import survivors


class Match(NamedTuple):
    """Overlaps that make a box an object or background.

    Attributes:
        positive: least IoU of an object.
        negative: IoU below which a box is background; what is between is ignored.
        lowest: IoU below which a box is ignored after all, in images with objects. Fast R-CNN takes 0.1.
    """

    positive: float
    negative: float
    lowest: float = 0.0


class Sample(NamedTuple):
    """How many boxes of an image are trained on, and the largest share of objects among them."""

    count: int
    share: float

    @property
    def objects(self) -> int:
        """The largest number of objects, at least 1: they are the first of a sample."""
        return max(int(self.count * self.share), 1)


def propose(
    objectness: Sequence[jax.Array],
    deltas: Sequence[jax.Array],
    anchors: Sequence[jax.Array],
    before: int,
    after: int,
    iou_threshold: float = 0.7,
) -> tuple[jax.Array, jax.Array]:
    """The best boxes of a region proposal network.

    On each level the `before` best anchors are decoded, cut to the image, and thinned by non-maximum suppression; the
    `after` best of what remains on all levels are the proposals.

    Args:
        objectness: of each level, [a_i].
        deltas: of each level, [a_i, 4].
        anchors: of each level, [a_i, 4].
        before: candidates of a level; all, where it has fewer.
        after: proposals.
        iou_threshold: of the suppression.

    Returns:
        [p, 4], zero where there is none, by falling objectness; float32 [p], 1 where there is one; p is `after`, or the
        number of all candidates where that is less. No gradient flows through them.

    Reference: Ren et al. 2015, "Faster R-CNN", section 3.3; by level as in Lin et al. 2017, section 4.1.
    """
    boxes, scores = [], []
    for score, delta, anchor in zip(*map(lax.stop_gradient, (objectness, deltas, anchors)), strict=True):
        score, place = lax.top_k(score, min(before, len(score)))
        box = jnp.clip(decode(delta[place], anchor[place]), 0, 1)
        boxes.append(box)
        scores.append(jnp.where(survivors(box, area(box) > 0, iou_threshold), score, -jnp.inf))
    boxes, scores = jnp.concatenate(boxes), jnp.concatenate(scores)
    score, place = lax.top_k(scores, min(after, len(scores)))
    there = score > -jnp.inf
    return jnp.where(there[:, None], boxes[place], 0), there.astype(jnp.float32)


def drawn(key: jax.Array, kind: jax.Array, sample: Sample) -> tuple[jax.Array, jax.Array]:
    """A random sample of boxes, with at most a share of objects; background takes the places that they leave.

    Args:
        key: of the image.
        kind: int [n], 1 for objects, 0 for background, -1 for what is not to be drawn.
        sample: its size and share.

    Returns:
        int32 [count], indices of objects, then of background, without repetition; bool [count], whether there is one:
        where background is short, a sample is smaller, and what was drawn is repeated behind it.

    Reference: Girshick 2015, "Fast R-CNN", section 2.3.
    """
    u = lax.optimization_barrier(
        jax.random.uniform(key, kind.shape, jnp.float32)
    )  # else it is drawn wherever it is read

    def some(of: int, most: int) -> tuple[jax.Array, jax.Array]:
        value, index = lax.top_k(jnp.where(kind == of, u, -1.0), min(most, len(kind)))
        short = most - len(value)
        return jnp.pad(index, (0, short)), jnp.pad(value, (0, short), constant_values=-1.0) >= 0

    objects, there = some(1, min(sample.objects, sample.count))
    background, others = some(0, sample.count)
    n, place = there.sum(), jnp.arange(sample.count)
    first = objects[jnp.minimum(place, len(objects) - 1)]
    rest = jnp.clip(place - n, 0, sample.count - 1)
    index = jnp.where(place < n, first, background[rest])
    valid = (place < n) | others[rest]
    return index[place % jnp.maximum(valid.sum(), 1)].astype(jnp.int32), valid  # valid ones are the first


def sample_anchors(
    key: jax.Array, boxes: jax.Array, mask: jax.Array, anchors: jax.Array, how: Match, sample: Sample
) -> dict[str, jax.Array]:
    """The anchors of an image that a region proposal network is trained on.

    Args:
        key: of the image.
        boxes: true ones, [t, 4]; t may be 0.
        mask: [t], 1 where a box is to be found.
        anchors: [a, 4].
        how: thresholds; a box's best anchor is an object, too.
        sample: size and share.

    Returns:
        "index": int32 [count]; "labels": int32 [count], 1 for objects, 0 for background, -1 where the sample is short;
        "targets": [count, 4], encoded boxes of objects, else 0.

    Reference: Ren et al. 2015, section 3.1.2: 0.7 and 0.3, 256 anchors, half of them objects at most.
    """
    matched, kind = match(boxes, mask, anchors, how.positive, how.negative)
    index, valid = drawn(key, kind, sample)
    labels = jnp.where(valid, kind[index], -1)
    return {"index": index, "labels": labels, "targets": _targets(boxes, matched[index], labels, anchors[index])}


def sample_regions(
    key: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    mask: jax.Array,
    regions: jax.Array,
    real: jax.Array,
    how: Match,
    sample: Sample,
) -> dict[str, jax.Array]:
    """The regions of an image that a second stage is trained on.

    Args:
        key: of the image.
        boxes: true ones, [t, 4]; t may be 0.
        labels: their classes, int [t].
        mask: [t], 1 where a box is to be found.
        regions: [r, 4].
        real: [r], 1 where there is a region; one without area is not drawn either.
        how: thresholds.
        sample: size and share.

    Returns:
        "index": int32 [count]; "labels": int32 [count], class plus one, objects first, then 0 for background, -1 where
        the sample is short; "matched": int32 [count], which true box a region belongs to, meaningful for objects;
        "targets": [count, 4], encoded boxes of objects, else 0.

    Reference: Girshick 2015, section 2.3.
    """
    matched, kind = match(boxes, mask, regions, how.positive, how.negative, best_anchor=False)
    if how.lowest > 0 and len(boxes):
        overlap = jnp.where(mask[None] > 0, iou(regions, boxes), 0).max(1)
        kind = jnp.where((kind == 0) & (overlap < how.lowest) & (mask > 0).any(), -1, kind)
    kind = jnp.where((real > 0) & (area(regions) > 0), kind, -1)
    index, valid = drawn(key, kind, sample)
    kind, matched = jnp.where(valid, kind[index], -1), matched[index]
    label = jnp.where(kind == 1, labels[matched] + 1, kind) if len(boxes) else kind
    targets = _targets(boxes, matched, kind, regions[index])
    return {"index": index, "labels": label.astype(jnp.int32), "matched": matched, "targets": targets}


def _targets(boxes: jax.Array, matched: jax.Array, kind: jax.Array, references: jax.Array) -> jax.Array:
    """The encoded true box of each object, 0 for others, whose references may have no area."""
    if not len(boxes):
        return jnp.zeros_like(references)
    one = (kind == 1)[:, None]
    unit = jnp.asarray([[0, 0, 1, 1]], references.dtype)
    return encode(jnp.where(one, boxes[matched].astype(references.dtype), unit), jnp.where(one, references, unit))
