"""Confidence intervals of what was measured on a finite test set or with a few seeds, and two samples side by side.

`scipy.stats` takes most of a second to import, so what every run needs (Wilson's interval, before its first step) does
without, and what needs it imports it where it is called.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist, fmean, stdev
from typing import NamedTuple

import numpy as np

from cvdl_jax.core.formatting import interval, percent
from cvdl_jax.errors import ConfigError, DataError


class Difference(NamedTuple):
    """The difference of two proportions.

    Attributes:
        value: p1 - p2.
        low, high: 95 % interval, or that of the confidence asked for.
        z: test statistic.
        p: two-sided p value of the test that p1 = p2.
    """

    value: float
    low: float
    high: float
    z: float
    p: float


class Homogeneity(NamedTuple):
    """Whether two samples have one distribution over classes.

    Attributes:
        distance: total variation, half the sum of |p1 - p2|, in 0..1.
        chi2: Pearson's statistic.
        degrees: of freedom.
        p: p value of the test that the distributions are equal.
    """

    distance: float
    chi2: float
    degrees: int
    p: float


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; it stays inside 0..1 and is honest near both ends.

    With p = successes / n and z the normal quantile of (1 + confidence) / 2:

        (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)

    Args:
        successes: number of right answers, 0..n.
        n: number of independent examples.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        DataError: without examples, with more successes than examples, or for parts of examples.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference".
    """
    k, n = _whole(successes, n)
    z = normal_quantile(confidence)
    p, size = k / n, z * z / n
    half = z * math.sqrt(p * (1 - p) / n + size / (4 * n))
    # rounding must not move an end off 0 or 1
    return (
        0.0 if k == 0 else (p + size / 2 - half) / (1 + size),
        1.0 if k == n else (p + size / 2 + half) / (1 + size),
    )


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a proportion: it never covers less than it says, and often more.

    The ends are the proportions at which as few, or as many, successes have probability alpha / 2,
    alpha = 1 - confidence. With I^-1 the inverse of the regularised incomplete beta function:

        low = I^-1(k, n - k + 1; alpha / 2),    high = I^-1(k + 1, n - k; 1 - alpha / 2)

    Args:
        successes: k, number of right answers, 0..n.
        n: number of independent examples.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        DataError: without examples, with more successes than examples, or for parts of examples.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Clopper and Pearson 1934, "The Use of Confidence or Fiducial Limits Illustrated in the Case of the
    Binomial".
    """
    k, n = _whole(successes, n)
    check_confidence(confidence)
    from scipy.special import betaincinv  # lighter than scipy.stats

    alpha = 1 - confidence
    low = 0.0 if k == 0 else float(betaincinv(k, n - k + 1, alpha / 2))
    return low, 1.0 if k == n else float(betaincinv(k + 1, n - k, 1 - alpha / 2))


def student_t(values: Sequence[float], confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean, for example of one metric over n seeds.

        mean -+ t s / sqrt(n),    s^2 = sum (x - mean)^2 / (n - 1)

    with t the quantile of (1 + confidence) / 2 for n - 1 degrees of freedom. It is about the seeds only: the test set
    is the same for all of them. Near the end of a metric's range it may reach beyond.

    Args:
        values: n >= 2 measurements, independent of each other.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        DataError: for fewer than two values, or one that is not finite.
        ConfigError: if the confidence is not in (0, 1).

    Reference: Student 1908, "The probable error of a mean".
    """
    n = len(values)
    if n < 2 or not all(map(math.isfinite, values)):
        raise DataError(f"an interval over seeds needs two finite values or more, got {list(values)}")
    return around_mean(fmean(values), stdev(values) / math.sqrt(n), n - 1, confidence)


TOO_FEW = "too few {what} for an interval within the range of the metric"


def student_t_within(values: Sequence[float], low: float, high: float) -> tuple[float, float] | None:
    """`student_t` of a mean that lies in a known range, such as an accuracy; None where the values are too few to tell.

    An interval that reaches beyond the range rests on a normal distribution that cannot be true. It is not cut: what is
    left would claim more than the values say. TOO_FEW is the sentence for it.

    Args:
        values: n >= 2 measurements.
        low: the least that a measurement can be.
        high: the greatest.
    """
    ends = student_t(values)
    return ends if low <= ends[0] and ends[1] <= high else None


def around_mean(mean: float, error: float, df: int, confidence: float) -> tuple[float, float]:
    """The interval of a mean with its standard error, by Student's distribution.

    The t tests of `paired_tests.py` share it, whose standard errors are not always that of independent values.

    Args:
        mean: of the values.
        error: its standard error.
        df: degrees of freedom.
        confidence: in (0, 1).

    Returns:
        (low, high).

    Raises:
        ConfigError: if the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    from scipy.special import stdtrit  # lighter than scipy.stats

    half = float(stdtrit(df, (1 + confidence) / 2)) * error
    return mean - half, mean + half


def with_wilson(means: Mapping[str, float], n: int, names: Iterable[str] | None = None) -> dict[str, float]:
    """Metrics with Wilson's 95 % interval of each accuracy: "name_low" and "name_high".

    Args:
        means: {metric: value} of one evaluation, its accuracies shares of n right answers.
        n: independent examples, none of which was trained on.
        names: of the accuracies; None: the metrics whose name ends in "accuracy".

    Returns:
        The metrics, and the ends.
    """
    chosen = [name for name in means if name.endswith("accuracy")] if names is None else names
    metrics = dict(means)
    for name in chosen:
        low, high = wilson(round(means[name] * n), n)
        metrics |= {f"{name}_low": low, f"{name}_high": high}
    return metrics


def format_percent(successes: int, n: int, confidence: float = 0.95) -> str:
    """A proportion with Wilson's interval, for people: `98.3 % [96.4, 99.3]`."""
    ends = wilson(successes, n, confidence)
    return f"{percent(successes / n, 1)} {interval(*ends, True, 1)}"


def difference(x1: int, n1: int, x2: int, n2: int, confidence: float = 0.95) -> Difference:
    """The difference of two independent proportions, with Newcombe's hybrid score interval and the pooled z test.

    With d = p1 - p2 and the Wilson intervals (l1, u1), (l2, u2), and the pooled p = (x1 + x2) / (n1 + n2):

        d - sqrt((p1 - l1)^2 + (u2 - p2)^2)  ...  d + sqrt((u1 - p1)^2 + (p2 - l2)^2)
        z = d / sqrt(p (1 - p) (1 / n1 + 1 / n2))

    Args:
        x1: successes of the first sample, 0..n1.
        n1: its size.
        x2: of the second sample, 0..n2.
        n2: its size.
        confidence: in (0, 1).

    Returns:
        A Difference; z = 0 and p = 1 where all of both samples are successes, or none.

    Raises:
        DataError: for an empty sample, or more successes than examples.

    Reference: Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    (l1, u1), (l2, u2) = wilson(x1, n1, confidence), wilson(x2, n2, confidence)
    p1, p2, pooled = x1 / n1, x2 / n2, (x1 + x2) / (n1 + n2)
    d = p1 - p2
    low, high = d - math.hypot(p1 - l1, u2 - p2), d + math.hypot(u1 - p1, p2 - l2)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n1 + 1 / n2))
    z = d / error if error else 0.0
    return Difference(d, low, high, z, 2 * NormalDist().cdf(-abs(z)))


def homogeneity(first: np.ndarray, second: np.ndarray) -> Homogeneity:
    """Pearson's chi-squared test that two samples of classes come from one distribution.

        chi^2 = sum over both samples and all classes of (observed - expected)^2 / expected

    Args:
        first: examples of each class, int [c].
        second: of the other sample, int [c]. Classes without any example in both are left out.

    Returns:
        A Homogeneity; p = 1 where there is one class only.

    Raises:
        DataError: if the two have different lengths, or one is empty.

    Reference: Pearson 1900, "On the criterion that a given system of deviations".
    """
    table = np.stack([np.asarray(first, np.float64), np.asarray(second, np.float64)])  # [2, c]
    totals = table.sum(1)
    if (totals <= 0).any():
        raise DataError(f"two samples of classes need examples each, got {int(totals[0])} and {int(totals[1])}")
    distance = float(np.abs(table[0] / totals[0] - table[1] / totals[1]).sum() / 2)
    from scipy.stats import chi2_contingency

    test = chi2_contingency(table[:, table.sum(0) > 0], correction=False)
    return Homogeneity(distance, float(test.statistic), int(test.dof), float(test.pvalue))


def check_confidence(confidence: float) -> None:
    """Refuses a confidence that is no probability.

    Raises:
        ConfigError: if it is not in (0, 1).
    """
    if not 0 < confidence < (1 + confidence) / 2 < 1:  # the quantile of the middle one is needed
        raise ConfigError(f"confidence={confidence} must lie in (0, 1), such as 0.95")


def normal_quantile(confidence: float) -> float:
    """Quantile z of a two-sided normal interval: 1.96 for 0.95.

    Raises:
        ConfigError: if the confidence is not in (0, 1).
    """
    check_confidence(confidence)
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _whole(successes: int, n: int) -> tuple[int, int]:
    whole = successes % 1 == 0 and n % 1 == 0
    if not whole or n <= 0 or not 0 <= successes <= n:
        raise DataError(f"an interval needs whole numbers 0 <= successes <= n and n > 0, got {successes} of {n}")
    return int(successes), int(n)
