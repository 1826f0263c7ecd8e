"""A scatter plot as SVG: the metric with its interval over a size or a hyper-parameter."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Markup, el

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 42
LINE = 15  # height of a name
CHARACTER = 6.8  # its width, at most on average
LONGEST = 26  # characters of a name that are shown


class Point(NamedTuple):
    """A point: a place on the x axis, a value and the ends of its interval (None without)."""

    name: str
    x: float
    y: float
    low: float | None = None
    high: float | None = None


Box = tuple[float, float, float, float]  # left, top, right, bottom


class Axis(NamedTuple):
    """The x axis.

    Attributes:
        log: whether it is logarithmic; every x is above 0 then.
        words: what stands at 0, 1, 2 ... where x is no number; () where it is.
        zero: where 0 stands on a logarithmic axis, left of all others; None where there is no 0.
    """

    log: bool = True
    words: tuple[str, ...] = ()
    zero: float | None = None


LOGARITHMIC = Axis()
RATES = ("lr", "weight_decay", "l1", "l2", "eps", "epsilon", "strength", "rate")  # what is set by its decade
WIDE = 20.0  # a range whose ends differ by this factor is shown by decades, too


def axis_of(key: str, values: Sequence[Any]) -> tuple[Axis, list[float]]:
    """The axis of a hyper-parameter, and the place of each value on it.

    Args:
        key: its dotted name; that of a rate is drawn by decades.
        values: of any kind; an empty text is a choice, too.
    """
    if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
        said = ["none" if value == "" else str(value) for value in values]
        words = sorted(set(said))
        return Axis(log=False, words=tuple(words)), [float(words.index(word)) for word in said]
    above, least = [value for value in values if value > 0], min(values)
    by_decades = key.rpartition(".")[2] in RATES or (bool(above) and max(above) / min(above) >= WIDE)
    if not above or least < 0 or not by_decades:
        return Axis(log=False), [float(value) for value in values]
    if least > 0:
        return Axis(), [float(value) for value in values]
    zero = 10.0 ** (math.floor(math.log10(min(above))) - 1)
    return Axis(zero=zero), [float(value) or zero for value in values]


def plot(points: Sequence[Point], x_label: str, y_label: str, axis: Axis = LOGARITHMIC, named: bool = True) -> Markup:
    """The plot.

    Args:
        points: with finite values, at least one.
        x_label: of the x axis.
        y_label: of the other.
        axis: what x is.
        named: whether the points' names stand beside them; they are shown under the pointer in any case.
    """
    scale = math.log10 if axis.log else float
    xs = [scale(p.x) for p in points] + [float(i) for i in range(len(axis.words))]
    low_x, high_x = _widened(min(xs), max(xs), 0.1, 0.15)
    ends = [v for p in points for v in (p.y, p.low, p.high) if v is not None]
    low_y, high_y = _widened(min(ends), max(ends), 0.08, 0.5)

    def x(value: float) -> float:
        return LEFT + (scale(value) - low_x) / (high_x - low_x) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return HEIGHT - BOTTOM - (value - low_y) / (high_y - low_y) * (HEIGHT - TOP - BOTTOM)

    drawn: list[Markup] = []
    for tick in linear_ticks(low_y, high_y):
        drawn.append(el("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=_n(y(tick)), y2=_n(y(tick))))
        drawn.append(el("text", numbers.value(tick), x=LEFT - 7, y=_n(y(tick) + 4), text_anchor="end"))
    for tick, text in ticks_of(low_x, high_x, axis):
        drawn.append(el("line", class_="grid", x1=_n(x(tick)), x2=_n(x(tick)), y1=TOP, y2=HEIGHT - BOTTOM))
        half = CHARACTER * len(text) / 2
        middle = min(max(x(tick), half + 2), WIDTH - half - 2)  # a long word at an end stays inside
        drawn.append(el("text", text, x=_n(middle), y=HEIGHT - BOTTOM + 16, text_anchor="middle"))
    drawn.append(el("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle"))
    places = [(x(p.x), y(p.y)) for p in points]
    whiskers = [
        (left, y(p.high), left, y(p.low)) for p, (left, _) in zip(points, places, strict=True)
        if p.low is not None and p.high is not None
    ]  # fmt: skip
    drawn += [el("line", class_="range", x1=_n(a), y1=_n(b), x2=_n(c), y2=_n(d)) for a, b, c, d in whiskers]
    drawn += [_dot(p, place, y_label) for p, place in zip(points, places, strict=True)]
    drawn += _names([p.name for p in points], places, whiskers) if named else []
    label = f"{y_label} over {x_label}: " + "; ".join(_said(p) for p in points)
    return Markup(el("svg", drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label))


def _n(value: float) -> str:
    return f"{value:.1f}"


def _widened(low: float, high: float, share: float, least: float) -> tuple[float, float]:
    pad = max((high - low) * share, least if high == low else 0)
    return low - pad, high + pad


def _said(point: Point) -> str:
    ends = "" if point.low is None or point.high is None else numbers.minus(f" [{point.low:.4g}, {point.high:.4g}]")
    return f"{point.name}: {numbers.minus(f'{point.y:.4g}')}{ends} at {numbers.short(point.x)}"


def _dot(point: Point, place: tuple[float, float], y_label: str) -> Markup:
    shown = el("title", f"{_said(point)} ({y_label})")
    return el("g", shown, el("circle", class_="dot", cx=_n(place[0]), cy=_n(place[1]), r=5))


def ticks_of(low: float, high: float, axis: Axis) -> list[tuple[float, str]]:
    """Places on the x axis and what stands there."""
    if axis.words:
        return [(float(i), _short(word)) for i, word in enumerate(axis.words)]
    ticks = (log_ticks if axis.log else linear_ticks)(low, high)
    named = [(tick, numbers.short(tick) if tick >= 1000 else numbers.value(tick)) for tick in ticks]
    if axis.zero is None:
        return named
    return [(axis.zero, "0"), *(pair for pair in named if pair[0] > 2 * axis.zero)]


def linear_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Round numbers between two ends."""
    power = 10 ** math.floor(math.log10((high - low) / wanted))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.7 * (high - low) / wanted)
    return [float(f"{i * step:.10g}") for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten between two exponents, few of them; with 2 and 5 where there would be less than three."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    every = max(1, math.ceil(len(powers) / 7))
    ticks = [10.0**e for e in powers[::every] if low <= e <= high]
    if len(ticks) >= 3:
        return ticks
    fine = [m * 10.0**e for e in powers for m in (1, 2, 5) if low <= math.log10(m) + e <= high]
    return fine if len(fine) >= 2 else [float(f"{10 ** ((low + high) / 2):.3g}")]


def _names(names: Sequence[str], places: Sequence[tuple[float, float]], whiskers: Sequence[Box]) -> list[Markup]:
    """Each name where it covers least: close to its point if there is room, else further away with a line to it."""
    taken: list[Box] = [(x - 6, y - 6, x + 6, y + 6) for x, y in places]
    taken += [(a - 1, b, c + 1, d) for a, b, c, d in whiskers]
    drawn = []
    for name, (x, y) in sorted(zip(names, places, strict=True), key=lambda named: named[1]):
        shown = _short(name)
        width = CHARACTER * len(shown)
        box = min(_candidates(x, y, width), key=lambda c: (_covered(c, taken), _distance(c, x, y)))
        taken.append(box)
        if _distance(box, x, y) > 18:
            end = min(max(x, box[0]), box[2]), min(max(y, box[1] + 3), box[3] - 2)
            drawn.append(el("line", class_="lead", x1=_n(x), y1=_n(y), x2=_n(end[0]), y2=_n(end[1])))
        anchor = "start" if box[0] >= x else "end" if box[2] <= x else "middle"
        at = {"start": box[0], "end": box[2], "middle": (box[0] + box[2]) / 2}[anchor]
        drawn.append(el("text", shown, class_="name", x=_n(at), y=_n(box[3] - 4), text_anchor=anchor))
    return drawn


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _candidates(x: float, y: float, width: float) -> list[Box]:
    """Boxes for a name around a point that are inside the plot, the nearest first."""
    boxes = []
    for ring in range(6):
        for dy in dict.fromkeys((0, -ring * LINE, ring * LINE)):
            gap = 9 if abs(dy) < LINE else 6
            for left in (x + gap, x - gap - width, x - width / 2):
                if left == x - width / 2 and abs(dy) < LINE:
                    continue
                boxes.append((left, y + dy - LINE / 2, left + width, y + dy + LINE / 2))
    inside = [b for b in boxes if b[0] >= LEFT + 2 and b[2] <= WIDTH - 2 and b[1] >= 0 and b[3] <= HEIGHT - BOTTOM]
    return inside or boxes


def _covered(box: Box, taken: Sequence[Box]) -> float:
    """The area of a box that others cover."""
    both = ((min(box[2], t[2]) - max(box[0], t[0]), min(box[3], t[3]) - max(box[1], t[1])) for t in taken)
    return sum(w * h for w, h in both if w > 0 and h > 0)


def _distance(box: Box, x: float, y: float) -> float:
    return math.hypot(max(box[0] - x, 0, x - box[2]), max(box[1] - y, 0, y - box[3]))
