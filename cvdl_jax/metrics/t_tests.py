"""t tests of paired results: over seeds, over the folds of a cross-validation, and five times two folds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.intervals import check_confidence


class TTest(NamedTuple):
    """What a t test says.

    Attributes:
        t: the statistic; NaN where the differences have no spread, but a mean.
        df: degrees of freedom.
        p: two-sided p value; NaN with t.
        mean: of the differences.
        low: lower end of the interval of the mean.
        high: upper end.
    """

    t: float
    df: int
    p: float
    mean: float
    low: float
    high: float


def paired_t(differences: Sequence[float], confidence: float = 0.95) -> TTest:
    """Student's paired t test, for example of two methods' accuracies with the same seeds.

        t = mean / (s / sqrt(n)),    n - 1 degrees of freedom

    It takes the differences to be independent and nearly normal: right for seeds on one test set (of which it then
    says nothing), wrong for folds, which share training examples.

    Args:
        differences: n >= 2 of them.
        confidence: of the interval, in (0, 1).

    Returns:
        A TTest; t = 0 and p = 1 where all differences are 0.

    Raises:
        DataError: for fewer than two differences, or one that is not finite.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Student 1908, "The probable error of a mean".
    """
    d = _finite(differences, "the paired t test")
    return _test(d, 1 / len(d), confidence)


def corrected_resampled_t(differences: Sequence[float], test_over_train: float, confidence: float = 0.95) -> TTest:
    """Nadeau and Bengio's t test of k folds or random splits, whose training sets overlap.

        t = mean / sqrt((1 / k + n_test / n_train) s^2),    k - 1 degrees of freedom

    The uncorrected test takes the k results to be independent, and finds differences that are none.

    Args:
        differences: of two methods on the same k splits.
        test_over_train: n_test / n_train, the ratio of their sizes; 1 / (k - 1) for k folds.
        confidence: of the interval, in (0, 1).

    Returns:
        A TTest.

    Raises:
        DataError: for fewer than two differences, one that is not finite, or a ratio that is not positive.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Nadeau and Bengio 2003, "Inference for the Generalization Error", section 5.
    """
    d = _finite(differences, "the corrected resampled t test")
    if not (math.isfinite(test_over_train) and test_over_train > 0):
        raise DataError(f"test_over_train={test_over_train} must be positive, such as 1/9 for ten folds")
    return _test(d, 1 / len(d) + test_over_train, confidence)


def five_by_two_cv(differences: Sequence[Sequence[float]], confidence: float = 0.95) -> TTest:
    """Dietterich's 5x2cv paired t test: two folds, drawn anew five times.

    With p_i^(j) the difference on fold j of round i, and s_i^2 = sum_j (p_i^(j) - mean_i)^2:

        t = p_1^(1) / sqrt(sum_i s_i^2 / 5),    5 degrees of freedom

    Args:
        differences: [5, 2].
        confidence: of the interval, in (0, 1).

    Returns:
        A TTest; its `mean` is p_1^(1), the one difference that the statistic takes.

    Raises:
        DataError: if there are not five times two finite differences.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Dietterich 1998, "Approximate Statistical Tests for Comparing Supervised Classification Learning
    Algorithms", section 3.5.
    """
    d = np.asarray(differences, np.float64)
    if d.shape != (5, 2) or not np.isfinite(d).all():
        raise DataError(f"the 5x2cv test takes five times two finite differences, got shape {d.shape}")
    variance = ((d - d.mean(1, keepdims=True)) ** 2).sum() / 5
    return _student(float(d[0, 0]), math.sqrt(variance), 5, confidence)


def _finite(differences: Sequence[float], name: str) -> np.ndarray:
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or d.size < 2 or not np.isfinite(d).all():
        raise DataError(f"{name} takes two finite differences or more, got {list(differences)}")
    return d


def _test(d: np.ndarray, factor: float, confidence: float) -> TTest:
    spread = 0.0 if np.ptp(d) == 0 else float(d.std(ddof=1))  # equal ones exactly 0, where rounding would leave 1e-17
    return _student(float(d.mean()), math.sqrt(factor) * spread, len(d) - 1, confidence)


def _student(mean: float, error: float, df: int, confidence: float) -> TTest:
    """A mean with its standard error against 0."""
    check_confidence(confidence)
    from scipy.special import stdtr, stdtrit  # Student's distribution; lighter than scipy.stats

    if error == 0:
        t, p = (0.0, 1.0) if mean == 0 else (math.nan, math.nan)
        return TTest(t, df, p, mean, mean, mean)
    t = mean / error
    half = float(stdtrit(df, (1 + confidence) / 2)) * error
    return TTest(t, df, min(1.0, 2 * float(stdtr(df, -abs(t)))), mean, mean - half, mean + half)
