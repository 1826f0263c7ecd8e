"""Curves in a row of plots with axes: ROC and precision-recall curves, reliability diagrams, and any others."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import new_figure
from cvdl_jax.metrics import calibration, ranking


def panels(labels: Sequence[tuple[str, str, str]], inches: float = 3.6) -> tuple[Any, Any]:
    """Empty plots side by side.

    Args:
        labels: (title, x label, y label) of each.
        inches: width and height of one.

    Returns:
        (figure, axes [len(labels)]).
    """
    figure, axes = new_figure(1, len(labels), inches)
    for axis, (title, x, y) in zip(axes[0], labels, strict=True):
        axis.set_frame_on(True)
        axis.xaxis.set_major_locator(_automatic())
        axis.yaxis.set_major_locator(_automatic())
        axis.tick_params(labelsize=8)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(x, fontsize=9)
        axis.set_ylabel(y, fontsize=9)
    return figure, axes[0]


def _automatic() -> Any:
    from matplotlib.ticker import AutoLocator

    return AutoLocator()


def roc(axis: Any, labels: Any, scores: Any, name: str) -> None:
    """A ROC curve with its area, and the diagonal of chance.

    Args:
        axis: a matplotlib axis.
        labels: 0, 1 or bool [n].
        scores: float [n].
        name: of the curve.
    """
    curve = ranking.roc_curve(labels, scores)
    axis.plot([0, 1], [0, 1], "k:", linewidth=0.8)
    axis.plot(curve.fpr, curve.tpr, label=f"{name}: AUC {ranking.auc(curve.fpr, curve.tpr):.3f}")
    axis.legend(fontsize=7, loc="lower right")


def precision_recall(axis: Any, labels: Any, scores: Any, name: str) -> None:
    """A precision-recall curve as steps, with its average precision, and the prevalence, which chance gives.

    Args:
        axis: a matplotlib axis.
        labels: 0, 1 or bool [n].
        scores: float [n].
        name: of the curve.
    """
    curve = ranking.precision_recall_curve(labels, scores)
    area = ranking.average_precision_of_scores(labels, scores, "step")
    precision = np.append(curve.precision[1], curve.precision[1:])  # from recall 0 on: the first is 0 / 0
    (line,) = axis.step(curve.recall, precision, label=f"{name}: AP {area:.3f}")  # a step to the left of each point
    axis.axhline(float(np.mean(labels)), linestyle=":", linewidth=0.8, color=line.get_color())
    axis.set_ylim(0, 1.05)
    axis.legend(fontsize=7, loc="best")


def reliability(axis: Any, probabilities: Any, labels: Any, name: str, bins: int = calibration.BINS) -> None:
    """A reliability diagram: accuracy over confidence, with its calibration error, and the diagonal of honesty.

    Args:
        axis: a matplotlib axis.
        probabilities: float [n, c].
        labels: int [n].
        name: of the line.
        bins: of equal width.
    """
    diagram = calibration.reliability(probabilities, labels, bins)
    filled = diagram.count > 0
    error = calibration.expected_calibration_error(probabilities, labels, bins)
    axis.plot([0, 1], [0, 1], "k:", linewidth=0.8)
    points = diagram.confidence[filled], diagram.accuracy[filled]
    axis.plot(*points, "o-", markersize=3, label=f"{name}: ECE {error:.3f}")
    axis.set_xlim(0, 1)
    axis.set_ylim(0, 1)
    axis.legend(fontsize=7, loc="upper left")
