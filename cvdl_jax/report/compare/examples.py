"""Two runs, example by example: the difference of each metric with its interval, and the paired tests."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import auc, paired_tests, resampling
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report.compare import scores
from cvdl_jax.report.compare.predictions import CLASSES, Predictions

RESAMPLES = 2000  # of a bootstrap
EXCHANGES = 1999  # of a permutation test of all examples: p = 0.0005 at least
BOOTSTRAP, PAIRED, WILSON, DELONG = "bootstrap", "paired bootstrap", "Wilson", "DeLong"


def primary(found: Predictions) -> str:
    """The metric that the verdict is about."""
    return "accuracy" if found.kind == CLASSES else "mae"


def values(found: Predictions) -> dict[str, float | None]:
    """Every metric of one run without its interval, None where it is not known."""
    if found.kind != CLASSES:
        errors = _errors(found)
        return {name: float(metric(errors[name])) for name, metric in _OF_ERRORS.items()}
    f1 = float(scores.macro_f1(found.classes, found.guess, found.truth))
    metrics = {"accuracy": float(scores.accuracy(found.guess, found.truth)), "macro_f1": f1}
    return metrics | ({"auc": _area(found)["value"]} if found.score is not None else {})


def summary(found: Predictions) -> dict[str, dict[str, Any]]:
    """Every metric of one run: {name: value, low, high, interval}; `why` where there is no interval."""
    if found.kind != CLASSES:
        errors = _errors(found)
        return {name: _boot(metric, errors[name]) for name, metric in _OF_ERRORS.items()}
    n, right = len(found.truth), int((found.guess == found.truth).sum())
    low, high = wilson(right, n)
    metrics = {"accuracy": {"value": right / n, "low": low, "high": high, "interval": WILSON}}
    metrics["macro_f1"] = _boot(partial(scores.macro_f1, found.classes), found.guess, found.truth)
    if found.score is not None:
        metrics["auc"] = _area(found)
    return metrics


def compare(first: Predictions, second: Predictions) -> dict[str, Any]:
    """The differences, second - first, and their tests.

    Args:
        first: of the same examples as the second, see `predictions.check_same`.
        second: the other run.

    Returns:
        {"metrics": {name: difference, low, high, interval, p, test}, "mcnemar": ... of classifiers, "p", "test"}: the
        last two are those of the primary metric.
    """
    if first.kind != CLASSES:
        metrics = _compare_errors(first, second)
        return {"metrics": metrics, "p": metrics["mae"]["p"], "test": "permutation"}
    right = [each.guess == each.truth for each in (first, second)]
    found = {form: paired_tests.mcnemar(*right, form) for form in ("exact", "midp", "chi2")}
    exact = found["exact"]
    f1 = partial(scores.macro_f1, first.classes)
    metrics = {
        "accuracy": _difference(scores.mean, *right) | {"p": _permuted_hits(*right), "test": "permutation"},
        "macro_f1": _difference(f1, first.guess, second.guess, first.truth),
    }
    if first.score is not None:
        metrics["auc"] = _areas(first, second)
    tests = {"first_only": exact.first_only, "second_only": exact.second_only, "n": exact.n}
    p = {f"p_{form}": each.p for form, each in found.items()}
    return {"metrics": metrics, "mcnemar": tests | p, "p": exact.p, "test": "McNemar"}


# Bootstrap ----------------------------------------------------------------------------------------------------------


def _boot(metric: Callable[..., Any], *arrays: np.ndarray) -> dict[str, Any]:
    """A metric of one run with its percentile interval; none where all resamples are equal."""
    found = resampling.interval(metric, *arrays, method="percentile", resamples=RESAMPLES, vectorised=True)
    ends = {"value": found.estimate, "low": found.low, "high": found.high, "interval": BOOTSTRAP}
    if found.low == found.high:
        return ends | {"low": None, "high": None, "why": "every resample has the same value"}
    return ends


def _difference(
    metric: Callable[..., Any], first: np.ndarray, second: np.ndarray, *shared: np.ndarray, permute: bool = False
) -> dict[str, Any]:
    """The difference of a metric with its paired bootstrap interval, and the p of that or of the permutation test."""

    def both(first: np.ndarray, second: np.ndarray, *shared: np.ndarray) -> np.ndarray:
        return metric(second, *shared) - metric(first, *shared)

    options = {"resamples": RESAMPLES, "vectorised": True}
    found = resampling.interval(both, first, second, *shared, method="percentile", **options)
    ends = {"difference": found.estimate, "low": found.low, "high": found.high, "interval": PAIRED}
    if permute:
        p = resampling.paired(metric, first, second, *shared, resamples=EXCHANGES, vectorised=True).p
        return ends | {"p": p, "test": "permutation"}
    return ends | {"p": found.p, "test": PAIRED}


def _permuted_hits(first: np.ndarray, second: np.ndarray) -> float:
    """The p of the permutation test of hits; examples on which both are right or wrong change nothing."""
    differ = first != second
    if not differ.any():
        return 1.0
    hits = [each[differ].astype(np.float64) for each in (first, second)]
    return resampling.paired(scores.mean, *hits, vectorised=True).p


# Numbers ------------------------------------------------------------------------------------------------------------

_OF_ERRORS = {"mae": scores.mean, "rmse": scores.root_mean}


def _errors(found: Predictions) -> dict[str, np.ndarray]:
    """The errors of each example that a metric is made of.

    Raises:
        DataError: for predictions or targets that are not finite.
    """
    if not np.isfinite(found.truth).all() or not np.isfinite(found.guess).all():
        raise DataError(f"--compare {found.run}: some {found.split} predictions or targets are not finite")
    of = {"mae": scores.absolute, "rmse": scores.squared}
    return {name: error(found.guess, found.truth) for name, error in of.items()}


def _compare_errors(first: Predictions, second: Predictions) -> dict[str, Any]:
    errors = [_errors(each) for each in (first, second)]
    return {name: _difference(m, *(each[name] for each in errors), permute=True) for name, m in _OF_ERRORS.items()}


# Areas --------------------------------------------------------------------------------------------------------------


def _area(found: Predictions) -> dict[str, Any]:
    """The area under the ROC curve with DeLong's interval of its logit, or why there is none."""
    try:
        area = auc.delong(found.truth, found.score)
        nothing = {"value": area.auc, "low": None, "high": None, "interval": DELONG}
        if not 0 < area.auc < 1:
            return nothing | {"why": "the classes are separated completely"}
        area = auc.delong(found.truth, found.score, scale="logit")
    except DataError as error:
        return {"value": None, "low": None, "high": None, "interval": DELONG, "why": str(error)}
    return nothing | {"low": area.low, "high": area.high}


def _areas(first: Predictions, second: Predictions) -> dict[str, Any]:
    """The difference of two areas with DeLong's interval and test, or why there is none."""
    try:
        found = auc.delong_test(first.truth, first.score, second.score)
    except DataError as error:
        return {"difference": None, "low": None, "high": None, "p": None, "test": DELONG, "why": str(error)}
    p = None if np.isnan(found.p) else found.p
    ends = {"difference": found.difference, "low": found.low, "high": found.high, "interval": DELONG}
    return ends | {"p": p, "test": DELONG}
