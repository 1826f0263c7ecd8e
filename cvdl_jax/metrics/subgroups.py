"""Does a classifier serve all groups alike? Its rates in each group, the worst group, and the gaps between groups.

For a class that counts as positive, with g the group of an example, y its class and z its prediction:

    demographic parity   max_g P(z = 1 | g) - min_g P(z = 1 | g)
    equal opportunity    the same of P(z = 1 | y = 1, g), the true positive rate
    false positives      the same of P(z = 1 | y = 0, g); with the line above, equalised odds
    accuracy             the same of P(z = y | g), for any number of classes

Reference: Hardt et al. 2016, "Equality of Opportunity in Supervised Learning", definitions 2.1 and 2.2; Sagawa et al.
2020, "Distributionally Robust Neural Networks for Group Shifts" (worst group).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats.intervals import wilson
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
    if not np.isin(hits, (0, 1)).all():
        raise DataError("hits must be 0 or 1 for each example")
    counts, right = np.bincount(place), np.bincount(place, hits).astype(int)
    rates = {
        name.item(): Rate(int(n), int(k), k / n, *wilson(int(k), int(n)))
        for name, n, k in zip(names, counts, right, strict=True)
    }

    def spread(h: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Of resamples [r, n]."""
        means = np.stack([(h * (g == c)).sum(-1) / counts[c] for c in range(len(names))])  # strata keep their sizes
        return means.max(0) - means.min(0)

    ends = interval(
        spread, hits, place, method="percentile", resamples=resamples, seed=seed, strata=place, vectorised=True
    )
    worst = (max if errors else min)(rates, key=lambda name: rates[name].value)
    return Gap(rates, float(np.ptp(right / counts)), ends.low, ends.high, _same(right, counts), worst)


def _same(right: np.ndarray, counts: np.ndarray) -> float:
    """P of the chi-squared test of one rate; 1 where all or none of the examples count."""
    from scipy.stats import chi2_contingency

    table = np.stack([right, counts - right])
    return 1.0 if (table.sum(1) == 0).any() else float(chi2_contingency(table, correction=False).pvalue)


def audit(label: Any, guess: Any, groups: Any, positive: int | None = None, seed: int = 0) -> dict[str, Gap]:
    """The gaps of a classifier between groups, by name.

    Args:
        label: int [n].
        guess: int [n].
        groups: [n].
        positive: the class that counts as positive; None for the accuracy alone.
        seed: of the bootstrap.

    Returns:
        {"accuracy"}, and of a positive class {"demographic_parity", "equal_opportunity", "false_positives"}, those of
        which two groups have the examples.

    Raises:
        DataError: see `gap`.
    """
    label, guess, groups = np.asarray(label), np.asarray(guess), np.asarray(groups)
    gaps = {"accuracy": gap(guess == label, groups, seed=seed)}
    if positive is None:
        return gaps
    said = guess == positive
    for name, rows in (
        ("demographic_parity", np.ones(len(label), bool)),
        ("equal_opportunity", label == positive),
        ("false_positives", label != positive),
    ):
        if len(np.unique(groups[rows])) > 1:
            gaps[name] = gap(said[rows], groups[rows], seed=seed, errors=name == "false_positives")
    return gaps
