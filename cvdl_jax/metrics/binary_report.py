"""All rates of a binary classifier in one call, with those named that are undefined."""

from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.metrics import rates
from cvdl_jax.metrics.rates import Counts, Rate

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


def _f(beta: float) -> Rate:
    return lambda c: rates.f_beta(c, beta)


ENTRIES = {
    "accuracy": Entry(rates.accuracy, "accuracy", ""),
    "prevalence": Entry(rates.prevalence, "prevalence", ""),
    "precision": Entry(rates.precision, "precision, PPV", _NONE_CALLED_POSITIVE),
    "recall": Entry(rates.recall, "recall, sensitivity, TPR, power", _NO_POSITIVE),
    "specificity": Entry(rates.specificity, "specificity, selectivity, TNR", _NO_NEGATIVE),
    "fpr": Entry(rates.false_positive_rate, "false positive rate, fall-out", _NO_NEGATIVE),
    "fnr": Entry(rates.false_negative_rate, "false negative rate, miss rate", _NO_POSITIVE),
    "fdr": Entry(rates.false_discovery_rate, "false discovery rate", _NONE_CALLED_POSITIVE),
    "for": Entry(rates.false_omission_rate, "false omission rate", _NONE_CALLED_NEGATIVE),
    "npv": Entry(rates.negative_predictive_value, "negative predictive value", _NONE_CALLED_NEGATIVE),
    "lr_plus": Entry(rates.positive_likelihood_ratio, "LR+, positive likelihood ratio",
                     f"{_NO_POSITIVE}, or {_NO_NEGATIVE}, or {_NONE_CALLED_POSITIVE}"),
    "lr_minus": Entry(rates.negative_likelihood_ratio, "LR-, negative likelihood ratio",
                      f"{_NO_POSITIVE}, or {_NO_NEGATIVE}, or {_NONE_CALLED_NEGATIVE}"),
    "dor": Entry(rates.diagnostic_odds_ratio, "diagnostic odds ratio", _ONE_CLASS),
    "f1": Entry(rates.f1, "F1", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "f2": Entry(_f(2.0), "F2", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "f0.5": Entry(_f(0.5), "F0.5", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
    "mcc": Entry(rates.matthews, "Matthews correlation", _ONE_CLASS),
    "balanced_accuracy": Entry(rates.balanced_accuracy, "balanced accuracy", f"{_NO_POSITIVE}, or {_NO_NEGATIVE}"),
    "jaccard": Entry(rates.jaccard, "Jaccard index, IoU", f"{_NO_POSITIVE} and {_NONE_CALLED_POSITIVE}"),
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
        wide = max(len(entry.title) for entry in ENTRIES.values())
        lines = [f"TP {tp}  FP {fp}  FN {fn}  TN {tn}"]
        for name, value in self.values.items():
            title, why = ENTRIES[name].title, ENTRIES[name].undefined
            shown = f"undefined: {why}" if np.isnan(value) else "infinite" if np.isinf(value) else f"{value:.6f}"
            lines.append(f"{title:<{wide}}  {shown}")
        return "\n".join(lines)


def report(tp: float, fp: float, fn: float, tn: float) -> BinaryReport:
    """All rates, from counts.

    Raises:
        DataError: for a negative count, one that is not finite, or no example at all.
    """
    checked = rates.checked(tp, fp, fn, tn)
    values = {name: float(entry.rate(checked)) for name, entry in ENTRIES.items()}
    counts = Counts(*(float(x) for x in checked))
    return BinaryReport(counts, values, tuple(name for name, x in values.items() if np.isnan(x)))


def report_of(labels: Any, predictions: Any, positive: int = 1) -> BinaryReport:
    """All rates, from hard decisions: see `rates.counts`."""
    return report(*rates.counts(labels, predictions, positive))
