"""Measures of c classes from a confusion matrix int [c, c], rows true and columns predicted.

Each class against the rest has the four counts of a binary problem, so every function of `rates` works for it. A class
for which a rate is undefined is left out of means and named.
"""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import rates
from cvdl_jax.metrics.checks import finite
from cvdl_jax.metrics.rates import Counts, Rate


class Averages(NamedTuple):
    """A rate of every class, and its means.

    Attributes:
        per_class: float64 [c], NaN where undefined.
        macro: mean over the classes that have a value; NaN if none has.
        micro: the rate of the counts added over the classes.
        weighted: mean over the classes that have a value, weighted by their true examples.
        undefined: the classes without a value.
    """

    per_class: np.ndarray
    macro: float
    micro: float
    weighted: float
    undefined: tuple[int, ...]


def checked(confusions: Any) -> np.ndarray:
    """A confusion matrix as float64 [c, c].

    Raises:
        DataError: if it is not square, has a negative entry, or no example.
    """
    m = finite("confusions", confusions, 2)
    if m.shape[0] != m.shape[1] or (m < 0).any() or m.sum() == 0:
        raise DataError(f"confusions {list(m.shape)} must be square counts [c, c] of at least one example")
    return m


def one_vs_rest(confusions: Any) -> Counts:
    """TP, FP, FN and TN of each class against all others, float64 [c] each."""
    m = checked(confusions)
    tp = np.diag(m)
    fp, fn = m.sum(0) - tp, m.sum(1) - tp
    return Counts(tp, fp, fn, m.sum() - tp - fp - fn)


def averages(confusions: Any, rate: Rate) -> Averages:
    """A rate of each class against the rest: per class, macro, micro and weighted.

    Args:
        confusions: int [c, c].
        rate: a function of `rates`, such as `rates.precision`.

    Raises:
        DataError: as of `checked`.
    """
    counts = one_vs_rest(confusions)
    each = np.asarray(rate(counts), np.float64)
    known = ~np.isnan(each)
    support = np.asarray(counts.tp + counts.fn)[known]
    return Averages(
        each,
        float(each[known].mean()) if known.any() else float("nan"),
        float(rate(Counts(*(x.sum() for x in counts)))),
        float(rates.ratio((each[known] * support).sum(), support.sum())),
        tuple(np.flatnonzero(~known).tolist()),
    )


def accuracy(confusions: Any) -> float:
    """The share of the diagonal."""
    m = checked(confusions)
    return float(np.trace(m) / m.sum())


def balanced_accuracy(confusions: Any) -> float:
    """The mean recall of the classes that occur; chance is 1 / c whatever their sizes.

    Reference: Brodersen et al. 2010, "The balanced accuracy and its posterior distribution".
    """
    return averages(confusions, rates.recall).macro


def kappa(confusions: Any) -> float:
    """Cohen's kappa `(p - e) / (1 - e)`: accuracy p beyond the agreement e of independent guesses; NaN for e = 1.

    Reference: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    m = checked(confusions)
    n = m.sum()
    chance = m.sum(0) @ m.sum(1)  # n^2 e
    return float(rates.ratio(n * np.trace(m) - chance, n * n - chance))


def matthews(confusions: Any, undefined: float = np.nan) -> float:
    """The correlation of true and predicted classes; for two classes that of `rates.matthews`.

        (n tr C - t p) / sqrt((n^2 - p p) (n^2 - t t)),    t and p the sums of rows and columns

    Args:
        confusions: int [c, c].
        undefined: the value where only one class occurs, in truth or in prediction.

    Reference: Gorodkin 2004, "Comparing two K-category assignments by a K-category correlation coefficient".
    """
    m = checked(confusions)
    n, t, p = m.sum(), m.sum(1), m.sum(0)
    below = np.sqrt(n * n - p @ p) * np.sqrt(n * n - t @ t)
    return float((n * np.trace(m) - t @ p) / below) if below > 0 else float(undefined)
