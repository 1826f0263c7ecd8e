"""How much a metric depends on each hyper-parameter of a sweep: one small plot for each that was varied."""

from collections.abc import Mapping, Sequence
from typing import Any

from cvdl_jax.report.pages import scatter
from cvdl_jax.report.pages.markup import Markup, el, section


def plots(rows: Sequence[Mapping[str, Any]], varied: Mapping[str, Mapping[str, Any]], label: str) -> Markup | None:
    """The section of a sweep's page; None for a table, where nothing was varied.

    Args:
        rows: the configurations that were measured.
        varied: {dotted key: {row's name: value}}.
        label: of the metric.
    """
    figures = []
    for key, values in varied.items():
        known = [row for row in rows if row["name"] in values]
        if len({repr(values[row["name"]]) for row in known}) < 2:
            continue
        drawn = plot(known, key, values, label)
        figures.append(el("figure", el("figcaption", f"{label} over {key}"), drawn))
    if not figures:
        return None
    note = el("p", "Each point is a configuration; the other hyper-parameters vary along with it.", class_="note")
    return section("sensitivity", "Sensitivity", el("div", figures, class_="scatters"), [note])


def plot(rows: Sequence[Mapping[str, Any]], key: str, values: Mapping[str, Any], label: str) -> Markup:
    """The metric over one hyper-parameter.

    Args:
        rows: at least two of them with different values.
        key: of the hyper-parameter.
        values: {row's name: value}.
        label: of the metric.
    """
    axis, places = scatter.axis_of(key, [values[row["name"]] for row in rows])
    points = [
        scatter.Point(str(row["name"]), float(place), row["mean"], row["low"], row["high"])
        for row, place in zip(rows, places, strict=True)
    ]
    title = f"{key} (logarithmic)" if axis.log else key
    return scatter.plot(points, title, label, axis, named=False)
