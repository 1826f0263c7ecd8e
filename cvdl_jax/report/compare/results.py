"""All of `--compare` as one dict: every method's metrics, every pair's differences and tests, a verdict on each."""

import itertools
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from cvdl_jax.metrics.stats.paired_tests import holm
from cvdl_jax.report.compare import examples, replicates
from cvdl_jax.report.compare.methods import Method, Run
from cvdl_jax.report.compare.predictions import Predictions, check_same, read
from cvdl_jax.report.verdicts import ALPHA, FEW, SAME

SIGNIFICANT = "significant"
LOWER_IS_BETTER = ("mae", "rmse")
SHARES = ("accuracy", "macro_f1", "auc")  # metrics in 0..1


def compare(methods: Sequence[Method], split: str) -> dict[str, Any]:
    """Compares every two methods.

    Args:
        methods: two or more.
        split: of which predictions.

    Returns:
        {"split", "data", "metric": of the verdicts, "methods": [...], "pairs": [...], "notes": [sentences]}. A pair has
        the indices "first" and "second", the kind ("examples", "seeds" or "folds"), differences second - first, the p
        of the verdict, `p_holm` after Holm's correction for all pairs, and the verdict.

    Raises:
        ConfigError: for a split that a run has not evaluated.
        DataError: for runs that cannot be paired, naming them.
    """
    predicted = {run.path: read(run.path, split) for method in methods for run in method.runs}
    some = next(iter(predicted.values()))
    notes: list[str] = []
    summaries = [_method(method, predicted) for method in methods]
    pairs = []
    for i, j in itertools.combinations(range(len(methods)), 2):
        pairs.append({"first": i, "second": j, **_pair(methods[i], methods[j], predicted, notes)})
    _judge(pairs)
    kinds = {pair["kind"] for pair in pairs}
    if "examples" in kinds:
        notes.append(
            "Tests on examples are about these trained models; whether the methods differ takes several seeds of each."
        )
    if "folds" in kinds:
        notes.append("Folds share training examples, for which the corrected t test allows.")
    metric = examples.primary(some)
    return {
        "split": split, "data": some.data, "metric": metric, "better": "min" if metric in LOWER_IS_BETTER else "max",
        "methods": summaries, "pairs": pairs, "notes": list(dict.fromkeys(notes)),
    }  # fmt: skip


def _method(method: Method, predicted: dict[Any, Predictions]) -> dict[str, Any]:
    """One method: its metrics over examples, or over runs."""
    if len(method.runs) == 1:
        metrics = examples.summary(predicted[method.runs[0].path])
    else:
        by_run = [examples.values(predicted[run.path]) for run in method.runs]
        metrics = {name: _over_runs(method, name, [values.get(name) for values in by_run]) for name in by_run[0]}
    return {
        "name": method.name,
        "runs": [str(run.path) for run in method.runs],
        "kind": "folds" if method.folds else "seeds" if len(method.runs) > 1 else "run",
        "examples": sum(
            {run.fold if method.folds else "": len(predicted[run.path].truth) for run in method.runs}.values()
        ),
        "metrics": metrics,
    }


def _over_runs(method: Method, name: str, values: Sequence[float | None]) -> dict[str, Any]:
    """A metric over seeds, or over folds (of each the mean of its seeds)."""
    if None in values:
        return {"value": None, "low": None, "high": None, "interval": "Student-t", "why": "not known of every run"}
    if not method.folds:
        return replicates.spread(values, "seeds", name in SHARES)
    by_fold: dict[str, list[float]] = {}
    for run, value in zip(method.runs, values, strict=True):
        by_fold.setdefault(run.fold, []).append(value)
    return replicates.spread([fmean(seeds) for seeds in by_fold.values()], "folds", name in SHARES)


def _pair(first: Method, second: Method, predicted: dict[Any, Predictions], notes: list[str]) -> dict[str, Any]:
    """Two methods: by example where one of them has a single run, else by seed or by fold."""
    if len(first.runs) == len(second.runs) == 1:
        return _examples(first.runs[0], second.runs[0], predicted, notes)
    units = replicates.common(first, second)
    notes += replicates.unpaired(first, second, units)
    runs = [[_of(method, unit) for unit in units] for method in (first, second)]
    if not first.folds and len(units) == 1:
        return _examples(runs[0][0][0], runs[1][0][0], predicted, notes)
    for a, b in zip(*runs, strict=True):
        notes += [note for note in (check_same(predicted[a[0].path], predicted[b[0].path]),) if note]
    means = ([fmean(_value(predicted[run.path]) for run in same) for same in by_unit] for by_unit in runs)
    values = list(zip(*means, strict=True))
    if first.folds:
        ratio = replicates.fold_ratio({unit: predicted[a[0].path] for unit, a in zip(units, runs[0], strict=True)})
        return {"kind": "folds", "values": values, **replicates.over_folds(values, ratio)}
    one = _examples(runs[0][0][0], runs[1][0][0], predicted, [])
    return {"kind": "seeds", "seeds": units, "values": values, **replicates.over_seeds(values), "first_seed": one}


def _examples(first: Run, second: Run, predicted: dict[Any, Predictions], notes: list[str]) -> dict[str, Any]:
    a, b = predicted[first.path], predicted[second.path]
    note = check_same(a, b)
    notes += [note] if note else []
    result = examples.compare(a, b)
    ends = {key: result["metrics"][examples.primary(a)][key] for key in ("difference", "low", "high", "interval")}
    return {"kind": "examples", "runs": [str(first.path), str(second.path)], **ends, "too_small": False, **result}


def _of(method: Method, unit: Any) -> list[Run]:
    """The runs of a seed, or of a fold."""
    return [run for run in method.runs if unit == (run.fold if method.folds else run.seed)]


def _value(predictions: Predictions) -> float:
    """The primary metric of a run."""
    return examples.values(predictions)[examples.primary(predictions)]


def _judge(pairs: list[dict[str, Any]]) -> None:
    """Fills in `p_holm` and `verdict`."""
    known = [pair for pair in pairs if pair["p"] is not None]
    for pair, p in zip(known, holm([pair["p"] for pair in known]), strict=True):
        pair["p_holm"] = p
    for pair in pairs:
        p = pair.setdefault("p_holm", None)
        if pair["too_small"]:
            pair["verdict"] = FEW
        else:
            pair["verdict"] = SIGNIFICANT if p is not None and p < ALPHA else SAME
