"""Two proportions of independent samples: the interval of their difference, and a test that there is none."""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.intervals import wilson


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
    table = table[:, table.sum(0) > 0]
    degrees = table.shape[1] - 1
    if degrees == 0:
        return Homogeneity(distance, 0.0, 0, 1.0)
    expected = totals[:, None] * table.sum(0)[None] / totals.sum()
    chi2 = float(((table - expected) ** 2 / expected).sum())
    from scipy.special import chdtrc  # the chi-squared distribution; lighter than scipy.stats

    return Homogeneity(distance, chi2, degrees, float(chdtrc(degrees, chi2)))
