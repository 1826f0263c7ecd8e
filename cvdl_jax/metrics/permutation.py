"""Paired permutation test: do two methods differ by more than exchanging their predictions would make them?"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.bootstrap import DRAWN_AT_ONCE, checked

TOLERANCE = 1e-12  # metrics that are equal on paper


class Permutation(NamedTuple):
    """What the permutation test says.

    Attributes:
        difference: metric of the second method - that of the first.
        p: two-sided p value; at least 1 / (1 + resamples).
    """

    difference: float
    p: float


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
        fixed = [np.broadcast_to(each, (len(exchanged), *each.shape)) for each in shared]
        one, other = np.where(where, second, first), np.where(where, first, second)
        if vectorised:
            return np.asarray(metric(other, *fixed), np.float64) - np.asarray(metric(one, *fixed), np.float64)
        return np.array([metric(b, *shared) - metric(a, *shared) for a, b in zip(one, other, strict=True)], np.float64)

    observed = differences(np.zeros((1, n), bool))[0]
    reached, at_once = 0, max(1, DRAWN_AT_ONCE // n)
    for start in range(0, resamples, at_once):
        found = differences(random.random((min(at_once, resamples - start), n), np.float32) < 0.5)
        if not np.isfinite(found).all() or not np.isfinite(observed):
            raise DataError("the metric of these predictions, or of some exchanged ones, is not finite")
        reached += int((np.abs(found) >= abs(observed) - TOLERANCE).sum())
    return Permutation(float(observed), (1 + reached) / (1 + resamples))
