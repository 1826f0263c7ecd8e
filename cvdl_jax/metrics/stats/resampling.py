"""Resampling the examples of one test set: bootstrap intervals of any metric, and the paired permutation test.

`interval` draws as `scipy.stats.bootstrap` does and gives the same ends, but knows strata, jackknifes many examples by
groups, and says what to do where BCa does not exist. `paired` counts differences of either sign at once, where
`scipy.stats.permutation_test` doubles the rarer side.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.stats.intervals import check_confidence

DRAWN_AT_ONCE = 1 << 22  # indices held in memory
GROUPS = 500  # of the jackknife, where there are more examples
TOLERANCE = 1e-12  # metrics that are equal on paper


class Interval(NamedTuple):
    """What the bootstrap says.

    Attributes:
        estimate: the metric of all examples.
        low: lower end.
        high: upper end.
        p: two-sided p value of "the metric is 0", for differences: twice the share of the resamples on the rarer side
            of 0 (those at 0 on both sides, the data themselves counted as one more resample), 1 at most.
    """

    estimate: float
    low: float
    high: float
    p: float


class Permutation(NamedTuple):
    """What the permutation test says.

    Attributes:
        difference: metric of the second method - that of the first.
        p: two-sided p value; at least 1 / (1 + resamples).
    """

    difference: float
    p: float


def interval(
    metric: Callable[..., Any],
    *arrays: np.ndarray,
    method: Literal["bca", "percentile"] = "bca",
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    strata: np.ndarray | None = None,
    vectorised: bool = False,
) -> Interval:
    """A bootstrap interval of a metric: the examples are drawn again n times with replacement, `resamples` times.

    Percentile: the (1 -+ confidence) / 2 quantiles of the metric's values t*. BCa moves these for bias and skewness:
    with z_0 = Phi^-1(share of t* below the estimate), a the skewness of the jackknife values over 6, and z each end's
    normal quantile, it takes the quantiles

        Phi(z_0 + (z_0 + z) / (1 - a (z_0 + z))).

    Arrays that belong together are drawn together, so a metric of two methods' predictions is a paired comparison.
    Where every resample gives one value the interval has no width, which says nothing of a larger sample: of an
    accuracy of 100 % ask `intervals.wilson`.

    Args:
        metric: of the arrays, a number; with `vectorised`, of arrays [r, n, ...], numbers [r].
        *arrays: one example per row, [n, ...].
        method: "bca" or "percentile".
        confidence: in (0, 1).
        resamples: how many; a thousand at least for an interval of 95 %.
        seed: of the draws.
        strata: [n], for example the classes: each is drawn from by itself and keeps its size; None: one stratum.
        vectorised: whether the metric takes many samples at once.

    Returns:
        An Interval.

    Raises:
        DataError: without examples, of arrays that do not belong together, where the metric of a resample is not
            finite, or where BCa does not exist.
        ConfigError: for an argument out of its range.

    Reference: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", sections 13.3 and 14.3.
    """
    if method not in ("bca", "percentile"):
        raise ConfigError(f"method={method!r} must be 'bca' or 'percentile'")
    if resamples < 1:
        raise ConfigError(f"resamples={resamples} must be at least 1, such as 2000")
    check_confidence(confidence)
    arrays = checked(arrays)
    estimate = float(_values(metric, arrays, np.arange(len(arrays[0]))[None], vectorised)[0])
    resampled = draws(len(arrays[0]), resamples, seed, strata)
    values = np.concatenate([_values(metric, arrays, rows, vectorised) for rows in resampled])
    _check_finite(estimate, values)
    tails = np.array([(1 - confidence) / 2, (1 + confidence) / 2])
    if method == "bca" and values.min() < values.max():
        tails = _bca_tails(tails, values, estimate, _jackknife(metric, arrays, vectorised))
    low, high = np.quantile(values, tails)
    sides = min((values <= 0).sum(), (values >= 0).sum())
    return Interval(estimate, float(low), float(high), min(1.0, 2 * (1 + int(sides)) / (1 + resamples)))


def _check_finite(estimate: float, values: np.ndarray) -> None:
    if not math.isfinite(estimate) or not np.isfinite(values).all():
        bad = "all examples" if not math.isfinite(estimate) else f"{(~np.isfinite(values)).sum()} of the resamples"
        raise DataError(
            f"the metric of {bad} is not finite; with rare classes, draw from each by itself: strata=labels"
        )


def draws(n: int, resamples: int, seed: int, strata: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Indices of the resamples, int [r, n], as many at once as fit.

    Args:
        n: examples.
        resamples: how many.
        seed: of the draws.
        strata: [n] or None, see `interval`.

    Raises:
        DataError: if there are not n strata.
    """
    if strata is not None and np.shape(strata) != (n,):
        raise DataError(f"strata must be [{n}], one for each example, got {np.shape(strata)}")
    members = [np.arange(n)] if strata is None else [np.flatnonzero(strata == s) for s in np.unique(strata)]
    random = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        r = min(at_once, resamples - start)
        parts = [stratum[random.integers(0, len(stratum), (r, len(stratum)))] for stratum in members]
        yield np.concatenate(parts, 1)


def checked(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Arrays with one row per example.

    Raises:
        DataError: if there are none, or they differ in length.
    """
    arrays = [np.asarray(array) for array in arrays]
    shapes = [array.shape for array in arrays]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape or not shape[0] for shape in shapes):
        raise DataError(f"one row for each of n > 0 examples is needed, got arrays of shapes {shapes}")
    return arrays


def _values(metric: Any, arrays: Sequence[np.ndarray], rows: np.ndarray, vectorised: bool) -> np.ndarray:
    """The metric of some samples: rows int [r, m] -> float64 [r]."""
    if vectorised:
        return np.asarray(metric(*(array[rows] for array in arrays)), np.float64)
    return np.array([metric(*(array[sample] for array in arrays)) for sample in rows], np.float64)


def _jackknife(metric: Any, arrays: Sequence[np.ndarray], vectorised: bool) -> np.ndarray:
    """The metric without each example, or without each of GROUPS groups: the acceleration needs no more."""
    n = len(arrays[0])
    groups = min(n, GROUPS)
    kept = [np.flatnonzero(np.arange(n) % groups != i)[None] for i in range(groups)]
    if n == 1:
        raise DataError("BCa needs two examples or more; use method='percentile'")
    return np.concatenate([_values(metric, arrays, rows, vectorised) for rows in kept])


def _bca_tails(tails: np.ndarray, values: np.ndarray, estimate: float, without: np.ndarray) -> np.ndarray:
    """The quantiles that BCa takes."""
    from scipy.special import ndtr, ndtri  # the normal distribution; lighter than scipy.stats

    below = ((values < estimate).mean() + (values <= estimate).mean()) / 2  # those equal to it count half
    z0 = ndtri(below)
    away = without.mean() - without
    squares = (away**2).sum()
    a = (away**3).sum() / (6 * squares**1.5) if squares > 0 else 0.0
    scale = 1 - a * (z0 + ndtri(tails)) if math.isfinite(z0) else np.zeros(2)
    if not (scale > 0).all():
        raise DataError(
            f"BCa does not exist here ({100 * below:.3g} % of the resamples are below the estimate, acceleration "
            f"{a:.3g}); use method='percentile'"
        )
    return ndtr(z0 + (z0 + ndtri(tails)) / scale)


def paired(
    metric: Callable[..., Any],
    first: np.ndarray,
    second: np.ndarray,
    *others: np.ndarray,
    resamples: int = 9999,
    seed: int = 0,
    vectorised: bool = False,
) -> Permutation:
    """The paired permutation test of a metric, from two methods' predictions of the same examples.

    If the methods do not differ, the two predictions of an example could as well be exchanged. Of `resamples` random
    exchanges, each example with probability 1/2, and the data themselves,

        p = (1 + number of exchanges with |difference| >= that of the data) / (1 + resamples).

    Of 0/1 hits and the mean this is McNemar's exact test, but for the draws.

    Args:
        metric: of (predictions, *others), a number; with `vectorised`, of arrays [r, n, ...], numbers [r].
        first: predictions of the first method, [n, ...].
        second: of the second one, in the same order.
        *others: what both share, [n, ...], such as the labels.
        resamples: how many.
        seed: of the draws.
        vectorised: whether the metric takes many samples at once.

    Returns:
        A Permutation.

    Raises:
        DataError: for predictions of other examples, or a metric that is not finite.
        ConfigError: for less than one resample.

    Reference: Good 2005, "Permutation, Parametric and Bootstrap Tests of Hypotheses", section 3.7; Yeh 2000, "More
    accurate tests for the statistical significance of result differences".
    """
    if resamples < 1:
        raise ConfigError(f"resamples={resamples} must be at least 1, such as 9999")
    first, second, *shared = checked([first, second, *others])
    if first.shape != second.shape:
        raise DataError(f"the permutation test pairs predictions: got {first.shape} and {second.shape}")
    n, random = len(first), np.random.default_rng(seed)

    def differences(exchanged: np.ndarray) -> np.ndarray:
        where = exchanged.reshape(*exchanged.shape, *[1] * (first.ndim - 1))
        fixed = [np.broadcast_to(array, (len(exchanged), *array.shape)) for array in shared]
        one, other = np.where(where, second, first), np.where(where, first, second)
        if vectorised:
            return np.asarray(metric(other, *fixed), np.float64) - np.asarray(metric(one, *fixed), np.float64)
        return np.array([metric(b, *shared) - metric(a, *shared) for a, b in zip(one, other, strict=True)], np.float64)

    observed = differences(np.zeros((1, n), bool))[0]
    reached, at_once = 0, max(1, DRAWN_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        drawn = differences(random.random((min(at_once, resamples - start), n), np.float32) < 0.5)
        if not np.isfinite(drawn).all() or not np.isfinite(observed):
            raise DataError("the metric of these predictions, or of some exchanged ones, is not finite")
        reached += int((np.abs(drawn) >= abs(observed) - TOLERANCE).sum())
    return Permutation(float(observed), (1 + reached) / (1 + resamples))
