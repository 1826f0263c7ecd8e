"""What stands in the cells of a table, from results.json's dict alone; shared by Markdown, LaTeX and the console."""

import math
import re
from collections.abc import Mapping
from typing import Any

from cvdl_jax.core.formatting import NO_VALUE, count
from cvdl_jax.report.verdicts import FEW, SAME

SAME_MARK, FEW_MARK, MEMORY_MARK = "≈", "?", "†"


def status(row: Mapping[str, Any]) -> str:
    """What to say instead of numbers where no run of a row is done."""
    states = [run["state"] for run in row["runs"]]
    return "failed" if "failed" in states else "not run"


def known(row: Mapping[str, Any], text: str | None) -> str:
    """A cell: its text, or why there is none."""
    if row["n"] == 0:
        return status(row)
    return NO_VALUE if text is None else text  # a run was made, but does not say


def metric_label(metric: Mapping[str, Any]) -> str:
    """Head of the column of values: "test accuracy (%)"."""
    return f"{metric['label']} ({metric['unit']})" if metric["unit"] else metric["label"]


def number(value: float | None, metric: Mapping[str, Any]) -> str | None:
    """A measured value in the table's digits."""
    return None if value is None else f"{value:.{metric['digits']}f}"


def value(row: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """Mean +- standard deviation, or the one value."""
    if row["n"] == 0:
        return status(row)
    spread = f" ± {number(row['std'], metric)}" if row["std"] is not None else ""
    return f"{number(row['mean'], metric)}{spread}"


def mark(row: Mapping[str, Any]) -> str:
    """The sign behind a value: not significantly worse than the best, or too few runs to tell."""
    return {SAME: SAME_MARK, FEW: FEW_MARK}.get(row.get("verdict", ""), "")


def interval(row: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """[low, high]."""
    if row["low"] is None:
        return known(row, without_interval(row))
    return f"[{number(row['low'], metric)}, {number(row['high'], metric)}]"


def without_interval(row: Mapping[str, Any]) -> str | None:
    """Why several runs have no interval; None where there is nothing to say."""
    why = str(row.get("interval"))
    return why.partition(" for ")[0] if why.startswith("too few") else None


def runs(row: Mapping[str, Any]) -> str:
    """How many runs are behind a row: "5", or "3 of 5, 1 failed"."""
    states, planned = [run["state"] for run in row["runs"]], len(row["runs"])
    if row["n"] == planned:
        return str(planned)
    others = [f"{states.count(s)} {s}" for s in ("failed", "running", "partial") if s in states]
    return ", ".join([f"{row['n']} of {planned}", *others])


def published_value(row: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The published value; a dagger where it was typed from memory."""
    published = row["published"]
    return f"{number(published['value'], metric)}{MEMORY_MARK if published['memory'] else ''}" if published else ""


def published(row: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The published value with its source."""
    return f"{published_value(row, metric)} ({row['published']['source']})" if row["published"] else ""


def beside(row: Mapping[str, Any], key: str) -> str:
    """Epochs or steps of ours, and of the recipe in brackets; a dagger where that was typed from memory."""
    ours = known(row, None if row[key] is None else count(row[key]))
    theirs = row["recipe"].get(key)
    if theirs is None:
        return ours
    return f"{ours} ({count(theirs)}{MEMORY_MARK if row.get('recipe_memory') else ''})"


def seconds(row: Mapping[str, Any]) -> str:
    """Mean seconds of a run."""
    spent = row["seconds"]
    return known(row, None if spent is None else f"{spent:,.0f}" if spent >= 10 else f"{spent:.1f}")


def commit(row: Mapping[str, Any]) -> str:
    """Commits of a row's runs, and whether the tree had changes."""
    return known(row, row["commit"] and row["commit"] + (" + changes" if row["dirty"] else ""))


def data(row: Mapping[str, Any]) -> str:
    """Name, version and fingerprint of the data."""
    about = row["data"]
    if not about:
        return known(row, None)
    return " ".join(str(part) for part in (about["name"], about["version"], (about["fingerprint"] or "")[:8]) if part)


def further(row: Mapping[str, Any], k: int, column: Mapping[str, Any]) -> str:
    """The k-th further metric of a row with its interval, `98.15 [97.87, 98.40]`; a dash where its runs have none."""
    entry = row["columns"][k]
    if row["n"] == 0 or entry["n"] == 0:
        return known(row, None)
    ends = interval(entry, column)
    return value(entry, column) + ("" if ends == NO_VALUE else f" {ends}")


def further_published(row: Mapping[str, Any], k: int, column: Mapping[str, Any]) -> str:
    """The published value of the k-th further metric, with its source and, where it is another, its protocol."""
    entry = row["columns"][k]
    difference = re.sub(r"^(?=[+-])", "difference ", entry["comparison"])
    return "; ".join(filter(None, [published(entry, column), difference]))


def columns_of(results: Mapping[str, Any]) -> list[tuple[int, str, Mapping[str, Any]]]:
    """(place, head, column) of the further metrics that a run has, or one that is not made may have."""
    rows, columns = results["rows"], results.get("columns") or ()
    shown = [any(not row["n"] or row["columns"][k]["n"] for row in rows) for k in range(len(columns))]
    return [(k, metric_label(column), column) for k, column in enumerate(columns) if shown[k]]


def is_analysis(results: Mapping[str, Any]) -> bool:
    """Whether no measured row trained anything: parameters, MACs and lengths of training would say nothing of them."""
    measured = [row for row in results["rows"] if row["n"]]
    return bool(measured) and all(row.get("parameters") == 0 and row.get("steps") == 0 for row in measured)


def best(results: Mapping[str, Any], k: int | None = None) -> set[int]:
    """Indices of the rows whose value, as it is printed, is the best; k for the k-th further metric."""
    metric = results["metric"] if k is None else results["columns"][k]
    of = [row["mean"] if k is None else row["columns"][k]["mean"] for row in results["rows"]]
    means = {i: mean for i, mean in enumerate(of) if mean is not None}
    means = {i: round(mean, metric["digits"]) for i, mean in means.items() if math.isfinite(mean)}
    if not means or metric["better"] == "none":
        return set()
    top = (max if metric["better"] == "max" else min)(means.values())
    return {i for i, mean in means.items() if mean == top}


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader of the table must know, a sentence each; only what the table needs."""
    rows = results["rows"]
    over = results.get("over", "seeds")
    sentences = [
        f"Values are means over {over} ± their standard deviation (n - 1), or one run's. {results['interval']}."
    ]
    if any(mark(row) == SAME_MARK for row in rows):
        sentences.append(f"{SAME_MARK} The difference from the best row is not significant (p >= 0.05).")
    if any(mark(row) == FEW_MARK for row in rows):
        sentences.append(f"{FEW_MARK} There are too few runs to tell whether the difference from the best row is real.")
    if any(row.get("verdict") for row in rows):
        sentences.append(
            "Tests are two-sided and paired: McNemar's exact test on the predictions of one seed, the exact sign-flip "
            "test on seeds; they are not corrected for the number of rows."
        )
    if columns_of(results):
        sentences.append("Brackets behind a further metric: its interval, likewise.")
    theirs = [row["published"] for row in rows] + [e["published"] for row in rows for e in row.get("columns") or ()]
    if any(row.get("recipe_memory") for row in rows) or any(one and one.get("memory") for one in theirs):
        sentences.append(f"{MEMORY_MARK} From memory, not looked up.")
    if not is_analysis(results):
        sentences.append(
            "MACs are multiply-accumulates of one example; seconds are those of a run until its last row, compilation "
            "and evaluations included."
        )
    return [*sentences, *(f"Note: {warning}." for warning in results.get("warnings", ()))]
