"""Measures of scores over all thresholds: ROC and precision-recall curves and the areas under them.

Examples with equal scores pass a threshold together, so nothing depends on how ties are sorted. A curve or area that
needs positives or negatives which do not exist is NaN.
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.checks import binary_scores, class_scores
from cvdl_jax.metrics.rates import ratio


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
        found int64 [k], seen int64 [k], thresholds float64 [k].
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
    found, seen, thresholds = sweep(labels, scores)
    found, wrong = (np.insert(x, 0, 0) for x in (found, seen - found))
    return Roc(ratio(wrong, wrong[-1]), ratio(found, found[-1]), np.insert(thresholds, 0, np.inf))


def precision_recall_curve(labels: Any, scores: Any) -> PrecisionRecall:
    """Precision and recall for every threshold, from one above all scores down.

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].

    Raises:
        DataError: as of `checks.binary_scores`.
    """
    labels, scores = binary_scores(labels, scores)
    found, seen, thresholds = sweep(labels, scores)
    found, seen = (np.insert(x, 0, 0) for x in (found, seen))
    return PrecisionRecall(ratio(found, seen), ratio(found, found[-1]), np.insert(thresholds, 0, np.inf))


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
    here, found = np.unique(labels), []
    for place, i in enumerate(here):
        for j in here[place + 1 :]:
            rows = (labels == i) | (labels == j)
            found += [mann_whitney(labels[rows] == k, scores[rows, k]) for k in (i, j)]
    return float(np.mean(found)) if found else float("nan")
