"""Average precision of detections, on the host: PASCAL VOC's of our own, and COCO's through pycocotools.

Predictions and truth are padded arrays of all images: boxes [n, d, 4] ([ymin, xmin, ymax, xmax]), classes int [n, d],
scores [n, d], and masks [n, d] that are 1 where an entry is real.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from cvdl_jax.errors import ConfigError

Form = Literal["all_point", "11_point", "101_point", "step"]
COCO_THRESHOLDS = tuple(np.round(np.arange(0.5, 1.0, 0.05), 2).tolist())


def precision_recall(hits: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each detection.

    Args:
        hits: [n], 1 for a true and 0 for a false positive, by falling score.
        positives: number of true objects.

    Returns:
        precision float64 [n], recall float64 [n].
    """
    found = np.cumsum(hits, dtype=np.float64)
    return found / np.arange(1, len(found) + 1), found / max(positives, 1)


def average_precision(hits: np.ndarray, positives: int, form: Form = "all_point") -> float:
    """The area under the precision-recall curve.

    Args:
        hits: [n], 1 for a true and 0 for a false positive, by falling score.
        positives: number of true objects.
        form: all_point: the exact area under the interpolated curve (VOC from 2010 on); 11_point: mean of the
            interpolated precision at recall 0, 0.1 ... 1 (VOC 2007); 101_point: at 0, 0.01 ... 1 (COCO); step: `sum of
            precision times gain of recall`, not interpolated. Interpolated: the largest precision at this recall or
            a larger one.

    Returns:
        0..1; NaN without true objects.

    Raises:
        ConfigError: for an unknown form.

    Reference: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2.
    """
    if positives == 0:
        return float("nan")
    precision, recall = precision_recall(hits, positives)
    gain = np.diff(recall, prepend=0.0)
    if form == "step":
        return float(np.sum(precision * gain))
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # interpolated
    if form == "all_point":
        return float(np.sum(highest * gain))
    if form not in ("11_point", "101_point"):
        raise ConfigError(f"form={form!r} of average_precision must be all_point, 11_point, 101_point or step")
    points = int(form.partition("_")[0])
    # Counted in whole objects: 3 of 10 found is a recall of 0.3 though 3 / 10 and 0.3 may differ in the last bit.
    found = np.rint(recall * positives).astype(np.int64)
    place = np.searchsorted(found * (points - 1), np.arange(points) * positives)  # first with recall >= the point
    return float(np.append(highest, 0.0)[place].mean())


def pairwise_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes [n, 4] and [m, 4] in float64: [n, m]; 0 for two empty boxes."""
    a, b = np.asarray(a, np.float64)[:, None], np.asarray(b, np.float64)[None]

    def sides(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.prod(np.maximum(high - low, 0), -1)

    shared = sides(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    union = sides(a[..., :2], a[..., 2:]) + sides(b[..., :2], b[..., 2:]) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def assign(overlaps: np.ndarray, scores: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Which detections of one image and class are true positives.

    In the order of their scores (the first of equals first), each looks at the true box with which it overlaps most; it
    is true if their IoU is at least the threshold and no better detection has taken that box: duplicates are false.

    Args:
        overlaps: IoUs of detections and true boxes, [d, t].
        scores: [d].
        threshold: in (0, 1].

    Returns:
        bool [d], in the order of the arguments.
    """
    hits, taken = np.zeros(len(scores), bool), np.zeros(overlaps.shape[1], bool)
    for i in np.argsort(-np.asarray(scores), kind="stable") if overlaps.size else ():
        best = overlaps[i].argmax()
        hits[i] = overlaps[i, best] >= threshold and not taken[best]
        taken[best] |= hits[i]
    return hits


def voc_ap(
    predicted: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    num_classes: int,
    threshold: float = 0.5,
    form: Form = "all_point",
) -> np.ndarray:
    """Average precision of every class.

    Args:
        predicted: boxes, classes, scores and mask.
        truth: boxes, classes and mask.
        num_classes: classes are 0 ... num_classes - 1.
        threshold: IoU at which a detection counts.
        form: see `average_precision`.

    Returns:
        float64 [num_classes]; NaN for a class without true objects.
    """
    return _voc_table(predicted, truth, num_classes, (threshold,), form)[0]


def _voc_table(
    predicted: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    num_classes: int,
    thresholds: Sequence[float],
    form: Form,
) -> np.ndarray:
    """Average precisions [thresholds, classes]."""
    table = np.full((len(thresholds), num_classes), np.nan)
    for c in range(num_classes):
        chosen = (np.asarray(predicted["mask"]) > 0) & (predicted["classes"] == c)  # [n, d]
        real = (np.asarray(truth["mask"]) > 0) & (truth["classes"] == c)  # [n, t]
        scores = [predicted["scores"][i][chosen[i]] for i in range(len(chosen))]
        overlaps = [
            pairwise_iou(predicted["boxes"][i][chosen[i]], truth["boxes"][i][real[i]]) for i in range(len(chosen))
        ]
        order = np.argsort(-np.concatenate(scores), kind="stable") if scores else np.zeros(0, int)
        for k, threshold in enumerate(thresholds):
            hits = [assign(o, s, threshold) for o, s in zip(overlaps, scores, strict=True)]
            hits = np.concatenate(hits)[order] if hits else np.zeros(0, bool)
            table[k, c] = average_precision(hits, int(real.sum()), form)
    return table


def voc_metrics(
    predicted: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray], num_classes: int
) -> dict[str, float]:
    """Means over the classes that occur; 0 if none does.

    Returns:
        voc_ap50: all-point AP at IoU 0.5; voc07_ap50: 11-point; voc_map: all-point, mean over IoU 0.5, 0.55 ... 0.95.
    """
    table = _voc_table(predicted, truth, num_classes, COCO_THRESHOLDS, "all_point")
    return {
        "voc_map": _mean(table),
        "voc_ap50": _mean(table[0]),
        "voc07_ap50": _mean(voc_ap(predicted, truth, num_classes, form="11_point")),
    }


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else 0.0


def coco_metrics(
    predicted: Mapping[str, np.ndarray],
    truth: Mapping[str, np.ndarray],
    num_classes: int,
    image_size: tuple[int, int],
) -> dict[str, float]:
    """COCO's average precision, by pycocotools.

    Args:
        predicted: boxes in 0..1, classes, scores and mask.
        truth: boxes in 0..1, classes and mask.
        num_classes: classes are 0 ... num_classes - 1.
        image_size: (h, w) in pixels.

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
    n, (h, w) = len(truth["mask"]), image_size
    images = [{"id": i, "height": h, "width": w} for i in range(n)]
    real = _entries(truth, image_size)
    for k, entry in enumerate(real):  # ids from 1 on: COCOeval takes 0 for "no match"
        entry.update(id=k + 1, iscrowd=0, area=entry["bbox"][2] * entry["bbox"][3])
    found = _entries(predicted, image_size)
    if not real or not found:
        return {"coco_ap": 0.0, "coco_ap50": 0.0, "coco_ap75": 0.0}
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        coco = COCO()
        coco.dataset = {"images": images, "annotations": real, "categories": [{"id": c} for c in range(num_classes)]}
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ap, ap50, ap75 = (max(float(x), 0.0) for x in evaluation.stats[:3])  # -1 where there is nothing to find
    return {"coco_ap": ap, "coco_ap50": ap50, "coco_ap75": ap75}


def _entries(arrays: Mapping[str, np.ndarray], image_size: tuple[int, int]) -> list[dict[str, Any]]:
    """COCO's records of the real entries; boxes [xmin, ymin, w, h] in pixels."""
    h, w = image_size
    records = []
    for i, k in zip(*np.nonzero(np.asarray(arrays["mask"]) > 0), strict=True):
        y0, x0, y1, x1 = (np.asarray(arrays["boxes"][i, k], np.float64) * [h, w, h, w]).tolist()
        record = {"image_id": int(i), "category_id": int(arrays["classes"][i, k]), "bbox": [x0, y0, x1 - x0, y1 - y0]}
        if "scores" in arrays:
            record["score"] = float(arrays["scores"][i, k])
        records.append(record)
    return records
