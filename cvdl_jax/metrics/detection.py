"""Detections on the host: overlaps (IoU), PASCAL VOC's average precision of our own, and COCO's through pycocotools.

Predictions and truth are padded arrays of all images: boxes [n, d, 4] ([ymin, xmin, ymax, xmax]), classes int [n, d],
scores [n, d], and mask [n, d], 1 where an entry is real. Instances have `masks` bool [n, d, h, w] in place of boxes.
Truth may have `difficult` and `crowd`, bool [n, t]: objects that need not be found. A detection that belongs to one is
neither right nor wrong, as in the development kit of PASCAL VOC and in COCO's. A crowd takes any number of detections
that no ordinary object takes, each measured by the part of its own area that is inside, not by the IoU.
"""

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.confusion import mean_of_known
from cvdl_jax.metrics.ranking import Form, average_precision

Kind = Literal["boxes", "masks"]
Padded = Mapping[str, np.ndarray]
COCO_THRESHOLDS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())


def pairwise_iou(a: np.ndarray, b: np.ndarray, inside: bool = False) -> np.ndarray:
    """IoU of boxes [n, 4] and [m, 4] in float64: [n, m]; 0 for two empty boxes.

    With `inside` it is the part of a's area that lies in b, COCO's measure for crowds.
    """
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]

    def sides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.prod(np.maximum(high - low, 0), -1)

    shared = sides(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    first, second = sides(a[..., :2], a[..., 2:]), sides(b[..., :2], b[..., 2:])
    return _share(shared, first if inside else first + second - shared)


def pairwise_mask_iou(a: np.ndarray, b: np.ndarray, inside: bool = False) -> np.ndarray:
    """IoU of binary masks [n, h, w] and [m, h, w] in pixels: float64 [n, m]; 0 for two empty masks.

    With `inside` it is the part of a's pixels that lies in b.

    Raises:
        DataError: for masks that are not binary, or of different size.
    """
    flat = []
    for name, masks in (("first", a), ("second", b)):
        masks = np.asarray(masks)
        if masks.ndim != 3 or np.shape(a)[1:] != np.shape(b)[1:]:
            raise DataError(f"masks must be [n, h, w] and [m, h, w], got {list(np.shape(a))} and {list(np.shape(b))}")
        if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
            raise DataError(f"the {name} masks hold other values than 0 and 1; threshold them first")
        flat.append(masks.reshape(len(masks), math.prod(masks.shape[1:])).astype(np.float64))  # [n, h w]
    shared = flat[0] @ flat[1].T
    first, second = flat[0].sum(1)[:, None], flat[1].sum(1)[None]
    return _share(shared, first if inside else first + second - shared)


def _share(shared: np.ndarray, whole: np.ndarray) -> np.ndarray:
    whole = np.broadcast_to(whole, shared.shape)
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


OVERLAPS = {"boxes": pairwise_iou, "masks": pairwise_mask_iou}


def assign(
    overlaps: np.ndarray,
    scores: np.ndarray,
    threshold: float = 0.5,
    difficult: np.ndarray | None = None,
    in_crowds: np.ndarray | None = None,
) -> np.ndarray:
    """Which detections of one image and class are true positives.

    In the order of their scores (the first of equals first), each looks at the true box with which it overlaps most; it
    is true if their IoU is at least the threshold and no better detection has taken that box: duplicates are false. If
    that box is difficult, or else if the detection lies in a crowd, it is neither true nor false.

    Args:
        overlaps: IoUs of detections and true boxes, [d, t].
        scores: [d].
        threshold: in (0, 1].
        difficult: bool [t]; None for no such box.
        in_crowds: the part of each detection's area that lies in each crowd, [d, c]; None for no crowd.

    Returns:
        int [d], in the order of the arguments: 1 true, 0 false, -1 neither.

    Reference: Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", section 4.2, and its development
    kit, `VOCevaldet.m`.
    """
    difficult = np.zeros(overlaps.shape[1], bool) if difficult is None else np.asarray(difficult) > 0
    hits, taken = np.zeros(len(scores), int), np.zeros(overlaps.shape[1], bool)
    for i in np.argsort(-np.asarray(scores), kind="stable") if overlaps.size else ():
        best = overlaps[i].argmax()
        if overlaps[i, best] < threshold:
            continue
        hits[i] = -1 if difficult[best] else not taken[best]
        taken[best] |= hits[i] == 1
    if in_crowds is not None and in_crowds.shape[1]:
        hits[(hits == 0) & (in_crowds.max(1) >= threshold)] = -1
    return hits


def voc_ap(
    predicted: Padded,
    truth: Padded,
    num_classes: int,
    threshold: float = 0.5,
    form: Form = "all_point",
    kind: Kind = "boxes",
) -> np.ndarray:
    """Average precision of every class.

    Args:
        predicted: boxes or masks, classes, scores and mask.
        truth: boxes or masks, classes and mask.
        num_classes: classes are 0 ... num_classes - 1.
        threshold: IoU at which a detection counts.
        form: see `average_precision`.
        kind: which IoU, of boxes or of masks.

    Returns:
        float64 [num_classes]; NaN for a class without true objects.
    """
    return _voc_table(predicted, truth, num_classes, (threshold,), form, kind)[0]


def mean_average_precision(
    predicted: Padded,
    truth: Padded,
    num_classes: int,
    thresholds: Sequence[float] = (0.5,),
    form: Form = "all_point",
    kind: Kind = "boxes",
) -> float:
    """mAP: the mean of the average precisions over classes and IoU thresholds.

    Args:
        predicted: see `voc_ap`.
        truth: see `voc_ap`.
        num_classes: classes are 0 ... num_classes - 1; those without true objects are left out.
        thresholds: of the IoU; `COCO_THRESHOLDS` are 0.5, 0.55 ... 0.95.
        form: see `average_precision`.
        kind: which IoU, of boxes or of masks.

    Returns:
        0..1; NaN without any true object.
    """
    return mean_of_known(_voc_table(predicted, truth, num_classes, thresholds, form, kind))


def _voc_table(
    predicted: Padded, truth: Padded, num_classes: int, thresholds: Sequence[float], form: Form, kind: Kind
) -> np.ndarray:
    """Average precisions [thresholds, classes]."""
    _check(predicted, truth, thresholds, kind)
    table = np.full((len(thresholds), num_classes), np.nan)
    difficult, crowd = (_flags(truth, name) for name in ("difficult", "crowd"))
    for c in range(num_classes):
        chosen = (np.asarray(predicted["mask"]) > 0) & (predicted["classes"] == c)  # [n, d]
        real = (np.asarray(truth["mask"]) > 0) & (truth["classes"] == c)  # [n, t]
        single, crowds = real & ~crowd, real & crowd
        scores = [predicted["scores"][i][chosen[i]] for i in range(len(chosen))]
        detections = [predicted[kind][i][chosen[i]] for i in range(len(chosen))]
        overlaps = [OVERLAPS[kind](x, truth[kind][i][single[i]]) for i, x in enumerate(detections)]
        inside = [OVERLAPS[kind](x, truth[kind][i][crowds[i]], inside=True) for i, x in enumerate(detections)]
        hard = [difficult[i][single[i]] for i in range(len(chosen))]
        order = np.argsort(-np.concatenate(scores), kind="stable") if scores else np.zeros(0, int)
        for k, threshold in enumerate(thresholds):
            hits = [
                assign(o, s, threshold, d, share) for o, s, d, share in zip(overlaps, scores, hard, inside, strict=True)
            ]
            hits = np.concatenate(hits)[order] if hits else np.zeros(0, int)
            table[k, c] = average_precision(hits[hits >= 0], int((single & ~difficult).sum()), form)
    return table


def _flags(truth: Padded, name: str) -> np.ndarray:
    """`difficult` or `crowd` of true objects, bool [n, t]; False where the truth does not say."""
    return np.asarray(truth[name]) > 0 if name in truth else np.zeros(np.shape(truth["mask"]), bool)


def _check(predicted: Padded, truth: Padded, thresholds: Sequence[float], kind: Kind) -> None:
    """Refuses an IoU or a threshold that does not exist, and scores that are not finite."""
    if kind not in OVERLAPS:
        raise ConfigError(f"kind={kind!r} must be boxes or masks")
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise ConfigError(f"IoU thresholds {tuple(thresholds)} must be in (0, 1], such as 0.5")
    if len(predicted["mask"]) != len(truth["mask"]):
        raise DataError(f"predictions of {len(predicted['mask'])} images and truth of {len(truth['mask'])} do not pair")
    if not np.isfinite(np.asarray(predicted["scores"])[np.asarray(predicted["mask"]) > 0]).all():
        raise DataError("scores of detections are not all finite; look for an overflow in the model")


def voc_metrics(predicted: Padded, truth: Padded, num_classes: int, kind: Kind = "boxes") -> dict[str, float]:
    """Means over the classes that occur; 0 if none does.

    Returns:
        voc_ap50: all-point AP at IoU 0.5; voc07_ap50: 11-point; voc_map: all-point, mean over IoU 0.5, 0.55 ... 0.95.
    """
    table = _voc_table(predicted, truth, num_classes, COCO_THRESHOLDS, "all_point", kind)
    table07 = voc_ap(predicted, truth, num_classes, form="11_point", kind=kind)
    means = {"voc_map": table, "voc_ap50": table[0], "voc07_ap50": table07}
    return {name: float(np.nan_to_num(mean_of_known(precisions))) for name, precisions in means.items()}


def coco_metrics(
    predicted: Padded,
    truth: Padded,
    num_classes: int,
    image_size: tuple[int, int],
    kind: Kind = "boxes",
    most: int = 100,
) -> dict[str, float]:
    """COCO's average precision, by pycocotools.

    Args:
        predicted: boxes in 0..1 or masks, classes, scores and mask.
        truth: boxes in 0..1 or masks, classes and mask, perhaps crowd and difficult.
        num_classes: classes are 0 ... num_classes - 1.
        image_size: (h, w) in pixels.
        kind: which IoU, of boxes or of masks.
        most: detections of an image that count, by their scores; COCO's own number is 100.

    Returns:
        coco_ap (mean over IoU 0.5, 0.55 ... 0.95), coco_ap50, coco_ap75.

    Raises:
        ConfigError: if pycocotools is not installed.

    Reference: Lin et al. 2014, "Microsoft COCO: Common Objects in Context"; https://cocodataset.org/#detection-eval.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise ConfigError(f"COCO's metrics need pycocotools ({error}); pip install pycocotools") from error
    _check(predicted, truth, COCO_THRESHOLDS, kind)
    n, (h, w) = len(truth["mask"]), image_size
    images = [{"id": i, "height": h, "width": w} for i in range(n)]
    real = _entries(truth, image_size, kind)
    places = np.nonzero(np.asarray(truth["mask"]) > 0)
    flags = zip(*(_flags(truth, name)[places].tolist() for name in ("crowd", "difficult")), strict=True)
    for k, (entry, (crowd, difficult)) in enumerate(zip(real, flags, strict=True)):
        entry.update(id=k + 1, iscrowd=int(crowd), difficult=difficult)  # ids from 1 on: 0 is "no match" to COCOeval
    detections = _entries(predicted, image_size, kind)
    if not real or not detections:
        return {"coco_ap": 0.0, "coco_ap50": 0.0, "coco_ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = {"images": images, "annotations": real, "categories": [{"id": c} for c in range(num_classes)]}
        coco.createIndex()

        class Evaluation(COCOeval):
            """COCO's own, which knows no difficult objects: they are left out as crowds are, but measured by IoU."""

            def _prepare(self):
                super()._prepare()
                for entry in (entry for entries in self._gts.values() for entry in entries):
                    entry["ignore"] = entry["iscrowd"] or entry["difficult"]

        evaluation = Evaluation(coco, coco.loadRes(detections), {"boxes": "bbox", "masks": "segm"}[kind])
        evaluation.params.maxDets = [1, 10, most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][..., 0, -1]  # [thresholds, recalls, classes], of all sizes
    means = {"coco_ap": precision, "coco_ap50": precision[0], "coco_ap75": precision[5]}
    known = {name: x[x > -1] for name, x in means.items()}  # -1 where there is nothing to find
    return {name: float(np.mean(x)) if x.size else 0.0 for name, x in known.items()}


def _entries(arrays: Padded, image_size: tuple[int, int], kind: Kind) -> list[dict[str, Any]]:
    """COCO's records of the real entries; boxes [xmin, ymin, w, h] in pixels, masks as run lengths."""
    from pycocotools import mask as run_lengths

    h, w = image_size
    records = []
    for i, k in zip(*np.nonzero(np.asarray(arrays["mask"]) > 0), strict=True):
        record: dict[str, Any] = {"image_id": int(i), "category_id": int(arrays["classes"][i, k])}
        if kind == "boxes":
            y0, x0, y1, x1 = (np.asarray(arrays["boxes"][i, k], np.float64) * [h, w, h, w]).tolist()
            record |= {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": (x1 - x0) * (y1 - y0)}
        else:
            pixels = np.asarray(arrays["masks"][i, k])
            encoded = run_lengths.encode(np.asfortranarray(pixels, dtype=np.uint8))
            record |= {"segmentation": encoded, "area": float(pixels.sum())}
        if "scores" in arrays:
            record["score"] = float(arrays["scores"][i, k])
        records.append(record)
    return records
