"""The rates of a 2x2 confusion matrix, one function each, and `report`, which gives all of them at once.

Each is a function of `Counts`, whose entries are numbers, or arrays with one entry per class (see
`classification.one_vs_rest`). A rate is NaN where it is undefined, that is 0 / 0: no silent 0. A likelihood or odds
ratio with only its denominator 0 is infinite.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.core.formatting import columns
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.checks import binary_scores, finite, integers


class Counts(NamedTuple):
    """How many examples are true and false positives and negatives: numbers, or arrays of one shape."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


Rate = Callable[[Counts], Any]  # float, or float64 [...] of counts that are arrays


def checked(tp: Any, fp: Any, fn: Any, tn: Any) -> Counts:
    """Counts as float64.

    Raises:
        DataError: naming a count that is negative or not finite, or if all of a problem's are 0.
    """
    counts = Counts(*(finite(name, x) for name, x in zip(Counts._fields, (tp, fp, fn, tn), strict=True)))
    for name, x in zip(Counts._fields, counts, strict=True):
        if (x < 0).any():
            raise DataError(f"{name}={x.min():g} must be a count, 0 or more")
    if (sum(counts) == 0).any():
        raise DataError("tp, fp, fn and tn are all 0; rates need at least one example")
    return counts


def counts(labels: Any, predictions: Any, positive: int = 1) -> Counts:
    """The counts of hard decisions; every class that is not `positive` is negative.

    Args:
        labels: int or bool [n].
        predictions: int or bool [n].
        positive: the class that counts as positive.

    Raises:
        DataError: for empty arrays, ones of different shape, or scores in place of classes.
    """
    labels, predictions = integers("labels", labels), integers("predictions", predictions)
    if labels.shape != predictions.shape:
        raise DataError(f"labels {list(labels.shape)} and predictions {list(predictions.shape)} differ in length")
    real, said = labels == positive, predictions == positive
    return Counts(*(int(x.sum()) for x in (real & said, ~real & said, real & ~said, ~real & ~said)))


def counts_at(labels: Any, scores: Any, threshold: float) -> Counts:
    """The counts where an example is called positive if its score is at least the threshold.

    Args:
        labels: 0, 1 or bool [n].
        scores: float [n].
        threshold: inf calls everything negative.

    Raises:
        DataError: as of `checks.binary_scores`.
    """
    labels, scores = binary_scores(labels, scores)
    return counts(labels, scores >= threshold)


def ratio(above: Any, below: Any) -> Any:
    """A quotient in float64, without warnings: 0 / 0 is NaN, x / 0 is infinite."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(above, np.float64)[()] / np.asarray(below, np.float64)[()]


def _add(*parts: Any) -> Any:
    """A sum in float64: the caller's dtype may be one that a sum of counts does not fit."""
    return sum(np.asarray(part, np.float64) for part in parts)


def mean_of_known(values: Any) -> float:
    """The mean of the values that are defined; NaN where none is."""
    values = np.asarray(values, np.float64)
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")


def accuracy(c: Counts) -> Any:
    """(TP + TN) / all."""
    return ratio(_add(c.tp, c.tn), _add(*c))


def prevalence(c: Counts) -> Any:
    """P / (P + N), the share of actual positives."""
    return ratio(_add(c.tp, c.fn), _add(*c))


def precision(c: Counts) -> Any:
    """TP / (TP + FP), the positive predictive value; NaN where nothing is called positive."""
    return ratio(c.tp, _add(c.tp, c.fp))


def recall(c: Counts) -> Any:
    """TP / (TP + FN): sensitivity, true positive rate, power; NaN without positives."""
    return ratio(c.tp, _add(c.tp, c.fn))


def specificity(c: Counts) -> Any:
    """TN / (TN + FP): selectivity, true negative rate; NaN without negatives."""
    return ratio(c.tn, _add(c.tn, c.fp))


def false_positive_rate(c: Counts) -> Any:
    """FP / (FP + TN) = 1 - specificity, the fall-out; NaN without negatives."""
    return ratio(c.fp, _add(c.fp, c.tn))


def false_negative_rate(c: Counts) -> Any:
    """FN / (TP + FN) = 1 - recall, the miss rate; NaN without positives."""
    return ratio(c.fn, _add(c.tp, c.fn))


def false_discovery_rate(c: Counts) -> Any:
    """FP / (TP + FP) = 1 - precision; NaN where nothing is called positive."""
    return ratio(c.fp, _add(c.tp, c.fp))


def false_omission_rate(c: Counts) -> Any:
    """FN / (FN + TN) = 1 - NPV; NaN where nothing is called negative."""
    return ratio(c.fn, _add(c.fn, c.tn))


def negative_predictive_value(c: Counts) -> Any:
    """TN / (FN + TN); NaN where nothing is called negative."""
    return ratio(c.tn, _add(c.fn, c.tn))


def positive_likelihood_ratio(c: Counts) -> Any:
    """LR+ = TPR / FPR; infinite without a false positive, NaN for 0 / 0 or without positives or negatives."""
    return ratio(recall(c), false_positive_rate(c))


def negative_likelihood_ratio(c: Counts) -> Any:
    """LR- = FNR / TNR; infinite without a true negative, NaN for 0 / 0 or without positives or negatives."""
    return ratio(false_negative_rate(c), specificity(c))


def diagnostic_odds_ratio(c: Counts) -> Any:
    """DOR = LR+ / LR- = TP TN / (FP FN); infinite where only FP FN is 0, NaN for 0 / 0."""
    return ratio(np.multiply(c.tp, c.tn, dtype=np.float64), np.multiply(c.fp, c.fn, dtype=np.float64))


def f_beta(c: Counts, beta: float = 1.0) -> Any:
    """The weighted harmonic mean of precision p and recall r: `(1 + beta^2) p r / (beta^2 p + r)`.

    In counts `(1 + beta^2) TP / ((1 + beta^2) TP + beta^2 FN + FP)`: 0 where positives exist and none is found, NaN
    where there are none and none is predicted.

    Args:
        c: the counts.
        beta: recall counts beta times as much as precision; 0 gives precision.

    Raises:
        ConfigError: for a beta that is negative or not finite.

    Reference: van Rijsbergen 1979, "Information Retrieval", chapter 7.
    """
    if not 0 <= beta < np.inf:
        raise ConfigError(f"beta={beta} of f_beta must be 0 or a positive number, such as 1 or 2")
    square = beta * beta
    hits = (1 + square) * np.asarray(c.tp, np.float64)
    return ratio(hits, hits + square * np.asarray(c.fn, np.float64) + c.fp)


def f1(c: Counts) -> Any:
    """2 TP / (2 TP + FP + FN), the harmonic mean of precision and recall; also the Dice coefficient of two sets."""
    return f_beta(c, 1.0)


def jaccard(c: Counts) -> Any:
    """TP / (TP + FP + FN), the intersection over union; NaN without positives and without positive predictions."""
    return ratio(c.tp, _add(c.tp, c.fp, c.fn))


def balanced_accuracy(c: Counts) -> Any:
    """(TPR + TNR) / 2; NaN without positives or without negatives."""
    return (recall(c) + specificity(c)) / 2


def matthews(c: Counts, undefined: float = np.nan) -> Any:
    """`(TP TN - FP FN) / sqrt((TP + FP) (TP + FN) (TN + FP) (TN + FN))`, in -1..1.

    Args:
        c: the counts.
        undefined: the value where a factor is 0: one class only, in truth or in prediction. Some libraries say 0.

    Reference: Matthews 1975, "Comparison of the predicted and observed secondary structure of T4 phage lysozyme".
    """
    tp, fp, fn, tn = (np.asarray(x, np.float64) for x in c)
    below = np.sqrt(tp + fp) * np.sqrt(tp + fn) * np.sqrt(tn + fp) * np.sqrt(tn + fn)
    return np.where(below > 0, ratio(tp * tn - fp * fn, below), undefined)[()]


_NO_POSITIVE = "no example is positive"
_NO_NEGATIVE = "no example is negative"
_NONE_CALLED_POSITIVE = "nothing is called positive"
_NONE_CALLED_NEGATIVE = "nothing is called negative"
_ONE_CLASS = "only one class occurs, in truth or in prediction"


class Entry(NamedTuple):
    """A rate: its function, how it is shown, and when it is 0 / 0."""

    rate: Rate
    title: str
    undefined: str


ENTRIES = {
    "accuracy": Entry(accuracy, "accuracy", ""),
    "prevalence": Entry(prevalence, "prevalence", ""),
    "precision": Entry(precision, "precision, PPV", _NONE_CALLED_POSITIVE),
    "recall": Entry(recall, "recall, sensitivity, TPR, power", _NO_POSITIVE),
    "specificity": Entry(specificity, "specificity, selectivity, TNR", _NO_NEGATIVE),
    "fpr": Entry(false_positive_rate, "false positive rate, fall-out", _NO_NEGATIVE),
    "fnr": Entry(false_negative_rate, "false negative rate, miss rate", _NO_POSITIVE),
    "fdr": Entry(false_discovery_rate, "false discovery rate", _NONE_CALLED_POSITIVE),
    "for": Entry(false_omission_rate, "false omission rate", _NONE_CALLED_NEGATIVE),
    "npv": Entry(negative_predictive_value, "negative predictive value", _NONE_CALLED_NEGATIVE),
    "lr_plus": Entry(positive_likelihood_ratio, "LR+, positive likelihood ratio",
                     f"{_NO_POSITIVE}, or {_NO_NEGATIVE}, or {_NONE_CALLED_POSITIVE}"),
    "lr_minus": Entry(negative_likelihood_ratio, "LR-, negative likelihood ratio",
                      f"{_NO_POSITIVE}, or {_NO_NEGATIVE}, or {_NONE_CALLED_NEGATIVE}"),
    "dor": Entry(diagnostic_odds_ratio, "diagnostic odds ratio", _ONE_CLASS),
    "f1": Entry(f1, "F1", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "f2": Entry(partial(f_beta, beta=2.0), "F2", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "f0.5": Entry(partial(f_beta, beta=0.5), "F0.5", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "mcc": Entry(matthews, "Matthews correlation", _ONE_CLASS),
    "balanced_accuracy": Entry(balanced_accuracy, "balanced accuracy", f"{_NO_POSITIVE}, or {_NO_NEGATIVE}"),
    "jaccard": Entry(jaccard, "Jaccard index, IoU", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
}  # fmt: skip


class BinaryReport(NamedTuple):
    """All rates of one classifier.

    Attributes:
        counts: TP, FP, FN, TN.
        values: {name: rate}, the names of `ENTRIES`; NaN where undefined, infinite where only a denominator is 0.
        undefined: the names of those that are NaN.
    """

    counts: Counts
    values: dict[str, float]
    undefined: tuple[str, ...]

    def text(self) -> str:
        """The report as lines; an undefined rate says why it is."""
        tp, fp, fn, tn = (f"{x:g}" for x in self.counts)
        rows = []
        for name, value in self.values.items():
            title, why = ENTRIES[name].title, ENTRIES[name].undefined
            shown = f"undefined: {why}" if np.isnan(value) else "infinite" if np.isinf(value) else f"{value:.6f}"
            rows.append((title, shown))
        return "\n".join([f"TP {tp}  FP {fp}  FN {fn}  TN {tn}", *columns(rows, "ll")])


def report(tp: float, fp: float, fn: float, tn: float) -> BinaryReport:
    """All rates, from counts.

    Raises:
        DataError: for a negative count, one that is not finite, or no example at all.
    """
    c = checked(tp, fp, fn, tn)
    values = {name: float(entry.rate(c)) for name, entry in ENTRIES.items()}
    undefined = tuple(name for name, x in values.items() if np.isnan(x))
    return BinaryReport(Counts(*map(float, c)), values, undefined)


def report_of(labels: Any, predictions: Any, positive: int = 1) -> BinaryReport:
    """All rates, from hard decisions: see `counts`."""
    return report(*counts(labels, predictions, positive))
