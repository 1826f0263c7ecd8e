"""The rows of a table of runs: the cells of each, and what is folded beneath it, where its numbers come from."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from cvdl_jax.core import formatting
from cvdl_jax.report import table_cells
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Markup, code_block, copied, copy_button, el, pairs
from cvdl_jax.report.verdicts import FEW, SAME

VERDICTS = ("not comparable", FEW, SAME)
HASH = 20  # characters of a hash that are shown
# What a row, a run and the metric are without an entry; None there means the same as its absence.
METRIC = {"key": "", "label": "metric", "unit": "", "better": "max", "digits": 2}
ROW = {
    "name": "", "config": "", "overrides": (), "seeds": (), "n": 0, "values": (), "recipe": {}, "runs": (),
    "mean": None, "std": None, "low": None, "high": None, "published": None, "comparison": "", "significance": "",
    "columns": (),
}  # fmt: skip
RUN = {"seed": "", "state": numbers.NOT_RUN, "message": "", "value": None, "low": None, "high": None}
PUBLISHED = {"value": math.nan, "source": "", "memory": False}

Row = Mapping[str, Any]


def completed(results: Mapping[str, Any]) -> dict[str, Any]:
    """Results with every entry that a page reads, whatever is missing in them."""

    def fill(given: Row | None, defaults: Row) -> dict[str, Any]:
        return {**defaults, **{k: v for k, v in (given or {}).items() if v is not None}}

    rows = []
    for row in results.get("rows") or ():
        row = fill(row, ROW)
        row["runs"] = [fill(run, RUN) for run in row["runs"]]
        row["published"] = fill(row["published"], PUBLISHED) if row["published"] else None
        rows.append(row)
    metric = fill(results.get("metric"), METRIC)
    return fill(results, {"interval": "", "title": results.get("name") or "Results", "caption": "", "warnings": ()}) | {
        "metric": metric,
        "rows": rows,
    }


def cells(row: Row, i: int, results: Mapping[str, Any], best: bool) -> list[Cell]:
    """The cells of a row, in the order of the columns.

    Args:
        row: of the completed results.
        i: its number, which names the row beneath it.
        results: completed.
        best: whether its value is the best.
    """
    expand = el("button", type="button", class_="expand needs-script", aria_controls=f"more-{i}", aria_expanded="false",
                aria_label=f"runs of {row['name']}")  # fmt: skip
    chosen = (results.get("selected") or {}).get("name") == row["name"]
    badge = [" ", el("span", "selected", class_="badge done")] if chosen else None
    return [
        Cell(el("span", expand, el("span", row["name"], badge), class_="name"), row["name"]),
        _ours(row, results["metric"], best),
        Cell(table_cells.runs(row), row["n"], "runs"),
        _published(row["published"], results["metric"]),
        _brief(re.sub("^-", "−", row["comparison"]), row["comparison"] or None),
        _brief(row["significance"], row.get("p")),
        _size(row, "parameters"),
        _size(row, "macs"),
        _length(row),
        _time(row),
    ]


def _brief(text: str, key: Any) -> Cell:
    """What is found, without the reasons, which stand beneath the row: "not comparable", "p = 0.01"."""
    short = next((verdict for verdict in VERDICTS if text.startswith(verdict)), text.partition(" (")[0])
    return Cell(el("span", short, title=text) if text else formatting.NO_VALUE, key, "wrapped")


def missing(row: Row) -> Markup:
    """What to say where there is no value: no run of the row is done, or those that are do not tell."""
    return el("span", table_cells.status(row) if not row["n"] else formatting.NO_VALUE, class_="missing")


def _under(first: Any, note: str | None) -> Any:
    return [first, el("br"), el("small", note)] if note else first


def _length(row: Row) -> Cell:
    epochs, recipe = row.get("epochs"), row["recipe"].get("epochs")
    dagger = table_cells.MEMORY_MARK if row.get("recipe_memory") else ""
    note = f"recipe: {formatting.count(recipe)}{dagger}" if recipe is not None else None
    return Cell(_under(missing(row) if epochs is None else formatting.count(epochs), note), epochs)


def _time(row: Row) -> Cell:
    seconds = row.get("seconds")
    if seconds is None:
        return Cell(missing(row))
    return Cell(_under(formatting.seconds(seconds), row.get("hardware")), seconds, "hardware")


def _ours(row: Row, metric: Row, best: bool) -> Cell:
    if row["mean"] is None:
        return Cell(missing(row))
    spread = f" ± {measured(row['std'], metric)}" if row["std"] is not None else ""
    shown = el("strong" if best else "span", f"{measured(row['mean'], metric)}{spread}", class_="nowrap")
    mark = [" ", table_cells.mark(row)] if table_cells.mark(row) else None
    return Cell(_under([shown, mark], _ends(row, metric)), row["mean"])


def further(row: Row, k: int, column: Row, best: bool) -> Cell:
    """The cell of the k-th further metric."""
    entry = row["columns"][k]
    return Cell(missing(row)) if entry["mean"] is None else _ours(entry, column, best)


def further_published(row: Row, k: int, column: Row) -> Cell:
    """The cell of what was published for it."""
    return _published(row["columns"][k]["published"], column)


def _ends(row: Row, metric: Row) -> str | None:
    if row["low"] is None or row["high"] is None:
        return table_cells.without_interval(row)
    return f"[{measured(row['low'], metric)}, {measured(row['high'], metric)}]"


def measured(x: float, metric: Row) -> str:
    """A value in the table's digits."""
    return numbers.minus(f"{x:.{metric['digits']}f}") if math.isfinite(x) else numbers.value(x)


def _published(published: Row | None, metric: Row) -> Cell:
    if not published:
        return numbers.NO_NUMBER
    mark = el("sup", table_cells.MEMORY_MARK, title="from memory") if published["memory"] else None
    return Cell(_under([_number(published, metric), mark], published["source"]), _value(published), "source")


def _value(published: Row) -> float | None:
    return published["value"] if isinstance(published["value"], int | float) else None


def _number(published: Row, metric: Row) -> str:
    value = _value(published)
    return str(published["value"]) if value is None else measured(value, metric)


def _size(row: Row, key: str) -> Cell:
    n = row.get(key)
    return Cell(missing(row)) if n is None else Cell(el("span", numbers.short(n), title=formatting.count(n)), n)


def more(row: Row, i: int, columns: int, metric: Row, further_metrics: Sequence[Row] = ()) -> Markup:
    """The row beneath the i-th row, over so many columns: where its numbers come from, and its runs."""
    theirs = {}
    for entry, column in zip(row["columns"], further_metrics, strict=True):
        said = [_source(entry["published"], column), entry["comparison"]]
        theirs[f"published, {column['label']}"] = "; ".join(filter(None, said)) or None
    data = row.get("data") or {}
    dirty = [" ", el("em", "and uncommitted changes")] if row.get("dirty") else None
    recipe = [f"{formatting.count(v)} {k}" for k, v in row["recipe"].items() if v is not None]
    facts = {
        "configuration": copied(row["config"], "configuration"),
        "overrides": copied(shlex.join(map(str, row["overrides"])), "overrides", 200),
        "digest": copied(row.get("config_digest"), "digest"),
        "commit": [copied(row.get("commit"), "commit", HASH), dirty] if row.get("commit") else None,
        "data": f"{data.get('name')} {data.get('version') or ''}" if data.get("name") else None,
        "fingerprint": copied(data.get("fingerprint"), "fingerprint", HASH),
        "interval": row.get("interval") or None,
        "against published": row["comparison"] or None,
        "against the best": row["significance"] or None,
        "steps": formatting.count(row["steps"]) if row.get("steps") is not None else None,
        "recipe": ", ".join(recipe) + (table_cells.MEMORY_MARK if row.get("recipe_memory") else "") if recipe else None,
        "protocol": row.get("protocol") or None,
        "published": _source(row["published"], metric),
        **theirs,
    }
    command = row.get("command")
    parts = [
        pairs(facts),
        code_block(str(command), f"command of {row['name']}", class_="wrap") if command else None,
        _runs(row["runs"], metric),
    ]
    return el("tr", el("td", el("div", parts, class_="inside"), colspan=columns), class_="more", id=f"more-{i}")


def _source(published: Row | None, metric: Row) -> str | None:
    if not published:
        return None
    shown = f"{_number(published, metric)} {metric['unit']}".strip()
    facts = [str(published[k]) for k in ("metric", "data", "protocol", "source") if published.get(k)]
    return "; ".join([f"{shown}{table_cells.MEMORY_MARK if published['memory'] else ''}", *facts])


def _runs(runs: Sequence[Row], metric: Row) -> Markup:
    if not runs:
        return el("p", "No runs.", class_="note")
    heads = ("seed", "state", "value", "interval", "selected step", "time", "folder and command")
    return el("div", el("table", el("caption", "Runs of the row"),
              el("thead", el("tr", [el("th", head, scope="col") for head in heads])),
              el("tbody", [_run(run, metric) for run in runs])), class_="scroll")  # fmt: skip


def _run(run: Row, metric: Row) -> Markup:
    state, step, seconds = str(run["state"]), run.get("selected_step"), run.get("seconds")
    badge = el("span", state, class_=f"badge {state.replace(' ', '-')}")
    command = run.get("command")
    where = [el("code", run.get("workdir")), copy_button(str(command), "command of this run") if command else None]
    cells = [
        el("th", run["seed"], scope="row"),
        el("td", badge, " ", el("small", run["message"], class_="message") if run["message"] else None),
        el("td", formatting.NO_VALUE if run["value"] is None else measured(run["value"], metric)),
        el("td", _ends(run, metric) or formatting.NO_VALUE),
        el("td", formatting.NO_VALUE if step is None else formatting.count(step)),
        el("td", formatting.NO_VALUE if seconds is None else formatting.seconds(seconds)),
        el("td", el("span", where, class_="copied")),
    ]
    return el("tr", cells)
