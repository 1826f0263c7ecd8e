"""Two runs, example by example: the difference of each metric with its interval, and the paired tests."""

from collections.abc import Callable
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import classification
from cvdl_jax.metrics.stats import auc, paired_tests, resampling
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.report.compare.predictions import Predictions

RESAMPLES = 2000  # of a bootstrap
EXCHANGES = 1999  # of a permutation test of all examples: p = 0.0005 at least
BOOTSTRAP, PAIRED, WILSON, DELONG = "bootstrap", "paired bootstrap", "Wilson", "DeLong"


def primary(run: Predictions) -> str:
    """The metric that the verdict is about."""
    return "accuracy" if run.classes else "mae"


def values(run: Predictions) -> dict[str, float | None]:
    """Every metric of one run without its interval, None where it is not known."""
    if not run.classes:
        errors = _errors(run)
        return {name: float(metric(errors[name])) for name, metric in _OF_ERRORS.items()}
    f1 = float(_macro_f1(run.classes)(run.guess, run.truth))
    metrics = {"accuracy": float((run.guess == run.truth).mean()), "macro_f1": f1}
    return metrics | ({"auc": _area(run)["value"]} if run.score is not None else {})


def summary(run: Predictions) -> dict[str, dict[str, Any]]:
    """Every metric of one run: {name: value, low, high, interval}; `why` where there is no interval."""
    if not run.classes:
        errors = _errors(run)
        return {name: _boot(metric, errors[name]) for name, metric in _OF_ERRORS.items()}
    n, right = len(run.truth), int((run.guess == run.truth).sum())
    low, high = wilson(right, n)
    metrics = {"accuracy": {"value": right / n, "low": low, "high": high, "interval": WILSON}}
    metrics["macro_f1"] = _boot(_macro_f1(run.classes), run.guess, run.truth)
    if run.score is not None:
        metrics["auc"] = _area(run)
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
    if not first.classes:
        metrics = _compare_errors(first, second)
        return {"metrics": metrics, "p": metrics["mae"]["p"], "test": "permutation"}
    right = [run.guess == run.truth for run in (first, second)]
    tests = {form: paired_tests.mcnemar(*right, form) for form in ("exact", "midp", "chi2")}
    exact = tests["exact"]
    metrics = {
        "accuracy": _difference(_mean, *right) | {"p": _permuted_hits(*right), "test": "permutation"},
        "macro_f1": _difference(_macro_f1(first.classes), first.guess, second.guess, first.truth),
    }
    if first.score is not None:
        metrics["auc"] = _areas(first, second)
    counts = {"first_only": exact.first_only, "second_only": exact.second_only, "n": exact.n}
    p = {f"p_{form}": test.p for form, test in tests.items()}
    return {"metrics": metrics, "mcnemar": counts | p, "p": exact.p, "test": "McNemar"}


# Bootstrap; a metric takes the arrays of one sample [n], or of many resamples at once [resamples, n] ------------------


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(-1)


def _root_mean(squares: np.ndarray) -> np.ndarray:
    return np.sqrt(squares.mean(-1))


def _macro_f1(classes: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda guess, truth: classification.macro_f1(truth, guess, classes)


def _boot(metric: Callable[..., Any], *arrays: np.ndarray) -> dict[str, Any]:
    """A metric of one run with its percentile interval; none where all resamples are equal."""
    resampled = resampling.interval(metric, *arrays, method="percentile", resamples=RESAMPLES, vectorised=True)
    ends = {"value": resampled.estimate, "low": resampled.low, "high": resampled.high, "interval": BOOTSTRAP}
    if resampled.low == resampled.high:
        return ends | {"low": None, "high": None, "why": "every resample has the same value"}
    return ends


def _difference(
    metric: Callable[..., Any], first: np.ndarray, second: np.ndarray, *shared: np.ndarray, permute: bool = False
) -> dict[str, Any]:
    """The difference of a metric with its paired bootstrap interval, and the p of that or of the permutation test."""

    def both(first: np.ndarray, second: np.ndarray, *shared: np.ndarray) -> np.ndarray:
        return metric(second, *shared) - metric(first, *shared)

    options = {"resamples": RESAMPLES, "vectorised": True}
    resampled = resampling.interval(both, first, second, *shared, method="percentile", **options)
    ends = {"difference": resampled.estimate, "low": resampled.low, "high": resampled.high, "interval": PAIRED}
    if permute:
        p = resampling.paired(metric, first, second, *shared, resamples=EXCHANGES, vectorised=True).p
        return ends | {"p": p, "test": "permutation"}
    return ends | {"p": resampled.p, "test": PAIRED}


def _permuted_hits(first: np.ndarray, second: np.ndarray) -> float:
    """The p of the permutation test of hits; examples on which both are right or wrong change nothing."""
    differ = first != second
    if not differ.any():
        return 1.0
    hits = [side[differ].astype(np.float64) for side in (first, second)]
    return resampling.paired(_mean, *hits, vectorised=True).p


# Numbers ------------------------------------------------------------------------------------------------------------

_OF_ERRORS = {"mae": _mean, "rmse": _root_mean}


def _errors(run: Predictions) -> dict[str, np.ndarray]:
    """The absolute and the squared error of each example [n], of which the metrics are means.

    Raises:
        DataError: for predictions or targets that are not finite.
    """
    if not np.isfinite(run.truth).all() or not np.isfinite(run.guess).all():
        raise DataError(f"--compare {run.run}: some {run.split} predictions or targets are not finite")
    errors = (run.guess - run.truth).reshape(len(run.truth), -1)
    return {"mae": _mean(np.abs(errors)), "rmse": _mean(errors**2)}


def _compare_errors(first: Predictions, second: Predictions) -> dict[str, Any]:
    errors = [_errors(run) for run in (first, second)]
    return {name: _difference(m, *(run[name] for run in errors), permute=True) for name, m in _OF_ERRORS.items()}


# Areas --------------------------------------------------------------------------------------------------------------


def _area(run: Predictions) -> dict[str, Any]:
    """The area under the ROC curve with DeLong's interval of its logit, or why there is none."""
    try:
        area = auc.delong(run.truth, run.score)
        nothing = {"value": area.auc, "low": None, "high": None, "interval": DELONG}
        if not 0 < area.auc < 1:
            return nothing | {"why": "the classes are separated completely"}
        area = auc.delong(run.truth, run.score, scale="logit")
    except DataError as error:
        return {"value": None, "low": None, "high": None, "interval": DELONG, "why": str(error)}
    return nothing | {"low": area.low, "high": area.high}


def _areas(first: Predictions, second: Predictions) -> dict[str, Any]:
    """The difference of two areas with DeLong's interval and test, or why there is none."""
    try:
        test = auc.delong_test(first.truth, first.score, second.score)
    except DataError as error:
        return {"difference": None, "low": None, "high": None, "p": None, "test": DELONG, "why": str(error)}
    p = None if np.isnan(test.p) else test.p
    ends = {"difference": test.difference, "low": test.low, "high": test.high, "interval": DELONG}
    return ends | {"p": p, "test": DELONG}
