"""Panoptic quality: segments of an image matched with true ones, counted image by image; and masks as images of ids.

    counts = of_images(predicted, truth, num_classes)
    summary(counts, class_names)

Segments are an image of ids, 0 for none, and the class of id k at k - 1. Of two segments of one class with an IoU above
one half there is no other pair with either of them, so that matching needs no order and no choice.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.confusion import mean_of_known, ratio
from cvdl_jax.ops.images.watershed import boxes_of
from cvdl_jax.ops.panoptic import with_stuff


class Counts(NamedTuple):
    """What is counted of segments, for each class; to be added up.

    Attributes:
        iou: float64 [c], the sum of the IoUs of matched pairs.
        matched: int64 [c], true positives.
        extra: int64 [c], predicted segments without a partner, false positives.
        missed: int64 [c], true segments without a partner, false negatives.
    """

    iou: np.ndarray
    matched: np.ndarray
    extra: np.ndarray
    missed: np.ndarray


class Segments(NamedTuple):
    """How each segment of one image ended.

    Attributes:
        iou: float64 [d], of predicted segments with their partners, 0 without one.
        right: bool [d], predicted segments with a partner.
        extra: bool [d], false positives; neither for segments that are not there, or that lie in void or a crowd.
        hit: bool [t], true segments with a partner.
        missed: bool [t], false negatives; neither for crowds and segments that are not there.
    """

    iou: np.ndarray
    right: np.ndarray
    extra: np.ndarray
    hit: np.ndarray
    missed: np.ndarray


def matched(
    ids: Any,
    classes: Any,
    true_ids: Any,
    true_classes: Any,
    true_mask: Any = None,
    crowd: Any = None,
    void: Any = None,
) -> Segments:
    """Matches the segments of one image.

    Two segments of one class are partners if their IoU is above one half, where pixels of the prediction that the truth
    calls void do not count. A predicted segment without a partner, more than half of which is void or crowd of its
    class, is not counted.

    Args:
        ids: int [h, w], 0 for no segment.
        classes: int [d], the class of id k at k - 1; an id without a pixel is no segment.
        true_ids: int [h, w].
        true_classes: int [t].
        true_mask: [t], 1 where a true segment is real; it is missed even if it has no pixel. None for those that have
            pixels.
        crowd: bool [t], true segments that stand for many objects; None for none.
        void: bool [h, w], pixels of which the truth says nothing; None for none. Pixels with the true id 0 are not
            void by themselves: they are there, and belong to none of the segments.

    Raises:
        DataError: for images of different sizes, or an id that has no class.

    Reference: Kirillov et al. 2019, "Panoptic Segmentation", sections 4.1 and 4.2.
    """
    ids, true_ids = (np.asarray(x, np.int64) for x in (ids, true_ids))  # a pair's number is too large for small ones
    classes, true_classes = np.asarray(classes), np.asarray(true_classes)
    d, t = len(classes), len(true_classes)
    if ids.shape != true_ids.shape:
        raise DataError(f"predicted segments have {list(ids.shape)} pixels, true ones {list(true_ids.shape)}")
    for name, x, n in (("predicted", ids, d), ("true", true_ids, t)):
        if x.size and not 0 <= x.min() <= x.max() <= n:
            raise DataError(f"the {name} ids reach from {x.min()} to {x.max()}, and there are classes for 1 to {n}")
    is_void = np.zeros(ids.shape, bool) if void is None else np.asarray(void, bool)
    table = np.bincount(
        (np.where(is_void, t + 1, true_ids) * (d + 1) + ids).reshape(-1), minlength=(t + 2) * (d + 1)
    ).reshape(t + 2, d + 1)  # [true, predicted] pixels; the last row is void
    in_void, shared = table[t + 1, 1:], table[1 : t + 1, 1:]  # [d], [t, d]
    area, true_area = table[:, 1:].sum(0), table[1 : t + 1].sum(1)
    crowd = np.zeros(t, bool) if crowd is None else np.asarray(crowd) > 0
    real = true_area > 0 if true_mask is None else np.asarray(true_mask) > 0
    same = true_classes[:, None] == classes[None]  # [t, d]
    iou = ratio(shared, true_area[:, None] + area[None] - shared - in_void[None])
    pairs = same & (iou > 0.5) & (real & ~crowd)[:, None]
    right, hit = pairs.any(0), pairs.any(1)
    excused = in_void + np.where(same & (crowd & real)[:, None], shared, 0).sum(0)
    extra = (area > 0) & ~right & ~(excused > 0.5 * area)
    return Segments(np.where(pairs, iou, 0).sum(0), right, extra, hit, real & ~crowd & ~hit)


def of_image(predicted: Mapping[str, Any], truth: Mapping[str, Any], i: int) -> Segments:
    """`matched` of image i.

    Args:
        predicted: ids int [n, h, w], classes int [n, d].
        truth: ids int [n, h, w], classes int [n, t], mask [n, t], perhaps crowd and difficult bool [n, t] and void
            bool [n, h, w]; what lies in any of them is not counted.
        i: a row.
    """
    flags = [np.asarray(truth[name][i]) > 0 for name in ("crowd", "difficult") if name in truth]
    crowd = np.any(flags, axis=0) if flags else None
    masks = predicted["ids"][i], predicted["classes"][i], truth["ids"][i], truth["classes"][i]
    return matched(*masks, truth["mask"][i], crowd, truth["void"][i] if "void" in truth else None)


def of_images(predicted: Mapping[str, Any], truth: Mapping[str, Any], num_classes: int) -> Counts:
    """The counts of all images, added up; arguments as of `of_image`."""
    total = sum_of((), num_classes)
    for i in range(len(predicted["ids"])):
        end = of_image(predicted, truth, i)
        total = sum_of((total, counted(end, predicted["classes"][i], truth["classes"][i], num_classes)), num_classes)
    return total


def with_stuff_of_images(
    is_stuff: np.ndarray, number: np.ndarray, objects: Mapping[str, Any], semantic: Any, least_pixels: int = 0
) -> dict[str, np.ndarray]:
    """Objects and stuff of images together, as `of_images` takes them: `ops.panoptic.with_stuff` for each image.

    Args:
        is_stuff: bool [s], which labels of a semantic map are stuff.
        number: int [s], the class of each of those labels.
        objects: ids int [n, h, w], classes int [n, d], mask [n, d], perhaps crowd and difficult bool [n, d].
        semantic: int [n, h, w], labels below s.
        least_pixels: of the stuff of a class in an image; what has fewer is void.

    Returns:
        ids [n, h, w], classes and mask [n, d + s], of objects first; crowd and difficult, if given, likewise.
    """
    fill = jax.jit(jax.vmap(partial(with_stuff, is_stuff=jnp.asarray(is_stuff), least_pixels=least_pixels)))
    ids, classes = map(np.asarray, fill(objects["ids"], objects["classes"], np.asarray(semantic, np.int32)))
    d, n = np.shape(objects["classes"])[1], len(is_stuff)
    there = np.stack([np.bincount(x.reshape(-1), minlength=d + n + 1)[d + 1 :] > 0 for x in ids])
    flags = {name: np.asarray(objects[name]) > 0 for name in ("crowd", "difficult") if name in objects}
    return {
        "ids": ids,
        "classes": np.concatenate([classes[:, :d], np.asarray(number)[classes[:, d:]]], 1),
        "mask": np.concatenate([np.asarray(objects["mask"]) > 0, there], 1),
        **{name: np.concatenate([x, np.zeros_like(there)], 1) for name, x in flags.items()},
    }


def counted(segments: Segments, classes: Any, true_classes: Any, num_classes: int) -> Counts:
    """The counts of one image whose segments are matched.

    Args:
        segments: from `matched`.
        classes: int [d].
        true_classes: int [t].
        num_classes: c.

    Raises:
        DataError: for a counted segment whose class is none of them.
    """
    classes, true_classes = np.asarray(classes, np.int64), np.asarray(true_classes, np.int64)
    for name, x in (("predicted", classes[segments.right | segments.extra]), ("true", true_classes[segments.missed])):
        if x.size and not 0 <= x.min() <= x.max() < num_classes:
            raise DataError(f"a {name} segment has the class {x.max()}, and there are {num_classes} classes")

    def per_class(which: np.ndarray, of: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        return np.bincount(of[which], None if weights is None else weights[which], minlength=num_classes)

    return Counts(
        per_class(segments.right, classes, segments.iou).astype(np.float64),
        per_class(segments.right, classes),
        per_class(segments.extra, classes),
        per_class(segments.missed, true_classes),
    )


def sum_of(counts: Iterable[Counts], num_classes: int) -> Counts:
    """The counts of images added up; zeros of none."""
    total = Counts(np.zeros(num_classes), *(np.zeros(num_classes, np.int64) for _ in range(3)))
    for one in counts:
        total = Counts(*(a + b for a, b in zip(total, one, strict=True)))
    return total


def per_class(counts: Counts) -> dict[str, np.ndarray]:
    """The measures of each class: float64 [c], NaN for a class that neither truth nor predictions have.

        PQ = sum IoU / (TP + FP / 2 + FN / 2) = SQ RQ,    SQ = sum IoU / TP,    RQ = TP / (TP + FP / 2 + FN / 2)

    Returns:
        pq, sq and rq; sq is 0 for a class of which nothing matches.

    Reference: Kirillov et al. 2019, "Panoptic Segmentation", equations 1 and 2.
    """
    whole = counts.matched + (counts.extra + counts.missed) / 2
    known = whole > 0
    sq = np.where(counts.matched > 0, counts.iou / np.maximum(counts.matched, 1), 0.0)
    pq, rq = counts.iou / np.where(known, whole, 1), counts.matched / np.where(known, whole, 1)
    return {name: np.where(known, x, np.nan) for name, x in (("pq", pq), ("sq", sq), ("rq", rq))}


def summary(counts: Counts, class_names: Sequence[str] = ()) -> dict[str, float]:
    """The measures of a set.

    Args:
        counts: added over its images.
        class_names: one per class, or () for numbers.

    Returns:
        pq, sq and rq, means over the classes that truth or predictions have (0 if none does); "pq/NAME" of each class,
        where there are several.
    """
    classes = per_class(counts)
    means = {name: float(np.nan_to_num(mean_of_known(x))) for name, x in classes.items()}
    names = class_names if len(class_names) == len(counts.iou) else range(len(counts.iou))
    several = {f"pq/{name}": float(x) for name, x in zip(names, classes["pq"], strict=True)}
    return {**means, **(several if len(several) > 1 else {})}


class Masks:
    """The masks of all images, made as they are asked for: masks[i, k] is bool [h, w], masks[i] is [d, h, w].

    Args:
        make: (image i) -> bool [d, h, w].
    """

    def __init__(self, make: Callable[[int], np.ndarray]):
        self._make, self._last = make, (-1, np.zeros(0))

    def __getitem__(self, place: int | tuple[int, int]) -> np.ndarray:
        """The masks of image `place`, or the mask (image, object)."""
        i, *k = place if isinstance(place, tuple) else (place,)
        if self._last[0] != i:
            self._last = int(i), self._make(int(i))
        return self._last[1][k[0]] if k else self._last[1]


def masks_of(ids: np.ndarray, most: int) -> Masks:
    """The masks of the objects 1 ... most of images of ids, int [n, h, w], for `metrics.detection`."""
    numbers = np.arange(1, most + 1)[:, None, None]
    return Masks(lambda i: np.asarray(ids[i])[None] == numbers)


def all_boxes(ids: np.ndarray, most: int) -> np.ndarray:
    """The boxes of the objects 1 ... most of images of ids, int [n, h, w]: float64 [n, most, 4] in 0..1."""
    return np.stack([boxes_of(x, most) for x in ids]) if len(ids) else np.zeros((0, most, 4))
