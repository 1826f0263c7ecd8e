"""Non-maximum suppression of a fixed size, hard and soft, and the detections of an image.

Boxes are [ymin, xmin, ymax, xmax] (`ops/boxes.py`). Everything here has static shapes: results are padded, and a mask
says what is real.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Positive, Probability, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.boxes import iou


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
    if not len(boxes):
        return jnp.zeros(keep, jnp.int32), jnp.zeros(keep, bool)

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


def survivors(boxes: jax.Array, valid: jax.Array, iou_threshold: float = 0.5) -> jax.Array:
    """What greedy suppression keeps of sorted boxes, in a few parallel rounds: `nms` takes one step for each box.

    A box is kept if no kept box before it overlaps with it. Begun with all boxes kept, round i settles the first i at
    least, mostly many more, so that rounds repeat until nothing changes.

    Args:
        boxes: [n, 4], by falling score.
        valid: bool [n]; the others are neither kept nor do they suppress.
        iou_threshold: in (0, 1].

    Returns:
        bool [n].
    """
    place = jnp.arange(len(boxes))
    over = (iou(boxes, boxes) >= iou_threshold) & (place[:, None] < place[None])  # [suppressing, suppressed]

    def settle(carry: tuple) -> tuple:
        kept, _ = carry
        new = valid & ~(over & kept[:, None]).any(0)
        return new, (new != kept).any()

    return lax.while_loop(lambda carry: carry[1], settle, (valid, valid.any()))[0]


def soft_nms(
    boxes: jax.Array,
    scores: jax.Array,
    classes: jax.Array,
    keep: int,
    decay: Literal["linear", "gaussian"] = "gaussian",
    iou_threshold: float = 0.5,
    sigma: float = 0.5,
    score_threshold: float = 0.0,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Soft suppression: take the best box, lower the scores of those of its class that overlap with it, repeat.

    A score is multiplied by `1 - IoU` where the IoU is at least the threshold ("linear"), or by `exp(-IoU^2 / sigma)`.

    Args:
        boxes: [n, 4].
        scores: [n].
        classes: int [n]; boxes of different classes do not lower each other's scores.
        keep: largest number of boxes that are kept.
        decay: "linear" or "gaussian".
        iou_threshold: of the linear form.
        sigma: of the Gaussian form.
        score_threshold: a box whose score is not above this, at first or by then, is not taken.

    Returns:
        int32 [keep], indices into `boxes` in the order in which they were taken, 0 where there is none; [keep], their
        scores at that time; bool [keep], whether there is one.

    Reference: Bodla et al. 2017, "Soft-NMS: Improving Object Detection With One Line of Code", equations 2 and 3.
    """
    nothing = -jnp.inf
    if not len(boxes):
        return jnp.zeros(keep, jnp.int32), jnp.zeros(keep, scores.dtype), jnp.zeros(keep, bool)

    def pick(i: jax.Array, carry: tuple) -> tuple:
        left, places, values, valid = carry
        best = left.argmax()
        value = left[best]
        is_one = value > score_threshold
        overlap = jnp.where(classes == classes[best], iou(boxes[best][None], boxes)[0], 0)  # [n]
        linear = jnp.where(overlap >= iou_threshold, 1 - overlap, 1)
        factor = linear if decay == "linear" else jnp.exp(-(overlap**2) / sigma)
        left = jnp.where(left > nothing, left * factor, nothing)  # 0 times infinity is no number
        places = places.at[i].set(jnp.where(is_one, best, 0))
        values, valid = values.at[i].set(jnp.where(is_one, value, 0)), valid.at[i].set(is_one)
        return left.at[best].set(nothing), places, values, valid

    start = jnp.where(scores > score_threshold, scores, nothing)
    empty = jnp.zeros(keep, jnp.int32), jnp.zeros(keep, scores.dtype), jnp.zeros(keep, bool)
    return lax.fori_loop(0, keep, pick, (start, *empty))[1:]


def detections(
    boxes: jax.Array,
    scores: jax.Array,
    candidates: Size = 200,
    keep: Size = 20,
    iou_threshold: Probability | None = None,
    score_threshold: Probability = 0.05,
    suppression: Literal["hard", "linear", "gaussian"] = "hard",
    sigma: Positive | None = None,
) -> dict[str, jax.Array]:
    """The detections of one image: the best pairs of box and class that remain after `nms` or `soft_nms`.

    Args:
        boxes: [a, 4], or [a, k, 4], one for each class; they are clipped to 0..1.
        scores: [a, k], of each class.
        candidates: pairs that enter the suppression.
        keep: largest number of detections.
        iou_threshold: of the suppression, 0.5 for None; the Gaussian decay has none.
        score_threshold: pairs with scores up to this are no detections.
        suppression: "hard", or the decay of `soft_nms`.
        sigma: of the Gaussian decay, 0.5 for None.

    Returns:
        boxes [keep, 4], classes int32 [keep], scores [keep] and mask float32 [keep], 1 where there is a detection;
        by falling score, zero where there is none. Where a score of the image is no number, all scores are NaN and all
        rows count: an image of which nothing can be told is no image without objects.

    Raises:
        ConfigError: for a number that the suppression does not read.
    """
    if sigma is not None and suppression != "gaussian":
        raise ConfigError(f"sigma={sigma} has no effect on suppression={suppression!r}; set suppression='gaussian'")
    if iou_threshold is not None and suppression == "gaussian":
        raise ConfigError(f"iou_threshold={iou_threshold} has no effect on suppression='gaussian'; set sigma instead")
    sigma, iou_threshold = sigma or 0.5, 0.5 if iou_threshold is None else iou_threshold
    broken, k = jnp.isnan(scores).any(), scores.shape[1]
    best, place = lax.top_k(scores.reshape(-1), min(candidates, scores.size))
    of_box = place // k if boxes.ndim == 2 else place
    boxes, classes = jnp.clip(boxes, 0, 1).reshape(-1, 4)[of_box], place % k
    if suppression == "hard":
        places, valid = nms(boxes, best, classes, keep, iou_threshold, score_threshold)
        values = best[places]
    else:
        how = (suppression, iou_threshold, sigma, score_threshold)
        places, values, valid = soft_nms(boxes, best, classes, keep, *how)
    return {
        "boxes": jnp.where(valid[:, None], boxes[places], 0),
        "classes": jnp.where(valid, classes[places], 0),
        "scores": jnp.where(broken, jnp.nan, jnp.where(valid, values, 0)),
        "mask": (valid | broken).astype(jnp.float32),
    }
