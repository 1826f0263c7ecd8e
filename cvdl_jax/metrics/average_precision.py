"""Average precision, the area under a precision-recall curve: of rankings such as detections, and of classifiers."""

from typing import Any, Literal, get_args

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.checks import binary_scores, class_scores, finite
from cvdl_jax.metrics.ranking import sweep

Form = Literal["all_point", "11_point", "101_point", "step"]


def precision_recall(hits: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each place of a ranking.

    Args:
        hits: [n], 1 for a true and 0 for a false positive, by falling score.
        positives: number of positives, found or not.

    Returns:
        precision float64 [n], recall float64 [n].
    """
    found = np.cumsum(hits, dtype=np.float64)
    return found / np.arange(1, len(found) + 1), found / max(positives, 1)


def average_precision(hits: np.ndarray, positives: int, form: Form = "all_point") -> float:
    """The area under the precision-recall curve of a ranking, such as detections by falling score.

    Args:
        hits: [n], 1 for a true and 0 for a false positive, by falling score.
        positives: number of positives, found or not.
        form: all_point: the exact area under the interpolated curve (VOC from 2010 on); 11_point: mean of the
            interpolated precision at recall 0, 0.1 ... 1 (VOC 2007); 101_point: at 0, 0.01 ... 1 (COCO); step: `sum of
            precision times gain of recall`, not interpolated. Interpolated: the largest precision at this recall or
            a larger one.

    Returns:
        0..1; NaN without positives.

    Raises:
        ConfigError: for an unknown form.

    Reference: Everingham et al. 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2.
    """
    found = np.cumsum(hits, dtype=np.int64)
    return _area(found, np.arange(1, len(found) + 1), positives, form)


def average_precision_of_scores(labels: Any, scores: Any, form: Form = "all_point") -> float:
    """The area under the precision-recall curve of a classifier; equal scores are one threshold.

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].
        form: see `average_precision`; "step" is what scikit-learn computes.

    Returns:
        0..1; NaN without positives. Scores without any information give the prevalence, not 1/2.

    Raises:
        ConfigError: for an unknown form.
        DataError: as of `checks.binary_scores`.
    """
    labels, scores = binary_scores(labels, scores)
    found, seen, _ = sweep(labels, scores)
    return _area(found, seen, int(labels.sum()), form)


def mean_average_precision(labels: Any, scores: Any, form: Form = "all_point") -> float:
    """The mean over classes of their average precision, of classes that exclude each other or not.

    Args:
        labels: int [n], or 0 / 1 [n, c] where an example may be of several classes.
        scores: float [n, c].
        form: see `average_precision`.

    Returns:
        0..1, over the classes with a positive; NaN if none has one.
    """
    scores = finite("scores", scores, 2)
    labels = np.asarray(labels)
    if labels.ndim == 1:
        labels, scores = class_scores(labels, scores)
        labels = labels[:, None] == np.arange(scores.shape[1])[None]  # [n, c]
    if labels.shape != scores.shape:
        raise DataError(f"labels {list(labels.shape)} must be [n] or of the shape of scores, {list(scores.shape)}")
    each = [average_precision_of_scores(labels[:, k], scores[:, k], form) for k in range(scores.shape[1])]
    known = [x for x in each if not np.isnan(x)]
    return float(np.mean(known)) if known else float("nan")


def _area(found: np.ndarray, seen: np.ndarray, positives: int, form: Form) -> float:
    """The area in one of its forms, from positives and examples counted at each threshold, int [k] each."""
    if form not in get_args(Form):
        raise ConfigError(f"form={form!r} of average_precision must be {', '.join(get_args(Form)[:-1])} or step")
    if positives == 0:
        return float("nan")
    precision = found / seen
    gain = np.diff(found, prepend=0) / positives
    if form == "step":
        return float(np.sum(precision * gain))
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # interpolated
    if form == "all_point":
        return float(np.sum(highest * gain))
    points = int(form.partition("_")[0])
    # Counted in whole objects: 3 of 10 found is a recall of 0.3 though 3 / 10 and 0.3 may differ in the last bit.
    place = np.searchsorted(found * (points - 1), np.arange(points) * positives)  # first with recall >= the point
    return float(np.append(highest, 0.0)[place].mean())
