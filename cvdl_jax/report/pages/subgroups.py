"""Does a classifier serve all groups alike? The section of a run's page: every group, the worst one, and the gaps.

Groups are the classes themselves, and those of the entries that `config.subgroups` names. All groups have their
interval: one of a few examples is wide, and is shown.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from cvdl_jax.metrics import subgroups
from cvdl_jax.metrics.stats.intervals import Difference
from cvdl_jax.metrics.stats.paired_tests import format_p
from cvdl_jax.report.pages import dots, numbers, table_rows
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, section, table
from cvdl_jax.workdir import predictions

CLASSES = "the classes"
FEW = 30  # examples; an interval of fewer is more than a third of the range wide where half are right
MOST, DRAWN = 200, 40  # groups that are listed, and drawn
METRIC = {"label": "accuracy", "unit": "%", "digits": 1, "better": "max"}
MEASURES = {
    "accuracy": "right, of all",
    "demographic_parity": "called positive, of all",
    "equal_opportunity": "called positive, of the positive",
    "false_positives": "called positive, of the others",
}


def audits(
    evaluation: predictions.Classified, class_names: Sequence[str], positive: int | None = None
) -> dict[str, dict[str, Any]]:
    """What is compared: {groups: {measure: Extremes}}; groups of which there is one only are left out.

    Args:
        evaluation: what was classified.
        class_names: one per class, or () for numbers.
        positive: the class that counts as positive between groups of an entry; None for none.
    """
    label, guess, c = evaluation.label, evaluation.guess, evaluation.scores.shape[1]
    names = [str(name) for name in class_names] if len(class_names) == c else [str(k) for k in range(c)]
    alike = len(set(names)) < c
    classes = np.asarray([f"{name} ({k})" if alike else name for k, name in enumerate(names)], str)
    by = {CLASSES: (classes[label], None)} | {entry: (of, positive) for entry, of in evaluation.groups.items()}
    several = {name: pair for name, pair in by.items() if len(np.unique(pair[0])) > 1}
    audit = partial(subgroups.audit, label, guess, measure=subgroups.extremes)
    return {name: audit(groups, counted) for name, (groups, counted) in several.items()}


def show(
    evaluation: predictions.Classified, class_names: Sequence[str], chosen: Mapping[str, Any] = {}
) -> Markup | None:
    """The section of one evaluation; None without two classes or groups that have examples.

    Args:
        evaluation: what was classified.
        class_names: one per class, or () for numbers.
        chosen: `config.subgroups` of the run.
    """
    if not len(evaluation.label):
        return None
    positive = chosen.get("positive")
    compared = audits(evaluation, class_names, positive)
    alone = [entry for entry in evaluation.groups if entry not in compared]
    if not compared and not alone:
        return None
    parts = [_part(name, gaps, evaluation.name) for name, gaps in compared.items()]
    parts += [el("p", f"All examples have one {entry}; there is nothing to compare.") for entry in alone]
    notes = [
        "Brackets: Wilson's 95 % interval of a group; Newcombe's of a gap, between the two groups that are named, "
        "though they are chosen for being farthest apart. Whether groups differ at all, the chi-squared test says, an "
        "approximation where groups are small; its p values are not corrected for their number."
    ]
    if positive is not None:
        named = class_names[positive] if len(class_names) == evaluation.scores.shape[1] else positive
        notes.append(f"Positive: class {named}.")
    if not evaluation.groups:
        notes.append(
            "Groups of an entry of the data set: config.subgroups.entries of a new run, or, of this one, "
            "configs/studies/subgroups.py with config.study.group."
        )
    name = evaluation.name
    return section(f"subgroups-{name}", f"Subgroups: {name}", parts, [el("p", note, class_="note") for note in notes])


def _part(name: str, gaps: Mapping[str, subgroups.Extremes], evaluation: str) -> Markup:
    """One kind of groups."""
    accuracy = gaps["accuracy"]
    kind = "class" if name == CLASSES else name
    listed = [(group, rate) for group, rate in accuracy.rates.items()][:MOST]
    rows = [[Cell(_few(group, rate), group), rate.n, _share(rate)] for group, rate in listed]
    columns = [Column(kind), Column("examples", True), Column("accuracy", True)]
    left = len(accuracy.rates) - len(listed)
    beyond = f"The {left:,} groups with the highest accuracy are not listed." if left else None
    drawn = [_dot(group, rate) for group, rate in listed[:DRAWN]]
    return Markup(
        el("h3", "Classes" if name == CLASSES else name)
        + el("p", said(accuracy, kind))
        + el(
            "div",
            el("div", table(columns, rows, f"Accuracy of each {kind} of {evaluation}", class_="narrow")),
            el("div", dots.plot(drawn, METRIC, f"a {kind}, with its interval"), style="flex:1;min-width:22rem"),
            class_="side",
        )
        + (el("p", beyond, class_="note") if beyond else "")
        + (_gaps(gaps, kind, evaluation) if len(gaps) > 1 else "")
    )


def said(of: subgroups.Extremes, kind: str, ends: tuple[str, str] = ("Worst", "best")) -> str:
    """The groups at both ends and the gap, in a sentence or two."""
    few = sum(rate.n < FEW for rate in of.rates.values())
    rare = f" {few} of {len(of.rates)} groups have fewer than {FEW} examples, and wide intervals." if few else ""
    low, high = (f"{group}, {_text(of.rates[group])}" for group in (of.lowest, of.highest))
    return (
        f"{ends[0]} {kind}: {low}; {ends[1]}: {high}. Gap: {points(of.gap)} points; "
        f"chi-squared test of equal rates: {format_p(of.p)}.{rare}"
    )


def points(gap: Difference) -> str:
    """A difference of two shares in points of percent, with its interval."""
    return numbers.minus(f"{100 * gap.value:.1f} [{100 * gap.low:.1f}, {100 * gap.high:.1f}]")


def _text(rate: subgroups.Rate) -> str:
    ends = numbers.interval(rate.low, rate.high, True)
    return f"{numbers.percent(rate.value)} {ends} of {numbers.count(rate.n)}"


def _few(group: str, rate: subgroups.Rate) -> Any:
    return [str(group), " ", el("small", f"fewer than {FEW}")] if rate.n < FEW else str(group)


def _share(rate: subgroups.Rate) -> Cell:
    return numbers.proportion(rate.value, rate.low, rate.high)


def _dot(group: str, rate: subgroups.Rate) -> dict[str, Any]:
    """A group as a row of `dots.plot`."""
    percent = {"mean": 100 * rate.value, "low": 100 * rate.low, "high": 100 * rate.high}
    return {**table_rows.ROW, "name": str(group), "n": 1, **percent}


def _gaps(gaps: Mapping[str, subgroups.Extremes], kind: str, evaluation: str) -> Markup:
    """The gaps of all measures."""
    columns = [Column("rate"), Column("what it is"), Column("lowest"), Column("highest"), Column("gap, points", True),
               Column("p", True)]  # fmt: skip
    rows = []
    for i, (measure, of) in enumerate(gaps.items()):
        ends = [[str(group), " ", el("small", _text(of.rates[group]))] for group in (of.lowest, of.highest)]
        gap = Cell(points(of.gap), of.gap.value)
        rows.append([Cell(measure.replace("_", " "), i), MEASURES[measure], *ends, gap, numbers.p_value(of.p)])
    return table(columns, rows, f"Gaps between each {kind} of {evaluation}", class_="narrow")
