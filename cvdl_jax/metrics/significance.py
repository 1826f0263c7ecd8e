"""Is one method better than another? Paired tests: on the examples of one test set, and on seeds."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError

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


def mcnemar(first: np.ndarray, second: np.ndarray) -> McNemar:
    """McNemar's exact test that two classifiers are right equally often, from the same examples.

    Examples on which both are right, or both wrong, say nothing. Of the b + c others, as many as not would be the
    first one's if the two were equally good:

        p = min(1, 2 P[X <= min(b, c)]),    X ~ Binomial(b + c, 1/2)

    Args:
        first: whether the first classifier is right, bool [n].
        second: of the second one, in the same order.

    Returns:
        A McNemar; p = 1 where they never differ.

    Raises:
        DataError: if the two do not belong to the same examples, or there are none.

    Reference: McNemar 1947, "Note on the sampling error of the difference between correlated proportions"; the exact
    form as in Dietterich 1998, "Approximate statistical tests", section 3.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not first.size:
        raise DataError(f"McNemar's test pairs examples: got {first.shape} and {second.shape}, expected the same [n]")
    b, c = int((first & ~second).sum()), int((~first & second).sum())
    if b + c == 0:
        return McNemar(1.0, 0, 0, len(first))
    from scipy.special import bdtr  # the binomial distribution; lighter than scipy.stats

    return McNemar(min(1.0, 2 * float(bdtr(min(b, c), b + c, 0.5))), b, c, len(first))


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
    for each in d[1:]:  # a pattern and its negative have one |sum|: the first sign stays
        totals = np.concatenate([totals + each, totals - each])
    totals = np.abs(totals + d[0])
    tolerance = 1e-9 * np.abs(d).sum()  # sums that are equal on paper
    return float(np.mean(totals >= abs(d.sum()) - tolerance))


def least_p(n: int) -> float:
    """The smallest p value that `sign_flip` can give for n pairs: 0.0625 for 5, 0.03125 for 6."""
    return 2.0 ** (1 - n)


def pairs_needed(alpha: float = 0.05) -> int:
    """The least number of pairs with which `sign_flip` can be below alpha: 6 for 0.05."""
    return next(n for n in itertools.count(1) if least_p(n) < alpha)


def format_p(p: float) -> str:
    """A p value for people: "p = 0.0312", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"
