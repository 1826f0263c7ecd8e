"""Measures of a classifier: right answers, on the device; and what a confusion matrix says, on the host.

A confusion matrix is int [c, c], rows true and columns predicted. Each class against the rest has the four counts of a
binary problem (`one_vs_rest`), so that every rate of `confusion` applies to it. A class for which a rate is undefined
is left out of means, and named.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import confusion
from cvdl_jax.metrics.checks import finite
from cvdl_jax.metrics.confusion import Counts, Rate

if TYPE_CHECKING:  # JAX is imported in the functions that run on it: pages of runs and tables are made without
    import jax


def top_k_correct(logits: jax.Array, labels: jax.Array, k: int = 1) -> jax.Array:
    """Whether the right class is among the k best scores.

    Of equal scores the class with the smaller index ranks higher, as in argmax, so the answer does not depend on the
    sorting; a model that gives every class one score is right on class 0 only (k = 1). A row with a NaN is wrong.

    Args:
        logits: float [b, c].
        labels: int [b], or soft labels float [b, c], of which the largest counts (the first of equals).
        k: 1..c.

    Returns:
        float32 [b], 0 or 1.

    Raises:
        ConfigError: if k is not in 1..c.
    """
    import jax.numpy as jnp

    c = logits.shape[-1]
    if not 1 <= k <= c:
        raise ConfigError(f"top-{k} accuracy needs 1 <= k <= the number of classes, {c}")
    if labels.ndim == 2:
        labels = labels.argmax(-1)
    right = jnp.take_along_axis(logits, labels[:, None], axis=-1)  # [b, 1]
    earlier = jnp.arange(c)[None] < labels[:, None]  # [b, c]
    rank = ((logits > right) | ((logits == right) & earlier)).sum(-1)  # [b], 0 is the best
    known = (labels >= 0) & (labels < c) & ~jnp.isnan(logits).any(-1)
    return ((rank < k) & known).astype(jnp.float32)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the best score is that of the right class: `top_k_correct` with k = 1. Returns: float32 [b]."""
    return top_k_correct(logits, labels, 1)


def top_k_error(logits: jax.Array, labels: jax.Array, k: int = 1) -> float:
    """The share of examples whose class is not among the k best scores: 1 - accuracy at k; see `top_k_correct`.

    Raises:
        DataError: without examples.
        ConfigError: if k is not in 1..c.
    """
    if not len(logits):
        raise DataError(f"top-{k} error needs at least one example, got logits {list(logits.shape)}")
    return 1.0 - float(top_k_correct(logits, labels, k).mean())


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, num_classes: int, normalise: str | None = None
) -> np.ndarray:
    """How often class i (row) was called class j (column).

    Args:
        labels: int [n].
        predictions: int [n].
        num_classes: c.
        normalise: None for counts; "true" divides each row by its sum (recall on the diagonal), "predicted" each
            column (precision), "all" everything by n. Empty rows and columns stay zero.

    Returns:
        int64 [c, c], or float64 when normalised.

    Raises:
        DataError: if shapes differ or a class is not in 0..c-1.
        ConfigError: for an unknown `normalise`.
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    if labels.shape != predictions.shape or labels.ndim != 1:
        raise DataError(f"labels and predictions must both be [n], got {labels.shape} and {predictions.shape}")
    for name, values in (("label", labels), ("prediction", predictions)):
        wrong = values[(values < 0) | (values >= num_classes)]
        if wrong.size:
            raise DataError(f"{name} {wrong[0]} is not one of the {num_classes} classes 0..{num_classes - 1}")
    flat = labels.astype(np.int64) * num_classes + predictions
    counts = np.bincount(flat, minlength=num_classes**2).reshape(num_classes, num_classes)  # [c, c]
    return counts if normalise is None else normalised(counts, normalise)


def normalised(counts: np.ndarray, normalise: str) -> np.ndarray:
    """A confusion matrix int [c, c] as shares, float64 [c, c]: see `confusion_matrix`."""
    axes = {"true": 1, "predicted": 0, "all": None}
    if normalise not in axes:
        raise ConfigError(f"normalise={normalise!r} must be None or one of {', '.join(axes)}")
    total = counts.sum(axes[normalise], keepdims=True)
    return np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)


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


def averages(confusions: Any, rate: Rate) -> Averages:
    """A rate of each class against the rest: per class, macro, micro and weighted.

    Args:
        confusions: int [c, c].
        rate: a function of `confusion`, such as `confusion.precision`.

    Raises:
        DataError: as of `checked`.
    """
    counts = one_vs_rest(confusions)
    per_class = np.asarray(rate(counts), np.float64)
    known = ~np.isnan(per_class)
    support = (counts.tp + counts.fn)[known]
    return Averages(
        per_class,
        confusion.mean_of_known(per_class),
        float(rate(Counts(*(x.sum() for x in counts)))),
        float(confusion.ratio((per_class[known] * support).sum(), support.sum())),
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
    return averages(confusions, confusion.recall).macro


def kappa(confusions: Any) -> float:
    """Cohen's kappa `(p - e) / (1 - e)`: accuracy p beyond the agreement e of independent guesses; NaN for e = 1.

    Reference: Cohen 1960, "A coefficient of agreement for nominal scales".
    """
    m = checked(confusions)
    n = m.sum()
    chance = m.sum(0) @ m.sum(1)  # n^2 e
    return float(confusion.ratio(n * np.trace(m) - chance, n * n - chance))


def matthews(confusions: Any, undefined: float = np.nan) -> float:
    """The correlation of true and predicted classes; for two classes that of `confusion.matthews`.

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


def macro_f1(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """The macro F1 of many samples at once, such as the resamples of a bootstrap, without a matrix for each.

    Args:
        labels: int [..., n]; what is not in 0..c-1 is no class's example.
        predictions: int [..., n]; what is not in 0..c-1 is always wrong.
        num_classes: c.

    Returns:
        float64 [...], over the classes that occur or are predicted.
    """
    samples = math.prod(labels.shape[:-1])
    first = np.arange(samples).reshape(*labels.shape[:-1], 1) * (num_classes + 1)  # the last bin takes what is no class

    def per_class(classes: np.ndarray, kept: np.ndarray | bool = True) -> np.ndarray:
        bins = first + np.where(kept & (classes >= 0) & (classes < num_classes), classes, num_classes)
        counts = np.bincount(bins.ravel(), minlength=samples * (num_classes + 1))
        return counts.reshape(*labels.shape[:-1], -1)[..., :-1]  # [..., c]

    tp = per_class(labels, predictions == labels)
    f1 = confusion.f1(Counts(tp, per_class(predictions) - tp, per_class(labels) - tp, 0))
    return np.nanmean(f1, -1)
