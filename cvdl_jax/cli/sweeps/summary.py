"""The results of a sweep as the one dict that the writers of tables read: sorted, and one configuration selected.

The selection looks at validation only. The test metrics are shown for the selected configuration alone: whoever chose
among all of them would make the test split a second validation split.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from cvdl_jax.cli.sweeps.spec import Sweep
from cvdl_jax.cli.tables.collect import measured, results_of, row_facts, run_facts, spread
from cvdl_jax.cli.tables.plan import SEED, Planned, slug
from cvdl_jax.cli.tables.spec import RECIPE
from cvdl_jax.core.formatting import interval, score
from cvdl_jax.workdir.folder import Workdir, read_json
from cvdl_jax.workdir.run_state import DONE

WHY = (
    "The selection looked at validation only; test metrics are shown for the selected configuration alone, since "
    "choosing by them would make the test split a second validation split"
)


def collect(
    sweep: Sweep, planned: Sequence[Planned], overrides: Iterable[str], workdir: str | None, generated: str
) -> dict[str, Any]:
    """The results of a sweep; arguments and errors as of `cvdl_jax/cli/tables/collect.py`.

    Returns:
        What a table's results hold, the rows sorted by the objective, the best first; `selected`: the selected row's
        name, and its test metrics; `varied`: the value of every varied key, by row.
    """
    rows = [_row(sweep, trial.name, [run for run in planned if run.row == trial.name]) for trial in sweep.trials]
    rows = sorted(rows, key=lambda row: _rank(row, sweep.metric["better"]))
    for row in rows:  # of a halved sweep no trial runs by itself
        row["command"] = sweep.command("" if sweep.halving else slug(row["name"]), overrides, workdir)
    selected = select(rows, sweep.metric)
    sentences = [sweep.caption, *story(sweep, rows, selected)]
    results = results_of(sweep, rows, overrides, workdir, generated)
    return results | {
        "caption": " ".join(f"{sentence.rstrip('.')}." for sentence in sentences if sentence),
        "over": "folds" if sweep.kfold else "seeds",
        "selected": selected,
        "varied": {key: {row["name"]: values[row["name"]] for row in rows} for key, values in sweep.varied.items()},
        "warnings": [warning for warning in results["warnings"] if not (sweep.kfold and "different data:" in warning)],
    }


def _row(sweep: Sweep, name: str, planned: Sequence[Planned]) -> dict[str, Any]:
    """One configuration; the replicates of a cross-validated one are its folds."""
    data = planned[0].config.data
    folded = f"{sweep.kfold.folds} folds of {sweep.kfold.split}" if sweep.kfold else str(data.get("validation", ""))
    row = {
        "name": name, "config": sweep.config, "overrides": _common(planned), "seeds": sweep.seeds,
        "recipe": {key: default for key, (_, default) in RECIPE.items()}, "published": None,
        "protocol": folded, "data": data.get("name", ""),
    }  # fmt: skip
    runs = [run_facts(run, sweep.metric) for run in planned]
    facts = row_facts(row, runs, planned[0].config, sweep.metric)
    if sweep.kfold:
        folds = [str([run.config.data.get(key) for key in ("validation", "split")]) for run in planned]
        facts |= over_folds(folds, runs, sweep.metric) | {
            "seeds": [run.seed for run in planned]
        }  # one per run, as elsewhere
    return facts


def _common(planned: Sequence[Planned]) -> tuple[str, ...]:
    """The overrides that all runs of a configuration have, without the seed."""
    shared = [override for override in planned[0].overrides if all(override in run.overrides for run in planned)]
    return tuple(override for override in shared if override.partition("=")[0] != SEED)


def over_folds(folds: Sequence[str], runs: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> dict[str, Any]:
    """Mean, deviation and interval over folds; the seeds of a fold are averaged first, since they share its examples.

    Args:
        folds: the fold of each run.
        runs: from `run_facts`.
        metric: of the objective.
    """
    done: dict[str, list[float]] = {}
    for fold, run in zip(folds, runs, strict=True):
        if run["state"] == DONE:
            done.setdefault(fold, []).append(run["value"])
    means = [{"value": fmean(values)} for values in done.values()]
    if len(means) < 2:
        value = means[0]["value"] if means else None
        return {"mean": value, "std": None, "low": None, "high": None, "interval": ""}
    return spread(means, metric, "folds")


def _rank(row: Mapping[str, Any], better: str) -> tuple[int, float]:
    """Where a row stands: measured ones by their mean, those that are not finite or not run last."""
    if row["mean"] is None:
        return 2, 0.0
    if not math.isfinite(row["mean"]):
        return 1, 0.0
    return 0, -row["mean"] if better == "max" else row["mean"]


def select(rows: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> dict[str, Any] | None:
    """The best configuration of those whose runs are all done; None where there is none.

    Args:
        rows: sorted, the best first.
        metric: of the objective.

    Returns:
        name, overrides, value, and its low, high and interval; `ties`: how many others have the same value (the first
        of them is taken); `open`: how many configurations still have runs that are not done; `test`: {metric: mean,
        std, low, high, n, interval}.
    """
    complete = [row for row in rows if row["n"] == len(row["runs"]) and math.isfinite(row["mean"])]
    if not complete:
        return None
    best = complete[0]
    return {key: best[key] for key in ("name", "config", "low", "high", "interval", "command")} | {
        "overrides": list(best["overrides"]), "value": best["mean"],
        "ties": sum(row["mean"] == best["mean"] for row in complete) - 1,
        "open": sum(row["n"] < len(row["runs"]) for row in rows), "test": tested(best["runs"]),
    }  # fmt: skip


def tested(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every test metric of finished runs: of one with the interval over its examples, of several over the runs."""
    metrics = [read_json(Workdir(run["workdir"]).results)["metrics"] for run in runs]
    ends = ("_low", "_high", "/examples")
    names = [key for key in metrics[0] if key.startswith("test/") and not key.endswith(ends)]
    plain = {"scale": 1.0, "unit": ""}
    facts = {}
    for name in names:
        done = [
            measured(of_run, plain | {"key": name}, Path(run["workdir"]))
            for of_run, run in zip(metrics, runs, strict=True)
            if name in of_run
        ]
        share = plain | {"unit": "%" if name.endswith("/accuracy") else ""}
        facts[name] = {**spread(done, share), "n": len(done)}
    return facts


def story(sweep: Sweep, rows: Sequence[Mapping[str, Any]], selected: Mapping[str, Any] | None) -> list[str]:
    """What was done and what came of it, a sentence each."""
    metric, seeds = sweep.metric, len(sweep.seeds)
    repeats = [f"{sweep.kfold.folds} folds"] if sweep.kfold else []
    repeats += [f"{seeds} seeds"] if seeds > 1 else []
    lines = [f"{sweep.kind[:1].upper()}{sweep.kind[1:]}{', each with ' + ' and '.join(repeats) if repeats else ''}"]
    if sweep.kfold:
        pieces = f"{sweep.kfold.blocks} pieces" if sweep.kfold.blocks > 1 else "one contiguous piece"
        drawn = f"{pieces} of the examples in their stored order, not stratified by class"
        if sweep.kfold.stratified:
            drawn = f"drawn at random (seed {sweep.kfold.seed}), stratified by class"
        lines.append(
            f"Cross-validation of {sweep.kfold.split}: every fold is {drawn}; the last step is evaluated. Folds share "
            "training examples, so the interval over them is a guide, not a test"
        )
    if selected is None:
        return [*lines, "Nothing is selected yet: no configuration has all its runs done"]
    value = f"{selected['value']:.{metric['digits']}f}{' %' if metric['unit'] == '%' else ''}"
    if selected["low"] is not None:
        ends = (f"{selected[end]:.{metric['digits']}f}" for end in ("low", "high"))
        value += f" [{', '.join(ends)}] ({selected['interval']})"
    so_far = f" so far ({selected['open']} configurations are not complete)" if selected["open"] else ""
    tie = f", the first of {selected['ties'] + 1} that share it" if selected["ties"] else ""
    lines.append(f"Selected{so_far}: {selected['name']}, by {metric['label']} {value}{tie}")
    if len(rows) - selected["open"] > 1:
        lines.append(f"As the best of {len(rows) - selected['open']} this value is optimistic")
    for name, test in selected["test"].items():
        if sweep.kfold and seeds == 1:
            test = {**test, "interval": test["interval"].replace("seeds", "folds")}
        lines.append(f"Its {name.replace('/', ' ')}: {shown(name, test)}")
    return [*lines, WHY] if selected["test"] else lines


def shown(name: str, test: Mapping[str, Any]) -> str:
    """A test metric in words: "98.05 % [96.03, 99.05] (Wilson over 359 examples)"."""
    accuracy = name.endswith("/accuracy")
    text = score(test["mean"], accuracy)
    if test["low"] is None:
        return f"{text} ({test['interval']})" if test["interval"] else text
    return f"{text} {interval(test['low'], test['high'], accuracy)} ({test['interval']})"
