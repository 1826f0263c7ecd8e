"""The metric of every row of a table as a dot with its interval, on one axis; of HTML, so that it fits any width."""

import math
from collections.abc import Sequence
from typing import Any

from cvdl_jax.report.pages import numbers, scatter
from cvdl_jax.report.pages.markup import Markup, el
from cvdl_jax.report.pages.table_rows import Row, measured, missing


def plot(rows: Sequence[Row], metric: Row, one: str = "ours, with its interval") -> Markup:
    """The plot.

    Args:
        rows: completed, one with a mean at least; intervals, single runs and published values are drawn too.
        metric: of the table.
        one: what a dot is.
    """
    values = [v for row in rows for v in _values(row)]
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or abs(low) * 0.02 or 1.0
    low, high = low - pad, high + pad
    ticks = scatter.linear_ticks(low, high, 5)
    shown = [_row(row, low, high, ticks, metric) for row in rows]
    labels = [el("span", numbers.value(t), style=_at(t, low, high)) for t in ticks]
    axis = el("div", el("span"), el("div", labels, class_="track"), el("span"), class_="row axis", aria_hidden="true")
    return Markup(_key(rows, one) + el("div", shown, axis, class_="dots"))


def _number(x: Any) -> float | None:
    return float(x) if isinstance(x, int | float) and math.isfinite(x) else None


def _published(row: Row) -> float | None:
    """The published value; None where it is not comparable, as a place on the axis would compare it."""
    if str(row["comparison"]).startswith("not comparable"):
        return None
    return _number((row["published"] or {}).get("value"))


def _values(row: Row) -> list[float]:
    shown = [row["mean"], row["low"], row["high"], _published(row), *row["values"]]
    return [x for x in map(_number, shown) if x is not None]


def _at(x: float, low: float, high: float) -> str:
    return f"left:{100 * (x - low) / (high - low):.2f}%"


def _row(row: Row, low: float, high: float, ticks: Sequence[float], metric: Row) -> Markup:
    mean, ends = _number(row["mean"]), (_number(row["low"]), _number(row["high"]))
    marks = [el("span", class_="tick", style=_at(t, low, high)) for t in ticks]
    text = missing(row)
    if mean is not None and None not in ends:
        width = f"{_at(ends[0], low, high)};width:{100 * (ends[1] - ends[0]) / (high - low):.2f}%"
        marks.append(el("span", class_="range", style=width))
        marks += [el("span", class_="end", style=_at(x, low, high)) for x in ends]
    values = [x for x in map(_number, row["values"]) if x is not None]
    if len(values) > 1:
        marks += [el("span", class_="seed", style=_at(x, low, high), title=_value(x, metric)) for x in values]
    if mean is not None:
        marks.append(el("span", class_="mean", style=_at(mean, low, high), title=_value(mean, metric)))
        around = None if None in ends else el("small", f" [{measured(ends[0], metric)}, {measured(ends[1], metric)}]")
        text = el("span", _value(mean, metric), around)
    published = _published(row)
    if published is not None:
        marks.append(el("span", class_="published", style=_at(published, low, high),
                        title=f"published: {_value(published, metric)}"))  # fmt: skip
    return el("div", el("span", row["name"]), el("div", marks, class_="track"), text, class_="row")


def _value(x: float, metric: Row) -> str:
    return f"{measured(x, metric)} {metric['unit']}".strip()


def _key(rows: Sequence[Row], one: str) -> Markup:
    """What the marks mean, those that are there."""
    marks = [("mean", one)]
    if any(len(row["values"]) > 1 for row in rows):
        marks.append(("seed", "single runs"))
    if any(_published(row) is not None for row in rows):
        marks.append(("published", "published"))
    shown = [el("span", el("span", el("span", class_=name), class_="dots"), said) for name, said in marks]
    return el("p", shown, class_="key note")
