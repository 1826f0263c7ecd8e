"""A classifier's numbers beyond accuracy, and its reliability diagram, from its saved scores alone."""

import math

import numpy as np

from cvdl_jax.metrics import calibration, classification, confusion, ranking
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, table
from cvdl_jax.report.pages.temperature import FITTED_ON, Temperature, scaled_measures
from cvdl_jax.workdir import predictions

MOST_SCORES = 20_000_000  # beyond, softmax in float64 would need gigabytes
MOST_CLASSES = 25  # beyond, areas of every class or pair would take minutes
SIZE, LEFT, BOTTOM, TOP = 300, 54, 40, 8  # of the diagram
_TEXT = "font-size:11px;fill:var(--quiet)"


def show(evaluation: predictions.Classified, counts: np.ndarray, temperature: Temperature | None = None) -> Markup:
    """The table of numbers and the diagram.

    Args:
        evaluation: what was classified.
        counts: its confusion matrix int [c, c].
        temperature: of the run; not used for the evaluation on which it was fitted.
    """
    listed, large = measures(evaluation, counts), evaluation.scores.size > MOST_SCORES
    if evaluation.name == FITTED_ON or large:
        temperature = None
    if temperature is not None and temperature.value is not None:
        listed += scaled_measures(evaluation, temperature.value)
    columns = [Column("measure"), Column("value", True), Column("what it is")]
    rows = [(name, undefined(value), note) for name, value, note in listed]
    why = f"No temperature was fitted: {temperature.why}." if temperature is not None and temperature.why else None
    shown = table(columns, rows, f"Measures of {evaluation.name}", class_="narrow")
    whole = [el("div", el("h3", "The whole"), shown, el("p", why, class_="note") if why else None)]
    if large:
        note = f"Calibration is left out: more than {numbers.count(MOST_SCORES)} scores."
        return el("div", whole, el("p", note, class_="note"))
    p = calibration.softmax(evaluation.scores)
    note = (
        "The softmax of the scores is taken for probabilities. Trained by a loss other than likelihood, it may not be."
    )
    drawn = diagram(calibration.reliability(p, evaluation.label), evaluation.name)
    whole.append(el("div", el("h3", "Reliability"), drawn, el("p", note, class_="note"), style="width:22rem"))
    return el("div", whole, class_="side")


def undefined(value: float) -> Cell:
    """A number, or the word where it is none."""
    return Cell("undefined", None) if math.isnan(value) else Cell(numbers.value(value), value)


def measures(evaluation: predictions.Classified, counts: np.ndarray) -> list[tuple[str, float, str]]:
    """(name, value, what it is) of an evaluation; NaN where undefined."""
    measured = [
        ("balanced accuracy", classification.balanced_accuracy(counts), "macro recall: mean of the classes that occur"),
        *(
            (f"macro {name}", classification.averages(counts, rate).macro, "mean over classes that have a value")
            for name, rate in (("precision", confusion.precision), ("F1", confusion.f1))
        ),
        ("Matthews correlation", classification.matthews(counts), "−1 to 1, 0 is chance"),
        ("Cohen's kappa", classification.kappa(counts), "accuracy beyond chance"),
        *areas(evaluation),
    ]
    if evaluation.scores.size > MOST_SCORES:
        return measured
    p, label = calibration.softmax(evaluation.scores), evaluation.label
    bins = f"mean over {calibration.BINS} equal bins"
    log_loss = calibration.negative_log_likelihood(evaluation.scores, label)
    return [
        *measured,
        ("ECE", calibration.expected_calibration_error(p, label), f"|accuracy − confidence|, {bins}"),
        ("MCE", calibration.maximum_calibration_error(p, label), "the largest of these"),
        ("Brier score", calibration.brier(p, label), "squared error of probabilities, 0 to 2"),
        ("log loss", log_loss, "−log probability of the truth"),
    ]


def areas(evaluation: predictions.Classified) -> list[tuple[str, float, str]]:
    """Areas under curves: of class 1 against 0, or means over a few classes."""
    scores, label, c = evaluation.scores, evaluation.label, evaluation.scores.shape[1]
    if c == 2:
        score = scores[:, 1].astype(np.float64) - scores[:, 0]
        ap = ranking.average_precision_of_scores(label, score)
        return [
            ("ROC AUC", ranking.mann_whitney(label, score), "0.5 is chance"),
            ("average precision", ap, f"of class 1; chance is {numbers.value(float(np.mean(label)))}"),
        ]
    if c > MOST_CLASSES or scores.size > MOST_SCORES:
        return []
    p = calibration.softmax(scores)
    one_vs_rest = confusion.mean_of_known(ranking.roc_auc_one_vs_rest(label, p))
    return [
        ("ROC AUC, one vs rest", one_vs_rest, "mean over classes; 0.5 is chance"),
        ("ROC AUC, one vs one", ranking.roc_auc_one_vs_one(label, p), "mean over pairs of classes"),
    ]


def diagram(bins: calibration.Reliability, name: str) -> Markup:
    """A reliability diagram as SVG: accuracy in each bin of confidence against the diagonal, and how full bins are."""
    right, bottom = SIZE - 8, SIZE - BOTTOM

    def x(value: float) -> float:
        return LEFT + value * (right - LEFT)

    def y(value: float) -> float:
        return bottom - value * (bottom - TOP)

    drawn: list[Markup] = []
    for tick in (0, 0.25, 0.5, 0.75, 1):
        mark, a, b = numbers.value(tick), _n(x(tick)), _n(y(tick))
        drawn.append(el("line", x1=LEFT, x2=right, y1=b, y2=b, style="stroke:var(--line)"))
        drawn.append(el("text", mark, x=LEFT - 6, y=_n(y(tick) + 4), text_anchor="end", style=_TEXT))
        drawn.append(el("text", mark, x=a, y=bottom + 15, text_anchor="middle", style=_TEXT))
    full = [k for k in range(len(bins.count)) if bins.count[k]]
    for k in full:
        low, high, top = x(bins.edges[k]) + 0.5, x(bins.edges[k + 1]) - 0.5, y(bins.accuracy[k])
        shade = 0.25 + 0.65 * bins.count[k] / bins.count.max()  # the fuller, the darker
        bar = el("rect", x=_n(low), y=_n(top), width=_n(max(high - low, 0.5)), height=_n(bottom - top),
                 style=f"fill:var(--c0);opacity:{shade:.2f}")  # fmt: skip
        drawn.append(el("g", el("title", said(bins, k)), bar))
    drawn.append(el("line", x1=LEFT, y1=bottom, x2=right, y2=TOP, style="stroke:var(--quiet);stroke-dasharray:4 3"))
    dots = [(_n(x(bins.confidence[k])), _n(y(bins.accuracy[k]))) for k in full]
    drawn += [el("circle", cx=a, cy=b, r=3, style="fill:var(--ink)") for a, b in dots]
    drawn.append(el("text", "confidence", x=_n(x(0.5)), y=SIZE - 6, text_anchor="middle", style=_TEXT))
    middle = _n(y(0.5))
    drawn.append(el("text", "accuracy", x=12, y=middle, text_anchor="middle", transform=f"rotate(-90 12 {middle})",
                    style=_TEXT))  # fmt: skip
    label = f"Reliability diagram of {name}: " + "; ".join(said(bins, k) for k in full)
    box, style = f"0 0 {SIZE} {SIZE}", "width:19rem;max-width:100%;height:auto"
    picture = el("svg", drawn, viewBox=box, role="img", aria_label=label, style=style)
    caption = "Accuracy in bins of confidence: the fuller, the darker; dots at the mean confidence. Dashed: both equal."
    return el("figure", picture, el("figcaption", caption), class_="wide")


def _n(value: float) -> str:
    return f"{value:.1f}"


def said(bins: calibration.Reliability, k: int) -> str:
    """A bin in words."""
    right, sure = (numbers.percent(shares[k], 1) for shares in (bins.accuracy, bins.confidence))
    return f"{numbers.count(bins.count[k])} at {sure} confidence, {right} right"
