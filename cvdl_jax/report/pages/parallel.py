"""All trials of a sweep at once: parallel coordinates as SVG, a line for each trial, and the table of a halving."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from cvdl_jax.core import formatting
from cvdl_jax.report.pages import numbers, scatter
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, section, table

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 900, 330, 70, 70, 34, 18
MOST_WORD = 16  # characters of a word at an axis

Trial = Mapping[str, Any]  # name; scores: one for each rung, None for those that it was not in


def trials_of(results: Mapping[str, Any]) -> list[Trial]:
    """The trials of a sweep: those of all rungs of a halved one, else its rows; [] for a table."""
    if not results.get("varied"):
        return []
    return results.get("trials") or [{"name": row["name"], "scores": [row["mean"]]} for row in results["rows"]]


def show(results: Mapping[str, Any], label: str) -> Markup | None:
    """The section of all trials; None for a table, or where nothing was varied or measured.

    Args:
        results: of the sweep; "trials" and "rungs" where it was halved.
        label: of the metric.
    """
    trials = [trial for trial in trials_of(results) if _finite(trial["scores"][0])]
    varied = {key: of for key, of in results.get("varied", {}).items() if len({repr(x) for x in of.values()}) > 1}
    if len(trials) < 2 or not varied:
        return None
    rungs = results.get("rungs") or [""]
    heads = [f"{label} after {rung}" if rung else label for rung in rungs]
    better = results["metric"]["better"]
    note = "A line is a configuration; the best is drawn thick." + (
        " It ends with the budget after which the configuration was given up." if len(rungs) > 1 else ""
    )
    drawn = plot(trials, varied, heads, better)
    whole = listed(trials, varied, [f"after {rung}" for rung in rungs], label) if len(rungs) > 1 else None
    return section("trials", "All trials", el("div", el("figure", drawn), class_="scatters wide-plot"),
                   el("p", note, class_="note"), whole)  # fmt: skip


def _finite(x: Any) -> bool:
    return isinstance(x, int | float) and math.isfinite(x)


def plot(trials: Sequence[Trial], varied: Mapping[str, Mapping[str, Any]], heads: Sequence[str], better: str) -> Markup:
    """The parallel coordinates.

    Args:
        trials: two or more, with a finite first score.
        varied: {dotted key: {trial's name: value}}, keys with two values or more.
        heads: titles of the axes of the scores.
        better: "max" or "min".
    """
    names = [trial["name"] for trial in trials]
    axes = [(key, *scatter.axis_of(key, [values[name] for name in names])) for key, values in varied.items()]
    for i, head in enumerate(heads):
        scores = [trial["scores"][i] if i < len(trial["scores"]) else None for trial in trials]
        axes.append((head, scatter.Axis(log=False), [float(x) if _finite(x) else math.nan for x in scores]))
    columns = [_column(axis, places) for _, axis, places in axes]
    widest = max(len(text) for _, text in columns[0][1])  # which stands left of the first axis
    left = max(LEFT, 12 + scatter.CHARACTER * widest)
    x = [left + i * (WIDTH - left - RIGHT) / (len(axes) - 1) for i in range(len(axes))]
    drawn: list[Markup] = []
    for k in order(trials, better):
        known = [(x[i], y(places[k])) for i, ((_, _, places), (y, _)) in enumerate(zip(axes, columns, strict=True))
                 if math.isfinite(places[k])]  # fmt: skip
        path = "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in known)
        drawn.append(el("g", el("title", _said(trials[k], heads)), el("path", d=path, class_="trial")))
    drawn[-1] = Markup(drawn[-1].replace('class="trial"', 'class="trial best"'))
    for i, ((key, _, _), (_, ticks)) in enumerate(zip(axes, columns, strict=True)):
        drawn.append(el("line", class_="axis", x1=f"{x[i]:.1f}", x2=f"{x[i]:.1f}", y1=TOP, y2=HEIGHT - BOTTOM))
        drawn += [el("text", text, x=f"{x[i] - 5:.1f}", y=f"{at + 4:.1f}", text_anchor="end") for at, text in ticks]
        anchor = "start" if i == 0 else "end" if i == len(axes) - 1 else "middle"
        at = {"start": 4.0, "end": WIDTH - 4, "middle": x[i]}[anchor]
        drawn.append(el("text", key, class_="name", x=f"{at:.1f}", y=14 if i % 2 == 0 else 28, text_anchor=anchor))
    label = f"Parallel coordinates of {len(trials)} trials: {', '.join(key for key, _, _ in axes)}"
    return Markup(el("svg", drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label))


def order(trials: Sequence[Trial], better: str) -> list[int]:
    """The trials from the worst to the best: those that got further are better, then those with the better score."""
    sign = 1 if better == "max" else -1

    def rank(k: int) -> tuple[int, float]:
        known = [score for score in trials[k]["scores"] if _finite(score)]
        return len(known), sign * known[-1]

    return sorted(range(len(trials)), key=rank)


def _column(axis: scatter.Axis, places: Sequence[float]) -> tuple[Any, list[tuple[float, str]]]:
    """A vertical axis: the height of a place, and [(height, what stands there)]."""
    scale = math.log10 if axis.log else float
    known = [scale(place) for place in places if math.isfinite(place)] + [float(i) for i in range(len(axis.words))]
    low, high = min(known), max(known)
    pad = (high - low) * 0.06 or 0.5
    low, high = low - pad, high + pad

    def y(place: float) -> float:
        return HEIGHT - BOTTOM - (scale(place) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)

    ticks = [(y(at), text if len(text) <= MOST_WORD else f"{text[: MOST_WORD - 1]}…")
             for at, text in scatter.ticks_of(low, high, axis)]  # fmt: skip
    return y, ticks


def _said(trial: Trial, heads: Sequence[str]) -> str:
    scores = [f"{head} {numbers.value(x)}" for head, x in zip(heads, trial["scores"], strict=False) if _finite(x)]
    return f"{trial['name']}: {', '.join(scores)}"


def listed(
    trials: Sequence[Trial], varied: Mapping[str, Mapping[str, Any]], heads: Sequence[str], label: str
) -> Markup:
    """A row for each trial: its hyper-parameters, and its score in each rung that it was in."""
    columns = [*(Column(key, True) for key in varied), *(Column(head, True) for head in heads)]

    def cell(x: Any) -> Cell:
        known = _finite(x) and not isinstance(x, bool)
        shown = numbers.value(x) if known else formatting.NO_VALUE if x is None else str(x) or "none"
        return Cell(shown, x if known else None if x is None else str(x))

    rows = []
    for trial in trials:
        scores = [*trial["scores"], *[None] * (len(heads) - len(trial["scores"]))]
        rows.append([cell(x) for x in (*(values[trial["name"]] for values in varied.values()), *scores)])
    return table(columns, rows, f"Every trial: its hyper-parameters and its {label} after each budget", heads=0)
