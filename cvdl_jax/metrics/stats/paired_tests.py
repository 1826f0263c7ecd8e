"""Is one method better than another? Paired tests on the examples of one test set, on seeds, and on folds.

The distributions are SciPy's; the statistics are computed here. `scipy.stats.ttest_1samp` warns of equal differences
and divides by what rounding left of their spread, and knows no correction for folds; `permutation_test` takes 12 s for
the sign patterns of twenty seeds, of which `sign_flip` makes an array in 0.01 s.
"""

import itertools
import math
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats.intervals import around_mean

EXACT_SEEDS = 20  # 2^20 sign patterns are counted one by one; beyond, they would be too many


class McNemar(NamedTuple):
    """What McNemar's test says.

    Attributes:
        p: two-sided p value.
        first_only: examples that only the first method gets right.
        second_only: examples that only the second one gets right.
        n: examples.
    """

    p: float
    first_only: int
    second_only: int
    n: int


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


def mcnemar(first: np.ndarray, second: np.ndarray, form: str = "exact") -> McNemar:
    """McNemar's test that two classifiers are right equally often, from the same examples.

    Examples on which both are right, or both wrong, say nothing. Of the b + c others, as many as not would be the
    first one's if the two were equally good:

        exact            p = min(1, 2 P[X <= min(b, c)]),    X ~ Binomial(b + c, 1/2)
        midp             p = 2 P[X <= min(b, c)] - P[X = min(b, c)]
        chi2             p = P[chi^2_1 >= (b - c)^2 / (b + c)]
        chi2_corrected   p = P[chi^2_1 >= max(|b - c| - 1, 0)^2 / (b + c)]

    The exact form never finds a difference too often, but seldom often enough; mid-p is nearer to what it says. The
    others need b + c of 25 or more.

    Args:
        first: whether the first classifier is right, bool [n].
        second: of the second one, in the same order.
        form: "exact", "midp", "chi2" or "chi2_corrected".

    Returns:
        A McNemar; p = 1 where they never differ.

    Raises:
        DataError: if the two do not belong to the same examples, or there are none.
        ConfigError: for another form.

    Reference: McNemar 1947, "Note on the sampling error of the difference between correlated proportions"; the exact
    form as in Dietterich 1998, "Approximate statistical tests", section 3; mid-p in Fagerland, Lydersen and Laake 2013,
    "The McNemar test for binary matched-pairs data: mid-p and asymptotic are better than exact conditional".
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise DataError(f"McNemar's test pairs examples: got {first.shape} and {second.shape}, expected the same [n]")
    if form not in FORMS:
        raise ConfigError(f"form={form!r} must be one of {', '.join(FORMS)}")
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    return McNemar(FORMS[form](b, c) if b + c else 1.0, b, c, len(first))


def _exact(b: int, c: int) -> float:
    from scipy.special import bdtr  # the binomial distribution; lighter than scipy.stats

    return min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5)))


def _midp(b: int, c: int) -> float:
    from scipy.special import bdtr

    k, n = min(b, c), b + c
    return min(1.0, float(bdtr(k, n, 0.5) + (bdtr(k - 1, n, 0.5) if k else 0.0)))  # 2 P[X <= k] - P[X = k]


def _chi2(b: int, c: int, correction: int = 0) -> float:
    distance = max(abs(b - c) - correction, 0)
    return math.erfc(distance / math.sqrt(2 * (b + c)))


FORMS = {"exact": _exact, "midp": _midp, "chi2": _chi2, "chi2_corrected": partial(_chi2, correction=1)}


def sign_flip(differences: Sequence[float]) -> float:
    """The exact permutation test that paired differences are symmetric around 0, for example accuracies seed by seed.

    If the two methods do not differ, each difference is as likely to have the other sign:

        p = (number of the 2^n sign patterns s with |s . d| >= |1 . d|) / 2^n

    The smallest p that n pairs can give is 2^(1 - n); see `least_p`.

    Args:
        differences: d, n of them.

    Returns:
        The two-sided p value.

    Raises:
        DataError: for no difference, more than twenty, or one that is not finite.

    Reference: Fisher 1935, "The Design of Experiments", section 21.
    """
    d = np.asarray(differences, np.float64)
    if d.ndim != 1 or not 1 <= d.size <= EXACT_SEEDS or not np.isfinite(d).all():
        raise DataError(f"the sign-flip test takes 1 to {EXACT_SEEDS} finite differences, got {list(differences)}")
    totals = np.zeros(1)
    for difference in d[1:]:  # a pattern and its negative have one |sum|: the first sign stays
        totals = np.concatenate([totals + difference, totals - difference])
    totals = np.abs(totals + d[0])
    tolerance = 1e-9 * np.abs(d).sum()  # sums that are equal on paper
    return float(np.mean(totals >= abs(d.sum()) - tolerance))


def least_p(n: int) -> float:
    """The smallest p value that `sign_flip` can give for n pairs: 0.0625 for 5, 0.03125 for 6."""
    return 2.0 ** (1 - n)


def pairs_needed(alpha: float = 0.05) -> int:
    """The least number of pairs with which `sign_flip` can be below alpha: 6 for 0.05."""
    return next(n for n in itertools.count(1) if least_p(n) < alpha)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's correction of several p values: the chance that any of them errs stays below alpha.

    Sorted, p_(1) <= ... <= p_(m), they become

        min(1, max over j <= i of (m - j + 1) p_(j)).

    Args:
        p_values: m of them; they need not be independent.

    Returns:
        The corrected ones in their order; a comparison is significant where its own is below alpha.

    Raises:
        DataError: for a value that is not in 0..1.

    Reference: Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    p = np.asarray(p_values, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise DataError(f"p values must lie in 0..1, got {list(p_values)}")
    order = np.argsort(p, kind="stable")
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return corrected.tolist()


def format_p(p: float) -> str:
    """A p value for people: "p = 0.0312", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"


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
    from scipy.special import stdtr  # Student's distribution; lighter than scipy.stats

    low, high = around_mean(mean, error, df, confidence)
    if error == 0:
        return TTest(*((0.0, df, 1.0) if mean == 0 else (math.nan, df, math.nan)), mean, low, high)
    t = mean / error
    return TTest(t, df, min(1.0, 2 * float(stdtr(df, -abs(t)))), mean, low, high)
