"""The page of a table of runs: `write(results, path)` from the dictionary that the table's results.json holds.

Values that are None were not run, and are shown so; a published value is never in the column of ours.
"""

import math
import time
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from cvdl_jax.report import table_cells
from cvdl_jax.report.pages import dots, page, parallel, scatter, sensitivity, table_rows
from cvdl_jax.report.pages.markup import Column, Markup, command_row, el, section, table
from cvdl_jax.report.pages.table_rows import Row

UNFOLD = "The triangle of a row shows where its values come from, and its runs. Published values are other people's."


def write(results: Mapping[str, Any], path: str | Path) -> None:
    """Writes the page of a table.

    Args:
        results: name, title, caption, command, generated, metric, interval and rows, as in results.json.
        path: of the HTML file.
    """
    page.write(Path(path), render(results))


def render(results: Mapping[str, Any]) -> str:
    """The page of a table as text."""
    results = table_rows.completed(results)
    rows, metric = results["rows"], results["metric"]
    measured = [row for row in rows if row["mean"] is not None and math.isfinite(row["mean"])]
    words = [note.replace("n - 1", "n − 1").replace(">=", "≥") for note in table_cells.notes(results)]
    notes = [el("p", note, class_="note") for note in [*words, UNFOLD]]
    label = table_cells.metric_label(metric)
    sections = [
        section("table", "Table", main_table(results), notes),
        section("intervals", label, dots.plot(rows, metric)) if measured else None,
        parallel.show(results, label),
        sensitivity.plots(*_compared(results, measured, label)),
        sizes(measured, label),
    ]
    made = f"Generated {results.get('generated') or time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}"
    return page.render(str(results["title"]), header(results), sections, made)


def _compared(results: Mapping[str, Any], measured: Sequence[Row], label: str) -> tuple[Any, Mapping, str]:
    """What is plotted over a sweep's hyper-parameters: of a halved one all trials, after the first budget."""
    varied, trials = results.get("varied", {}), results.get("trials", ())
    if not trials:
        return measured, varied, label
    rows = [{"name": t["name"], "mean": t["scores"][0], "low": None, "high": None} for t in trials]
    return [row for row in rows if row["mean"] is not None], varied, f"{label} after {results['rungs'][0]}"


def header(results: Mapping[str, Any]) -> Markup:
    """Title, caption, how far it is, and the command that makes it."""
    runs = [run for row in results["rows"] for run in row["runs"]]
    done = sum(run["state"] == "done" for run in runs)
    command = results.get("command")
    return Markup(
        el("h1", results["title"])
        + (el("p", results["caption"]) if results["caption"] else "")
        + el("p", f"{len(results['rows'])} rows; {done} of {len(runs)} runs are done", class_="what")
        + (command_row("Command", str(command)) if command else "")
    )


def main_table(results: Mapping[str, Any]) -> Markup:
    """The table; beneath every row, folded, where it comes from."""
    rows, metric, further = results["rows"], results["metric"], table_cells.columns_of(results)
    theirs = [k for k, _, _ in further if any(row["columns"][k]["published"] for row in rows)]
    columns = [
        Column("row"),
        Column(table_cells.metric_label(metric), True, _direction(metric)),
        *(Column(head, True, _direction(column)) for _, head, column in further),
        Column("runs", True, "runs that are done"),
        Column("published", True, "as its source says"),
        Column("difference", False, "ours less the published value"),
        *(Column(f"published: {results['columns'][k]['label']}", True, "as its source says") for k in theirs),
        Column("against the best", False, "sorted by the p value"),
        Column("params", True, "values that are trained"),
        Column("MACs", True, "multiply-accumulates for one example"),
        Column("epochs", True, "ours, and those of the published recipe"),
        Column("time", True, "wall time of a run, the mean over runs, and on what"),
    ]
    filled = {"published": "published", "difference": "comparison", "against the best": "significance"}
    none = {"params", "MACs", "epochs", "time"} if table_cells.is_analysis(results) else set()
    shown = [
        c.title not in none and (c.title not in filled or any(row[filled[c.title]] for row in rows)) for c in columns
    ]
    best, tops = table_cells.best(results), {k: table_cells.best(results, k) for k, _, _ in further}
    body: list[Any] = []
    for i, row in enumerate(rows):
        cells = table_rows.cells(row, i, results, i in best)
        cells[5:5] = [table_rows.further_published(row, k, results["columns"][k]) for k in theirs]
        cells[2:2] = [table_rows.further(row, k, column, i in tops[k]) for k, _, column in further]
        body.append(list(compress(cells, shown)))
        body.append(table_rows.more(row, i, sum(shown), metric, results.get("columns") or ()))
    caption = f"{results['title']}: a row for each configuration"
    return table(list(compress(columns, shown)), body, caption, id_="results", class_="results")


def _direction(metric: Mapping[str, Any]) -> str:
    return {"max": "higher is better", "min": "lower is better"}.get(metric["better"], "")


def sizes(rows: Sequence[Row], label: str) -> Markup | None:
    """The metric over the parameters and over the MACs, where there are both.

    Args:
        rows: those that were measured.
        label: of the metric.
    """
    figures = []
    for key, size in (("parameters", "parameters"), ("macs", "multiply-accumulates for one example")):
        points = [
            scatter.Point(str(row["name"]), row[key], row["mean"], row["low"], row["high"])
            for row in rows
            if row.get(key)
        ]
        if len({point.x for point in points}) > 1:  # what is the same for all tells nothing
            title = el("figcaption", f"{label} over {size}")
            figures.append(el("figure", title, scatter.plot(points, f"{size} (logarithmic)", label)))
    if not figures:
        return None
    return section("sizes", "Sizes", el("div", figures, class_="scatters"))
