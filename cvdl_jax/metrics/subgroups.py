"""Does a classifier serve all groups alike? Its rates in each group, the worst group, and the gaps between groups.

For a class that counts as positive, with g the group of an example, y its class and z its prediction:

    demographic parity   max_g P(z = 1 | g) - min_g P(z = 1 | g)
    equal opportunity    the same of P(z = 1 | y = 1, g), the true positive rate
    false positives      the same of P(z = 1 | y = 0, g); with the line above, equalised odds
    accuracy             the same of P(z = y | g), for any number of classes

Reference: Hardt et al. 2016, "Equality of Opportunity in Supervised Learning", definitions 2.1 and 2.2; Sagawa et al.
2020, "Distributionally Robust Neural Networks for Group Shifts" (worst group).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats.intervals import Difference, difference, wilson
from cvdl_jax.metrics.stats.resampling import interval


class Rate(NamedTuple):
    """A rate in one group: its examples, those that count, their share and the ends of its 95 % Wilson interval."""

    n: int
    hits: int
    value: float
    low: float
    high: float


class Gap(NamedTuple):
    """The largest difference of a rate between groups.

    Attributes:
        rates: {group: Rate}, of the groups that have the examples.
        value: largest minus smallest rate.
        low, high: ends of its 95 % bootstrap interval, every group drawn by itself. A gap is never negative, so that
            the interval lies above 0 without any; ask `p` whether there is one.
        p: of Pearson's chi-squared test that the rate is the same in all groups.
        worst: the group with the smallest rate; where it is a rate of errors, with the largest.
    """

    rates: Mapping[Any, Rate]
    value: float
    low: float
    high: float
    p: float
    worst: Any


class Extremes(NamedTuple):
    """The groups with the smallest and the largest rate, for a report that shows small groups too.

    The bootstrap of `gap` has no width for a group without a mistake, or with nothing else, however few examples it
    has; this interval is as wide as the smaller of the two groups makes it. It takes both groups as given, though they
    are chosen for being extreme: whether the groups differ at all, `p` says.

    Attributes:
        rates: {group: Rate}, the smallest first; of equal ones that with more examples.
        lowest: the group with the smallest rate.
        highest: the group with the largest rate.
        gap: the rate of the highest less that of the lowest, with Newcombe's 95 % interval.
        p: of Pearson's chi-squared test that the rate is the same in all groups.
    """

    rates: Mapping[Any, Rate]
    lowest: Any
    highest: Any
    gap: Difference
    p: float


def rates(hits: Any, groups: Any) -> dict[Any, Rate]:
    """The rate of each group that has examples, in the order of the groups.

    Args:
        hits: 0, 1 or bool [n].
        groups: [n], the group of each example.

    Raises:
        DataError: for arrays that do not belong together, or hits that are not 0 or 1.
    """
    hits, groups = np.asarray(hits).astype(float), np.asarray(groups)
    if hits.shape != groups.shape or hits.ndim != 1:
        raise DataError(f"every example needs a group, got {list(groups.shape)} groups of {list(hits.shape)} hits")
    if not np.isin(hits, (0, 1)).all():
        raise DataError("hits must be 0 or 1 for each example")
    names, place = np.unique(groups, return_inverse=True)
    counts, right = np.bincount(place), np.bincount(place, hits).astype(int)
    return {
        name.item(): Rate(int(n), int(k), k / n, *wilson(int(k), int(n)))
        for name, n, k in zip(names, counts, right, strict=True)
    }


def extremes(hits: Any, groups: Any) -> Extremes:
    """The groups with the smallest and the largest rate; arguments and errors as of `gap`."""
    of = sorted(rates(hits, groups).items(), key=lambda item: (item[1].value, -item[1].n))
    if len(of) < 2:
        raise DataError(f"a gap needs two groups of examples, got {len(of)}")
    largest = max(of, key=lambda item: (item[1].value, item[1].n))  # of equal rates that of most examples, as in front
    (lowest, low), (highest, high) = of[0], largest
    counts, right = (np.array([getattr(rate, key) for _, rate in of]) for key in ("n", "hits"))
    return Extremes(dict(of), lowest, highest, difference(high.hits, high.n, low.hits, low.n), _same(right, counts))


def gap(hits: Any, groups: Any, resamples: int = 2000, seed: int = 0, errors: bool = False) -> Gap:
    """The gap of a rate between groups.

    Args:
        hits: 0, 1 or bool [n].
        groups: [n], the group of each example.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        errors: whether hits are errors, so that the group with the largest rate is the worst.

    Raises:
        DataError: for fewer than two groups, hits that are not 0 or 1, or arrays that do not belong together.
    """
    hits, groups = np.asarray(hits).astype(float), np.asarray(groups)
    names, place = np.unique(groups, return_inverse=True)
    if hits.shape != groups.shape or hits.ndim != 1 or len(names) < 2:
        raise DataError(f"a gap needs two groups of examples, got {len(names)} and {list(hits.shape)} hits")
    of_groups = rates(hits, groups)
    counts, right = (np.array([getattr(rate, key) for rate in of_groups.values()]) for key in ("n", "hits"))

    def spread(h: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Of resamples [r, n]."""
        means = np.stack([(h * (g == c)).sum(-1) / counts[c] for c in range(len(names))])  # strata keep their sizes
        return means.max(0) - means.min(0)

    ends = interval(
        spread, hits, place, method="percentile", resamples=resamples, seed=seed, strata=place, vectorised=True
    )
    worst = (max if errors else min)(of_groups, key=lambda name: of_groups[name].value)
    return Gap(of_groups, float(np.ptp(right / counts)), ends.low, ends.high, _same(right, counts), worst)


def _same(right: np.ndarray, counts: np.ndarray) -> float:
    """P of the chi-squared test of one rate; 1 where all or none of the examples count."""
    from scipy.special import chdtrc  # lighter than scipy.stats

    table = np.stack([right, counts - right])  # [2, g]
    if (table.sum(1) == 0).any():
        return 1.0
    expected = table.sum(1, keepdims=True) * counts / counts.sum()
    return float(chdtrc(len(counts) - 1, ((table - expected) ** 2 / expected).sum()))


def audit(
    label: Any,
    guess: Any,
    groups: Any,
    positive: int | None = None,
    seed: int = 0,
    measure: Callable[[Any, Any], Any] | None = None,
) -> dict[str, Any]:
    """The gaps of a classifier between groups, by name.

    Args:
        label: int [n].
        guess: int [n].
        groups: [n].
        positive: the class that counts as positive; None for the accuracy alone.
        seed: of the bootstrap.
        measure: (hits, groups) -> what is made of them, `gap` or `extremes`; None for `gap`.

    Returns:
        {"accuracy"}, and of a positive class {"demographic_parity", "equal_opportunity", "false_positives"}, those of
        which two groups have the examples.

    Raises:
        DataError: see `gap`.
    """
    label, guess, groups = np.asarray(label), np.asarray(guess), np.asarray(groups)
    of_errors = measure or partial(gap, seed=seed, errors=True)  # a group with many of them is worse
    measure = measure or partial(gap, seed=seed)
    gaps = {"accuracy": measure(guess == label, groups)}
    if positive is None:
        return gaps
    said = guess == positive
    for name, rows in (
        ("demographic_parity", np.ones(len(label), bool)),
        ("equal_opportunity", label == positive),
        ("false_positives", label != positive),
    ):
        if len(np.unique(groups[rows])) > 1:
            gaps[name] = (of_errors if name == "false_positives" else measure)(said[rows], groups[rows])
    return gaps
