"""What a model scores over what it costs: multiply-accumulates and parameters, both logarithmic."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from cvdl_jax.analysis.figures.curves import panels

LABELS = (("parameters", "parameters"), ("macs", "multiply-accumulates for one example"))


class Point(NamedTuple):
    """A model: its score, the ends of the score's interval, and its size; None for what is not known."""

    name: str
    score: float
    low: float | None = None
    high: float | None = None
    parameters: float | None = None
    macs: float | None = None


def draw(points: Sequence[Point], label: str) -> Any:
    """A panel for each size that differs between models, every point with its name and its interval.

    Args:
        points: models; those without a finite score are left out, and from a panel those without that size.
        label: of the score, with its unit.

    Returns:
        A matplotlib Figure; None where no two models differ in a size.
    """
    points = [point for point in points if math.isfinite(point.score)]
    shown = {
        what: [(getattr(point, key), point) for point in points if getattr(point, key)]
        for key, what in LABELS
        if len({getattr(point, key) for point in points} - {None, 0}) > 1
    }
    if not shown:
        return None
    figure, axes = panels([("", what, label) for what in shown], inches=4.4)
    for axis, pairs in zip(axes, shown.values(), strict=True):
        axis.set_xscale("log")
        for x, point in pairs:
            ends = (
                [[point.score - point.low], [point.high - point.score]] if None not in (point.low, point.high) else None
            )
            axis.errorbar([x], [point.score], ends, fmt="o", color="C0", markersize=4, linewidth=0.9)
        axis.margins(x=0.22, y=0.1)
        _name(axis, [(x, point.score, point.name) for x, point in pairs])
    return figure


def _name(axis: Any, places: Sequence[tuple[float, float, str]]) -> None:
    """Names beside their points, on the side that has room; a line leads to one that had to move."""
    axis.figure.draw_without_rendering()  # fixes the layout: pixels can be measured
    taken: list[tuple[float, float, float]] = []  # left, right, and the middle of a line
    for x, y, name in sorted(places, key=lambda place: place[1]):
        text = axis.annotate(
            name, (x, y), (5, 0), textcoords="offset points", fontsize=7, va="center", parse_math=False
        )
        text.set_in_layout(False)
        box, (dot, middle) = text.get_window_extent(), axis.transData.transform((x, y))
        height = box.height
        left = box.x0 if box.x1 + height < axis.bbox.x1 else 2 * dot - box.x1
        right = left + box.width
        moves = sorted(range(-round(axis.bbox.height), round(axis.bbox.height)), key=abs)
        inside = [m for m in moves if axis.bbox.y0 + height < middle + m < axis.bbox.y1 - height]
        beside = [line for begin, end, line in taken if left < end and begin < right]
        above = middle + next((m for m in inside if all(abs(middle + m - line) >= height for line in beside)), 0)
        taken.append((left, right, above))
        points = 72 / axis.figure.dpi
        text.set_position(((left - dot) * points, (above - middle) * points))
        if abs(above - middle) > height:
            edge = left if left > dot else right
            ends = axis.transData.inverted().transform([(dot, middle), (edge, above)])
            axis.plot(*ends.T, color="grey", linewidth=0.4, zorder=0, scalex=False, scaley=False)
