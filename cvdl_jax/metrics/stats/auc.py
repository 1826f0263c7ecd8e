"""The area under the ROC curve with its interval (DeLong; Hanley and McNeil), and the paired test of two of them."""

import math
from typing import Literal, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats.intervals import check_confidence, normal_quantile


class Area(NamedTuple):
    """An area under the ROC curve.

    Attributes:
        auc: the area.
        error: its standard error.
        low: lower end of the interval.
        high: upper end.
    """

    auc: float
    error: float
    low: float
    high: float


class AreaTest(NamedTuple):
    """What DeLong's test says of two areas.

    Attributes:
        first: area of the first method.
        second: of the second one.
        difference: second - first.
        low: lower end of its interval.
        high: upper end.
        z: the difference over its standard error; NaN where that is 0 and the difference is not.
        p: two-sided p value; NaN with z.
    """

    first: float
    second: float
    difference: float
    low: float
    high: float
    z: float
    p: float


def delong(
    labels: np.ndarray, scores: np.ndarray, confidence: float = 0.95, scale: Literal["plain", "logit"] = "plain"
) -> Area:
    """DeLong's interval of an area under the ROC curve.

    With psi = 1 for a positive example above a negative one, 1/2 for equal scores, 0 otherwise, the area is the mean of
    psi over all pairs, V10_i its mean over the negatives for positive i, V01_j over the positives for negative j, and

        error^2 = var(V10) / m + var(V01) / n.

    Computed from midranks in O((m + n) log(m + n)). The plain interval, auc -+ z error, may reach beyond 1; that of the
    logit stays inside 0..1. Of classes that are separated completely the error is 0, which says nothing of a larger
    sample.

    Args:
        labels: 1 or True for the m >= 2 positive examples, 0 for the n >= 2 negative ones, [m + n].
        scores: larger for examples that look positive, [m + n].
        confidence: in (0, 1).
        scale: "plain" or "logit".

    Returns:
        An Area.

    Raises:
        DataError: for labels that are not binary, scores that are not finite, too few of a class, or the logit of an
            area of 0 or 1.
        ConfigError: for a confidence or a scale that does not exist.

    Reference: DeLong, DeLong and Clarke-Pearson 1988, "Comparing the Areas under Two or More Correlated Receiver
    Operating Characteristic Curves: A Nonparametric Approach"; Sun and Xu 2014, "Fast Implementation of DeLong's
    Algorithm", algorithm 2.
    """
    positive, negative = placements(labels, scores)
    auc = float(positive.mean())
    error = math.sqrt(positive.var(ddof=1) / len(positive) + negative.var(ddof=1) / len(negative))
    return Area(auc, error, *_around(auc, error, confidence, scale))


def hanley_mcneil(
    auc: float, positives: int, negatives: int, confidence: float = 0.95, scale: Literal["plain", "logit"] = "plain"
) -> Area:
    """Hanley and McNeil's interval of an area of which only the size of the two classes is known.

    With A the area, Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A), as for exponentially distributed scores:

        error^2 = (A (1 - A) + (m - 1) (Q1 - A^2) + (n - 1) (Q2 - A^2)) / (m n)

    Args:
        auc: A, in 0..1.
        positives: m.
        negatives: n.
        confidence: in (0, 1).
        scale: as for `delong`.

    Returns:
        An Area.

    Raises:
        DataError: for an area outside 0..1, or without examples of both classes.
        ConfigError: as `delong`.

    Reference: Hanley and McNeil 1982, "The Meaning and Use of the Area under a Receiver Operating Characteristic (ROC)
    Curve", equation 2.
    """
    if not 0 <= auc <= 1 or positives < 1 or negatives < 1:
        raise DataError(f"auc={auc} must lie in 0..1, and positives={positives}, negatives={negatives} be at least 1")
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    spread = auc * (1 - auc) + (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    error = math.sqrt(max(spread, 0.0) / (positives * negatives))  # 0 at the ends, where rounding would leave -1e-17
    return Area(auc, error, *_around(auc, error, confidence, scale))


def delong_test(labels: np.ndarray, first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> AreaTest:
    """DeLong's paired test of two areas under the ROC curve, of the same examples.

        z = (auc_2 - auc_1) / error,    error^2 = var(V10_2 - V10_1) / m + var(V01_2 - V01_1) / n

    Args:
        labels: as for `delong`.
        first: scores of the first method, [m + n].
        second: of the second one, in the same order.
        confidence: of the interval of the difference, in (0, 1).

    Returns:
        An AreaTest; z = 0 and p = 1 where the two rank the examples equally.

    Raises:
        DataError: as `delong`.
        ConfigError: if the confidence is not in (0, 1).

    Reference: as for `delong`.
    """
    (positive, negative), (positive_2, negative_2) = placements(labels, first), placements(labels, second)
    d10, d01 = positive_2 - positive, negative_2 - negative
    difference = float(positive_2.mean() - positive.mean())
    error = math.sqrt(d10.var(ddof=1) / len(d10) + d01.var(ddof=1) / len(d01))
    half = normal_quantile(confidence) * error
    if error > 1e-12:  # differences of placements that are equal on paper
        z = difference / error
    else:
        z = 0.0 if abs(difference) < 1e-12 else math.nan
    p = math.erfc(abs(z) / math.sqrt(2))
    areas = float(positive.mean()), float(positive_2.mean())
    return AreaTest(*areas, difference, difference - half, difference + half, z, p)


def placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V10 of the positive examples [m] and V01 of the negative ones [n]; each has the area for its mean.

    Raises:
        DataError: for labels that are not binary, scores that are not finite, or fewer than two of a class.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.shape != scores.shape or labels.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise DataError(
            f"an area under the ROC curve needs labels 0 or 1 and scores, both [n]; got shapes {labels.shape} and "
            f"{scores.shape}, labels {np.unique(labels)[:5]}"
        )
    if not np.isfinite(scores).all():
        raise DataError(f"{(~np.isfinite(scores)).sum()} of {len(scores)} scores are not finite")
    positive, negative = scores[labels == 1], scores[labels == 0]
    m, n = len(positive), len(negative)
    if m < 2 or n < 2:
        raise DataError(f"DeLong's variance needs two examples of each class, got {m} positive and {n} negative ones")
    from scipy.stats import rankdata  # slow to import

    ranks = rankdata(np.concatenate([positive, negative]))  # equal scores share the mean of their ranks
    return (ranks[:m] - rankdata(positive)) / n, 1 - (ranks[m:] - rankdata(negative)) / m


def _around(auc: float, error: float, confidence: float, scale: str) -> tuple[float, float]:
    """The normal interval of an area, or of its logit."""
    check_confidence(confidence)
    half = normal_quantile(confidence) * error
    if scale == "plain":
        return auc - half, auc + half
    if scale != "logit":
        raise ConfigError(f"scale={scale!r} must be 'plain' or 'logit'")
    if not 0 < auc < 1:
        raise DataError(f"an area of {auc:g} has no logit; use scale='plain', or more examples")
    centre, half = math.log(auc / (1 - auc)), half / (auc * (1 - auc))
    return tuple(1 / (1 + math.exp(-end)) for end in (centre - half, centre + half))
