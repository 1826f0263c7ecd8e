"""Measures of scores over all thresholds: ROC and precision-recall curves and the areas under them.

The area under a precision-recall curve, the average precision, is that of a ranking, such as detections by falling
score (`average_precision`), or of a classifier (`average_precision_of_scores`). Examples with equal scores pass
a threshold together, so that nothing depends on how ties are sorted. A curve or area that needs positives or negatives
which do not exist is NaN.
"""

import itertools
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.checks import binary_scores, class_scores, finite
from cvdl_jax.metrics.confusion import mean_of_known, ratio

Form = Literal["all_point", "11_point", "101_point", "step"]


class Roc(NamedTuple):
    """A receiver operating characteristic, from (0, 0) to (1, 1): float64 [k] each; thresholds fall from infinity."""

    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


class PrecisionRecall(NamedTuple):
    """Precision and recall as the threshold falls from infinity, where precision is 0 / 0: NaN. float64 [k] each."""

    precision: np.ndarray
    recall: np.ndarray
    thresholds: np.ndarray


def sweep(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How many positives, and examples, have a score of at least each distinct score, from the highest down.

    Args:
        labels: bool [n].
        scores: float64 [n].

    Returns:
        true positives int64 [k], ranked int64 [k], thresholds float64 [k].
    """
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1)  # of each run of equal scores
    return np.cumsum(labels[order])[last], last + 1, ranked[last]


def roc_curve(labels: Any, scores: Any) -> Roc:
    """True over false positive rate for every threshold; an example is positive if its score is at least that.

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].

    Raises:
        DataError: as of `checks.binary_scores`.

    Reference: Fawcett 2006, "An introduction to ROC analysis", algorithm 1.
    """
    labels, scores = binary_scores(labels, scores)
    true_positives, ranked, thresholds = sweep(labels, scores)
    true_positives, false_positives = (np.insert(x, 0, 0) for x in (true_positives, ranked - true_positives))
    return Roc(
        ratio(false_positives, false_positives[-1]),
        ratio(true_positives, true_positives[-1]),
        np.insert(thresholds, 0, np.inf),
    )


def precision_recall_curve(labels: Any, scores: Any) -> PrecisionRecall:
    """Precision and recall for every threshold, from one above all scores down.

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].

    Raises:
        DataError: as of `checks.binary_scores`.
    """
    labels, scores = binary_scores(labels, scores)
    true_positives, ranked, thresholds = sweep(labels, scores)
    true_positives, ranked = (np.insert(x, 0, 0) for x in (true_positives, ranked))
    return PrecisionRecall(
        ratio(true_positives, ranked), ratio(true_positives, true_positives[-1]), np.insert(thresholds, 0, np.inf)
    )


def auc(x: Any, y: Any) -> float:
    """The area under the lines between points, by the trapezoid rule: `sum (x_i - x_{i-1}) (y_i + y_{i-1}) / 2`.

    Args:
        x: [n], ascending.
        y: [n].

    Raises:
        DataError: for fewer than two points, or x that falls.
    """
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2 or (np.diff(x) < 0).any():
        raise DataError(f"auc takes x [n] ascending and y [n] with n >= 2, got {list(x.shape)} and {list(y.shape)}")
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())


def roc_auc(labels: Any, scores: Any) -> float:
    """The area under the ROC curve; NaN without positives or negatives. See `mann_whitney` for what it means."""
    return auc(*roc_curve(labels, scores)[:2])


def mann_whitney(labels: Any, scores: Any) -> float:
    """P(score of a positive > score of a negative) + P(they are equal) / 2, which is the area under the ROC curve.

    With R the sum of the ranks of the P positives, equal scores sharing the mean of theirs, and N negatives:

        (R - P (P + 1) / 2) / (P N)

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].

    Returns:
        0..1; NaN without positives or negatives.

    Reference: Mann and Whitney 1947; Hanley and McNeil 1982, "The meaning and use of the area under a ROC curve".
    """
    labels, scores = binary_scores(labels, scores)
    _, place, times = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(times) - (times - 1) / 2)[place]
    positives = int(labels.sum())
    return float(ratio(ranks[labels].sum() - positives * (positives + 1) / 2, positives * (len(labels) - positives)))


def roc_auc_one_vs_rest(labels: Any, scores: Any) -> np.ndarray:
    """The AUC of each class against all others.

    Args:
        labels: int [n].
        scores: float [n, c].

    Returns:
        float64 [c]; NaN for a class without examples, or with all of them.
    """
    labels, scores = class_scores(labels, scores)
    return np.asarray([mann_whitney(labels == k, scores[:, k]) for k in range(scores.shape[1])])


def roc_auc_one_vs_one(labels: Any, scores: Any) -> float:
    """The mean over pairs of classes of their AUC, which the sizes of the classes do not change.

    Of a pair (i, j) it is the mean of two: i against j by the score of i, and j against i by the score of j.

    Args:
        labels: int [n].
        scores: float [n, c], comparable between examples, such as probabilities.

    Returns:
        0..1, over the pairs of classes that occur; NaN where fewer than two do.

    Reference: Hand and Till 2001, "A simple generalisation of the area under the ROC curve", equation 7.
    """
    labels, scores = class_scores(labels, scores)
    areas = []
    for pair in itertools.combinations(np.unique(labels), 2):
        rows = np.isin(labels, pair)
        areas += [mann_whitney(labels[rows] == k, scores[rows, k]) for k in pair]
    return mean_of_known(areas)


def precision_recall(hits: np.ndarray, positives: int) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall after each place of a ranking.

    Args:
        hits: [n], 1 for a true and 0 for a false positive, by falling score.
        positives: number of positives, found or not.

    Returns:
        precision float64 [n], recall float64 [n].
    """
    true_positives = np.cumsum(hits, dtype=np.float64)
    return true_positives / np.arange(1, len(true_positives) + 1), true_positives / max(positives, 1)


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
    true_positives = np.cumsum(hits, dtype=np.int64)
    return _area(true_positives, np.arange(1, len(true_positives) + 1), positives, form)


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
    true_positives, ranked, _ = sweep(labels, scores)
    return _area(true_positives, ranked, int(labels.sum()), form)


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
    return mean_of_known([average_precision_of_scores(y, s, form) for y, s in zip(labels.T, scores.T, strict=True)])


def _area(true_positives: np.ndarray, ranked: np.ndarray, positives: int, form: Form) -> float:
    """The area in one of its forms, from positives and examples counted at each threshold, int [k] each."""
    if form not in get_args(Form):
        raise ConfigError(f"form={form!r} of average_precision must be {', '.join(get_args(Form)[:-1])} or step")
    if positives == 0:
        return float("nan")
    precision = true_positives / ranked
    gain = np.diff(true_positives, prepend=0) / positives
    if form == "step":
        return float(np.sum(precision * gain))
    highest = np.maximum.accumulate(precision[::-1])[::-1]  # interpolated
    if form == "all_point":
        return float(np.sum(highest * gain))
    points = int(form.partition("_")[0])
    # Counted in whole objects: 3 of 10 found is a recall of 0.3 though 3 / 10 and 0.3 may differ in the last bit.
    place = np.searchsorted(
        true_positives * (points - 1), np.arange(points) * positives
    )  # first with recall >= the point
    return float(np.append(highest, 0.0)[place].mean())
