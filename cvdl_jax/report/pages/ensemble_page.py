"""The page of an ensemble, from its results.json and its saved predictions; its classes are the mean probability's."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.report.pages import classes, numbers, page
from cvdl_jax.report.pages.markup import Cell, Column, Markup, command_row, el, section, table
from cvdl_jax.workdir import predictions, report_facts

NOTE = (
    "Brackets: Wilson's 95 % intervals. p: McNemar's exact test of each member against the mean probability, not "
    "corrected for their number. Ties of votes go to the class with the larger mean probability."
)


def write(
    results: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    path: Path,
    seen: Mapping[str, Mapping[str, Any]] = {},
) -> None:
    """Writes the page of an ensemble.

    Args:
        results: as `ensembles.combine` gives them, with split and generated, and command where there is one.
        arrays: likewise: scores, label and ids.
        class_names: one per class, or () for numbers.
        path: of the HTML file.
        seen: {id: what there is to see of an example}, as `report_facts.shown`.
    """
    page.write(path, render(results, arrays, class_names, seen))


def render(
    results: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    seen: Mapping[str, Mapping[str, Any]] = {},
) -> str:
    """The page as text."""
    evaluation = predictions.classified(results["split"], dict(arrays))
    if evaluation is None:
        raise ValueError("an ensemble's arrays must hold scores [n, c] and labels [n]")
    sections = [
        section("members", "Members", members(results), el("p", said(results)), el("p", NOTE, class_="note")),
        classes.show(results["split"], evaluation, class_names, _mistakes(evaluation, seen)),
    ]
    made = el("span", f"Generated {results['generated']}")
    return page.render(f"Ensemble of {len(results['members'])}", header(results), sections, made)


def _mistakes(evaluation: predictions.Classified, seen: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The most confident mistakes, with what members have kept of their own, which most of them are among."""
    worst = report_facts.worst(evaluation, lambda index: {})
    return [{**mistake, **seen.get(mistake["id"], {})} for mistake in worst]


def header(results: Mapping[str, Any]) -> Markup:
    """Title, what is classified, the accuracy in large figures, the command."""
    cards = [("mean probability", results["average"]), ("majority vote", results["vote"])]
    large = []
    for name, x in cards:
        ends = f"{numbers.interval(x['low'], x['high'], True)} 95 % interval"
        label = el("span", f"{results['split']} accuracy, {name}", class_="label")
        large.append(el("div", label, el("strong", numbers.percent(x["accuracy"])), el("small", ends), class_="card"))
    what = f"{results['split']}, {numbers.count(results['examples'])} examples"
    command = shlex.join(results.get("command") or [])
    return Markup(
        el("h1", f"Ensemble of {len(results['members'])} runs")
        + el("p", what, class_="what")
        + el("div", large, class_="cards")
        + (command_row("Command", command) if command else "")
    )


def members(results: Mapping[str, Any]) -> Markup:
    """A row for both ensembles and for every member."""
    columns = [Column("classifier"), Column("accuracy", True), Column("right", True),
               Column("log loss", True, "mean negative log-likelihood; a vote has none"),
               Column("p", True, "McNemar's exact test against the mean probability")]  # fmt: skip
    of = len(results["members"])
    rows = [_row(f"mean probability of {of}", results["average"]), _row(f"majority vote of {of}", results["vote"]),
            *(_row(member["workdir"], member) for member in results["members"])]  # fmt: skip
    return table(columns, rows, "Accuracy of the ensembles and of each member", id_="members-table")


def said(results: Mapping[str, Any]) -> str:
    """How the members do alone, and how often they differ."""
    return (
        f"A member alone is right on {numbers.percent(results['mean'])} in the mean; two members disagree on "
        f"{numbers.percent(results['disagreement'])} of the examples."
    )


def _row(name: str, measured: Mapping[str, Any]) -> Sequence[Any]:
    accuracy = numbers.proportion(measured["accuracy"], measured["low"], measured["high"])
    loss = Cell(f"{measured['loss']:.4f}", measured["loss"]) if "loss" in measured else numbers.NO_NUMBER
    return name, accuracy, measured["right"], loss, numbers.p_value(measured.get("p"))
