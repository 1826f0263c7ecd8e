"""The curves of a run: which metrics share a plot, and what the page's script draws of them.

Metrics with one last name form a family: train/loss and validation/loss are one plot. "name_low" and "name_high" are
the band of "name". Replicas of a metric, "train/loss_seed0" and so on, are the band of their mean, "train/loss", from
the least to the greatest. Metrics that never change are said in words. Their colour is that of their first names.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, data_script, details, el, section, table

MOST_POINTS = 1000  # of a curve; of a longer one the least and the greatest value of equal parts are kept
COLOURS = 8  # of style.css
FIRST = ("loss", "accuracy")  # families in front
FIRST_NAMES = ("train", "validation", "test")
UNITS = {"time/images_per_second": "images/s", "time/seconds_per_step": "s", "time/data_wait": "% of the time"}
SIGNS = {"nan": "NaN", "inf": "∞", "-inf": "−∞"}

Points = list[tuple[int, float]]


class Series(NamedTuple):
    """One curve.

    Attributes:
        name: of the metric.
        points: (step, value), a value may be NaN or infinite.
        low: lower end of its interval at the same steps, [] without one.
        high: upper end.
    """

    name: str
    points: Points
    low: Points
    high: Points


def all_series(rows: Sequence[Mapping[str, float]]) -> list[Series]:
    """The curves of rows of metrics.jsonl, those of "epoch" and of the clock since the start left out."""
    points: dict[str, Points] = {}
    for row in rows:
        for name, value in row.items():
            if name not in ("step", "epoch", "time/seconds"):
                points.setdefault(name, []).append((int(row["step"]), float(value)))
    points = _with_bands(points)
    ends = {name for name in points for end in ("_low", "_high") if name.endswith(end)}
    ends = {name for name in ends if {f"{_stem(name)}{end}" for end in ("", "_low", "_high")} <= points.keys()}
    return [
        Series(name, curve, *(points[f"{name}{end}"] if f"{name}{end}" in ends else [] for end in ("_low", "_high")))
        for name, curve in points.items()
        if name not in ends
    ]


def _with_bands(points: Mapping[str, Points]) -> dict[str, Points]:
    """Curves with the replicas of each as "name_low" and "name_high"; where they have no mean, they stay."""
    replicas: dict[str, list[Points]] = {}
    for name, curve in points.items():
        if (seed := of_seed(name)) and seed[1] in points:
            replicas.setdefault(seed[1], []).append(curve)
    banded = {name: curve for name, curve in points.items() if not (of_seed(name) and of_seed(name)[1] in replicas)}
    for name, curves in replicas.items():
        for end, extreme in (("low", min), ("high", max)):
            at = [dict(curve) for curve in curves]
            banded[f"{name}_{end}"] = [(step, extreme(x.get(step, value) for x in at)) for step, value in points[name]]
    return banded


def _unit(name: str) -> str:
    """The unit of a metric's values; "" for none."""
    return "%" if name.rpartition("/")[2].startswith("accuracy") else UNITS.get(name, "")


def _stem(name: str) -> str:
    return name.removesuffix("_low").removesuffix("_high")


def families(series: Sequence[Series], selected_by: str = "") -> tuple[list[list[Series]], list[Series]]:
    """Curves by family, in the order to be shown, and the curves of the families in which no value changes.

    Args:
        series: of a run.
        selected_by: the metric that chose the checkpoint; its family comes after the loss and the accuracy.
    """
    by_kind: dict[str, list[Series]] = {}
    for curve in series:
        kind = _kind(curve.name)
        by_kind.setdefault(kind, []).append(curve)
    first = [*FIRST, selected_by.rpartition("/")[2]]

    def place(kind: str) -> tuple:
        return kind.startswith("time/"), first.index(kind) if kind in first else len(first)

    ordered = [by_kind[kind] for kind in sorted(by_kind, key=place)]
    still = [family for family in ordered if all(len({repr(v) for _, v in s.points}) == 1 for s in family)]
    return [family for family in ordered if family not in still], [curve for family in still for curve in family]


def of_seed(metric: str) -> re.Match | None:
    """Whether a metric is that of one replica of several, "train/loss_seed3"; group 1 is its name without the seed."""
    return re.fullmatch(r"(.+)_seed\d+", metric)


def _kind(metric: str) -> str:
    """What a curve's family has in common: the last name; of replicas the whole name without the seed."""
    if replica := of_seed(metric):
        return f"{replica[1]} of each seed"
    return metric if metric.startswith("time/") else metric.rpartition("/")[2]


def thin(points: Points, most: int = MOST_POINTS) -> list[int]:
    """Places of the points that are kept: all, or the least and the greatest of `most / 2` equal parts, and the ends.

    What is not finite counts as greatest, so that it is always kept.
    """
    n = len(points)
    if n <= most:
        return list(range(n))
    kept, parts = {0, n - 1}, most // 2
    for part in range(parts):
        places = range(part * n // parts, (part + 1) * n // parts)
        values = {i: points[i][1] if math.isfinite(points[i][1]) else math.inf for i in places}
        kept |= {min(values, key=values.__getitem__), max(values, key=values.__getitem__)}
    return sorted(kept)


def plot_data(plots: Sequence[Sequence[Series]]) -> list[dict[str, Any]]:
    """What the script draws: [{"title", "series": [{"name", "colour", "x", "y", "low"?, "high"?}]}]."""
    colours = _colours([s.name for family in plots for s in family])
    return [
        {
            "title": _title(family),
            "unit": _unit(family[0].name),
            "series": [
                _series(s, i % COLOURS if of_seed(s.name) else colours[_first_names(s.name)])
                for i, s in enumerate(family)
            ],
        }
        for family in plots
    ]


def _series(series: Series, colour: int) -> dict[str, Any]:
    kept = thin(series.points)
    scale = 100 if _unit(series.name).startswith("%") else 1
    drawn = {
        "name": series.name,
        "colour": colour,
        "x": [series.points[i][0] for i in kept],
        "y": [numbers.encode(scale * series.points[i][1]) for i in kept],
    }
    if [step for step, _ in series.low] == [step for step, _ in series.points] and len(series.high) == len(series.low):
        drawn["low"] = [numbers.encode(scale * series.low[i][1]) for i in kept]
        drawn["high"] = [numbers.encode(scale * series.high[i][1]) for i in kept]
    return drawn


def _first_names(name: str) -> str:
    return name.rpartition("/")[0]


def _colours(names: Sequence[str]) -> dict[str, int]:
    """A number for all that comes before the last name: train 0, validation 1, test 2, others as they come."""
    known = dict.fromkeys((*FIRST_NAMES, *map(_first_names, names)))
    return {name: i % COLOURS for i, name in enumerate(known)}


def _title(family: Sequence[Series]) -> str:
    return family[0].name if len(family) == 1 else _kind(family[0].name)


def show(
    rows: Sequence[Mapping[str, float]], selected_step: int | None, selected_by: str = "", analysis: bool = False
) -> tuple[Markup | None, Markup | None]:
    """The section of the curves, and the data of its plots (None where nothing is drawn).

    Args:
        rows: of metrics.jsonl.
        selected_step: that of the reported weights; None before the end.
        selected_by: the metric that chose it.
        analysis: whether the run makes no training steps, so that nothing needs to have been logged.
    """
    series = all_series(rows)
    if not series:
        return (None if analysis else section("curves", "Curves", el("p", "Nothing was logged.", class_="note"))), None
    plots, still = families(series, selected_by)
    last = rows[-1]
    data = {
        "plots": plot_data(plots),
        "selected": selected_step,
        "epochs_per_step": last.get("epoch", 0) / last["step"] if last["step"] else 0,
    }
    longest = max(len(s.points) for s in series)
    drawn = [
        _controls(bool(data["epochs_per_step"])),
        el("noscript", el("p", "The plots need JavaScript; the numbers are below.", class_="note")),
        el("div", [_plot(i, plot) for i, plot in enumerate(data["plots"])], class_="plots", id="plots"),
    ]
    thinned = (
        f"Curves of more than {numbers.count(MOST_POINTS)} points (here up to {numbers.count(longest)}) are drawn by "
        "the least and the greatest value of equal parts; metrics.jsonl has all."
    )
    banded = any(of_seed(name) for name in rows[-1])
    replicas = "Curves are means over the replicas; their bands go from the least to the greatest." if banded else None
    body = [
        drawn if plots else None,
        el("p", replicas, class_="note") if banded else None,
        _unchanged(still),
        el("p", thinned, class_="note") if longest > MOST_POINTS else None,
        details("Numbers", summary(series), open_=not plots),
    ]
    return section("curves", "Curves", body), data_script("curves-data", data) if plots else None


def _plot(i: int, plot: Mapping[str, Any]) -> Markup:
    unit = el("small", f" ({plot['unit']})") if plot["unit"] else None
    title = el("span", plot["title"], unit, class_="plot-title")
    log = el("button", "log y", type="button", class_="log", aria_pressed="false")
    return el(
        "figure", el("figcaption", title, log), class_="plot", data_plot=i, aria_label=f"curves of {plot['title']}"
    )


def _controls(epochs: bool) -> Markup:
    label = el("label", "Smoothing", for_="smoothing")
    slider = el("input", type="range", id="smoothing", min=0, max=0.99, step=0.01, value=0)
    hint = "exponential moving average, as in TensorBoard; the values themselves stay visible, faintly"
    axis = el("button", "x: step", type="button", id="x-axis", class_="log", aria_pressed="false") if epochs else None
    return el("div", label, slider, el("output", "0", for_="smoothing", id="smoothing-value"),
              el("span", hint, class_="note"), axis, class_="controls needs-script")  # fmt: skip


def _unchanged(still: Sequence[Series]) -> Markup | None:
    """What is not drawn, in words: metrics with one row, and those that never change."""
    parts = []
    for title, chosen in (
        ("The same in every row", [s for s in still if len(s.points) > 1]),
        ("In one row only", [s for s in still if len(s.points) == 1]),
    ):
        if chosen:
            said = ", ".join(f"{s.name} = {numbers.value(s.points[0][1])}" for s in chosen)
            parts.append(el("p", f"{title}: {said}.", class_="note"))
    return Markup("".join(parts)) if parts else None


def summary(series: Sequence[Series]) -> Markup:
    """First, last, least and greatest value of every metric, as a table."""
    columns = [Column("metric"), *(Column(c, True) for c in ("rows", "first", "last", "least", "at step", "greatest"))]
    return table([*columns, Column("at step ", True)], [_numbers(s) for s in series], "Metrics of all logged rows")


def _numbers(series: Series) -> list[Any]:
    finite = [(v, step) for step, v in series.points if math.isfinite(v)]
    least, greatest = (min(finite), max(finite, key=lambda e: e[0])) if finite else ((None, None), (None, None))

    def cell(x: float | None, step: bool = False) -> Cell:
        shown = "–" if x is None else numbers.count(x) if step else numbers.value(x)
        return Cell(shown, x if x is not None and math.isfinite(x) else None)

    return [
        series.name, len(series.points), cell(series.points[0][1]), cell(series.points[-1][1]),
        cell(least[0]), cell(least[1], True), cell(greatest[0]), cell(greatest[1], True),
    ]  # fmt: skip
