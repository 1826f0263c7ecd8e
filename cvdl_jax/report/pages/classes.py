"""A classifier's part of the page: the confusion matrix, the measures of each class, the most confident mistakes."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.metrics import classification, confusion
from cvdl_jax.report.pages import numbers, scores
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, image, section, table
from cvdl_jax.report.pages.temperature import Temperature
from cvdl_jax.workdir import predictions

MOST_CLASSES = 25  # of a matrix that is written out; of a larger one the picture and the pairs
PAIRS = 30  # of classes confused most often
ID = 48  # characters shown of an example's id


def show(
    name: str,
    evaluation: predictions.Classified,
    class_names: Sequence[str],
    mistakes: Sequence[Mapping[str, Any]] | None,
    temperature: Temperature | None = None,
) -> Markup:
    """The section of one evaluation.

    Args:
        name: of the evaluation.
        evaluation: what was classified.
        class_names: one per class, or () for numbers.
        mistakes: as `report_facts.worst` saved them; None if they were not saved.
        temperature: of the run's probabilities.
    """
    right, n = int((evaluation.guess == evaluation.label).sum()), len(evaluation.label)
    more = f"; {evaluation.skipped} more have scores that are not finite, or no label" if evaluation.skipped else ""
    said = f"{numbers.count(right)} of {numbers.count(n)} examples are right, {numbers.count(n - right)} wrong{more}."
    if not n:
        none = "No example has finite scores and a label, so nothing can be measured."
        return section(f"classes-{name}", f"Classes: {name}", el("p", said), el("p", none, class_="note"))
    counts = classification.confusion_matrix(evaluation.label, evaluation.guess, evaluation.scores.shape[1])
    names = [str(class_names[i]) if len(class_names) == len(counts) else str(i) for i in range(len(counts))]
    written = len(names) <= MOST_CLASSES
    return section(
        f"classes-{name}",
        f"Classes: {name}",
        el("p", said),
        el("div",
           el("div", el("h3", "Confusion matrix"), matrix(counts, names, name) if written else picture(counts, name)),
           None if written else el("div", el("h3", "Confused most often"), pairs(counts, names, name)),
           el("div", el("h3", "Each class"), measures(counts, names, name)),
           class_="side"),
        scores.show(evaluation, counts, temperature),
        el("h3", "Most confident mistakes"),
        gallery(mistakes, names, n - right),
    )  # fmt: skip


def matrix(counts: np.ndarray, names: Sequence[str], name: str) -> Markup:
    """The confusion matrix int [c, c] as a table: counts, and percent of the row."""
    share = classification.normalised(counts, "true")
    head = el("tr", el("th", "true \\ predicted", scope="col", class_="corner"),
              [el("th", column, scope="col") for column in names], el("th", "all", scope="col"))  # fmt: skip
    rows = [
        el("tr", el("th", names[i], scope="row"), [_heat(counts[i, j], share[i, j], i == j) for j in range(len(names))],
           el("td", numbers.count(counts[i].sum()), class_="sum"))
        for i in range(len(names))
    ]  # fmt: skip
    foot = el("tr", el("th", "all", scope="row"), [el("td", numbers.count(x), class_="sum") for x in counts.sum(0)],
              el("td", numbers.count(counts.sum()), class_="sum"))  # fmt: skip
    caption = (
        f"Confusion matrix of {name}: rows are true classes, columns predicted ones; counts and percent of the row"
    )
    whole = el(
        "table", el("caption", caption), el("thead", head), el("tbody", rows), el("tfoot", foot), class_="matrix"
    )
    return el("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _heat(count: int, share: float, right: bool) -> Markup:
    """A cell: the darker, the greater its share of the row; right and wrong have colours of their own.

    Between pale cells with dark text and dark ones with white text there is a gap, so that both can be read.
    """
    if not count:
        return el("td", "0", class_="zero")
    strong = share > 0.5
    strength = 0.88 + 0.12 * share if strong else 0.05 + 0.5 * math.sqrt(share)
    shown = "100 %" if share == 1 else "< 0.1 %" if share < 0.0005 else "> 99.9 %" if share >= 0.9995 else None
    return el("td", numbers.count(count), el("small", shown or numbers.percent(share, 1)),
              class_=f"{'right' if right else 'wrong'}{' strong' if strong else ''}",
              style=f"--strength:{strength:.3f}")  # fmt: skip


def picture(counts: np.ndarray, name: str) -> Markup:
    """The confusion matrix int [c, c] as a picture: the darker, the greater the share of the row."""
    from PIL import Image

    share = classification.normalised(counts, "true")
    pixels = np.round(255 * (1 - np.sqrt(share))).astype(np.uint8)  # the root shows what is rare
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "png", optimize=True)
    alt = f"Confusion matrix of {name}: true classes from top to bottom, predicted ones from left to right"
    data = base64.b64encode(out.getvalue()).decode()
    return el("figure", image(data, alt, class_="pixels matrix-picture"), el("figcaption", f"{alt}; the darker, the "
              "greater the share of the row (its square root)."), class_="wide")  # fmt: skip


def pairs(counts: np.ndarray, names: Sequence[str], name: str) -> Markup:
    """The pairs of classes that are confused most often, as a table."""
    wrong, share = counts - np.diag(np.diag(counts)), classification.normalised(counts, "true")
    confused = [divmod(int(i), len(names)) for i in np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]]
    rows = [
        (names[i], names[j], int(wrong[i, j]), Cell(numbers.percent(share[i, j], 1), share[i, j]))
        for i, j in confused
        if wrong[i, j]
    ]
    columns = [Column("true"), Column("predicted"), Column("count", True), Column("of the true class", True)]
    return table(columns, rows, f"Classes of {name} confused most often", heads=2)


def measures(counts: np.ndarray, names: Sequence[str], name: str) -> Markup:
    """Precision, recall and F1 of each class as a table."""
    one_vs_rest = classification.one_vs_rest(counts)
    rates = [rate(one_vs_rest) for rate in (confusion.precision, confusion.recall, confusion.f1)]
    columns = [Column("class"), *(Column(title, True) for title in ("precision", "recall", "F1", "examples"))]

    def ratio(x: float) -> Cell:
        return Cell("undefined", None) if np.isnan(x) else Cell(numbers.percent(x, 1), float(x))

    rows = [
        [Cell(names[i], i), *(ratio(values[i]) for values in rates), int(counts[i].sum())] for i in range(len(names))
    ]
    note = ("Undefined: precision of a class that is never predicted, recall of one without examples, F1 of one with "
            "neither. Means are below.")  # fmt: skip
    return Markup(table(columns, rows, f"Measures of the classes of {name}", class_="narrow") +
                  el("p", note, class_="note"))  # fmt: skip


def gallery(mistakes: Sequence[Mapping[str, Any]] | None, names: Sequence[str], wrong: int) -> Markup:
    """The most confident mistakes with their images."""
    if not wrong:
        return el("p", "There is none.", class_="note")
    if mistakes is None:
        return el("p", "They are saved when a run ends; this one has not, or is older than its page.", class_="note")
    note = f"{len(mistakes)} of {numbers.count(wrong)}; the percentages are the softmax of the scores."
    return Markup(
        el("p", note, class_="note") + el("ul", [_mistake(mistake, names) for mistake in mistakes], class_="gallery")
    )


def _mistake(mistake: Mapping[str, Any], names: Sequence[str]) -> Markup:
    guess, label = names[mistake["guess"]], names[mistake["label"]]
    seen = None
    if "image" in mistake:
        small = max(mistake["size"]) < 64
        seen = image(mistake["image"], f"{label}, called {guess}", class_="pixels" if small else None, loading="lazy")
    elif "features" in mistake:
        seen = el("span", "(", ", ".join(numbers.minus(f"{x:g}") for x in mistake["features"]), ")", class_="features")
    name = mistake["id"] if len(mistake["id"]) <= ID else f"…{mistake['id'][-ID:]}"
    called = _row("called", el("strong", guess), mistake["confidence"], "guess")
    true = _row("is", label, mistake["right"], "truth")
    return el("li", seen, called, true, el("span", name, class_="id", title=mistake["id"]))


def _row(said: str, name: Any, share: float, class_: str) -> Markup:
    what = el("span", el("small", said), " ", name)
    return el("span", what, el("span", numbers.percent(share, 1), class_="share"), class_=class_)
