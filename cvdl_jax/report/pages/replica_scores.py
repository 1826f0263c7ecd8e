"""The metrics of replicas trained at once: mean, standard deviation and interval over seeds, and each seed's own."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

from cvdl_jax.metrics.stats.intervals import TOO_FEW, student_t_within
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, section, table

NOTE = (
    "Standard deviation (n − 1) and Student's 95 % interval of the mean over the seeds, which share the data; the page "
    "of each replica, with the interval over its examples, is in its own folder, seed…/."
)


class Spread(NamedTuple):
    """A metric over seeds.

    Attributes:
        values: one for each seed.
        share: whether it is shown in percent.
        ends: its interval; None where there is none.
        why: there is none.
    """

    values: tuple[float, ...]
    share: bool
    ends: tuple[float, float] | None
    why: str = ""


def spread(key: str, metrics: Mapping[str, float], seeds: Sequence[int]) -> Spread | None:
    """A metric such as "validation/accuracy" over its seeds; None where it was not measured for each."""
    values = tuple(metrics.get(f"{key}_seed{seed}", math.nan) for seed in seeds)
    if any(f"{key}_seed{seed}" not in metrics for seed in seeds):
        return None
    share = key.rpartition("/")[2] == "accuracy"
    if not all(map(math.isfinite, values)):
        return Spread(values, share, None, "not finite for every seed")
    ends = student_t_within(values, *((0, 1) if share else (-math.inf, math.inf))) if len(values) > 1 else None
    return Spread(values, share, ends, "" if ends else TOO_FEW.format(what="seeds"))


def value(x: float, share: bool) -> str:
    """A value in percent, or with four digits."""
    return numbers.percent(x) if share else numbers.value(x)


def card(of: Spread) -> Markup:
    """The mean in large figures, small below it what is known of it."""
    ends = f"{numbers.interval(*of.ends, of.share)} 95 % interval" if of.ends else of.why
    deviation = f"± {deviation_of(of)} over {len(of.values)} seeds, " if len(of.values) > 1 else ""
    return Markup(el("strong", value(fmean(of.values), of.share)) + el("small", f"{deviation}{ends}"))


def deviation_of(of: Spread) -> str:
    """The standard deviation over seeds."""
    return value(stdev(of.values), of.share) if all(map(math.isfinite, of.values)) else "NaN"


def results(metrics: Mapping[str, float], seeds: Sequence[int]) -> Markup:
    """The section of the final metrics, a row for each metric of each evaluation."""
    rows: list[Sequence[Any]] = []
    for key in metrics:
        of = spread(key, metrics, seeds)
        if of is not None:
            ends = numbers.interval(*of.ends, of.share) if of.ends else of.why
            own = [Cell(value(x, of.share), x) for x in of.values]
            deviation = Cell(deviation_of(of)) if len(of.values) > 1 else numbers.NO_NUMBER
            mean = fmean(of.values)
            rows.append((key.replace("/", " "), Cell(value(mean, of.share), mean), deviation, Cell(ends), *own))
    columns = [Column("metric"), Column("mean", True), Column("deviation", True), Column("95 % interval", True)]
    columns += [Column(f"seed {seed}", True) for seed in seeds]
    caption = "Final metrics of the replicas, each at the step selected for it"
    return section("results", "Results", table(columns, rows, caption), el("p", NOTE, class_="note"))
