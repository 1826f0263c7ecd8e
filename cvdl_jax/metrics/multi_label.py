"""Measures of multi-label classification: every class is a decision of its own, taken where its score is above 0."""

from typing import Any

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import confusion
from cvdl_jax.metrics.checks import finite
from cvdl_jax.metrics.confusion import Counts, mean_of_known
from cvdl_jax.metrics.ranking import mean_average_precision


def counts(labels: Any, predictions: Any) -> Counts:
    """True and false positives and negatives of each class.

    Args:
        labels: 0 or 1 [n, c].
        predictions: 0, 1 or bool [n, c].

    Returns:
        int64 [c] each.

    Raises:
        DataError: for other values, or shapes that differ.
    """
    real, said = (finite(name, np.asarray(x), 2) for name, x in (("labels", labels), ("predictions", predictions)))
    if real.shape != said.shape:
        raise DataError(f"labels {list(real.shape)} and predictions {list(said.shape)} must both be [n, classes]")
    for name, x in (("labels", real), ("predictions", said)):
        if not np.isin(x, (0, 1)).all():
            raise DataError(f"{name} must be 0 or 1, not {x[~np.isin(x, (0, 1))][0]}")
    real, said = real == 1, said == 1
    return Counts(*(x.sum(0) for x in (real & said, ~real & said, real & ~said, ~real & ~said)))


def metrics(labels: Any, scores: Any) -> dict[str, float]:
    """What is reported of multi-label scores.

    Args:
        labels: 0 or 1 [n, c].
        scores: logits, float [n, c]; a class is said to be there where its score is above 0, p > 1/2.

    Returns:
        `mean_ap`: the mean over classes of their average precision (the step form, without interpolation); `micro_f1`:
        F1 of all decisions together; `macro_f1`: the mean of the classes' F1; `exact_match`: the share of examples with
        every class right; `label_accuracy`: the share of single decisions that are right (1 - Hamming loss). A class
        that no example has, and nothing said of any, does not count in a mean; NaN where none counts.

    Raises:
        DataError: for labels that are not 0 or 1, scores that are not finite, or shapes that differ.

    Reference: Tsoumakas and Katakis 2007, "Multi-Label Classification: An Overview", section 4.
    """
    scores = finite("scores", scores, 2)
    said = scores > 0
    of_classes = counts(labels, said)
    real = np.asarray(labels).astype(np.int64)  # 0 or 1, as `counts` has seen
    right = real == said
    return {
        "mean_ap": mean_average_precision(real, scores, "step"),
        "micro_f1": float(confusion.f1(Counts(*(x.sum() for x in of_classes)))),
        "macro_f1": mean_of_known(confusion.f1(of_classes)),
        "exact_match": float(right.all(1).mean()),
        "label_accuracy": float(right.mean()),
    }
