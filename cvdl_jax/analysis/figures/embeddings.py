"""What embeddings are good for: curves of verification and identification, and the nearest neighbours of images."""

from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import curves
from cvdl_jax.analysis.figures.images import titled_tiles
from cvdl_jax.metrics import ranking

POINTS = 1000  # of a drawn ROC curve


def verification(same: np.ndarray, scores: np.ndarray, match: np.ndarray) -> Any:
    """The ROC curve of all pairs, its false accept rate on a logarithmic axis, and the cumulative match characteristic.

    Args:
        same: bool [m], genuine pairs.
        scores: float [m].
        match: float [g], the share of probes whose identity is among the k best, k = 1 ... g.

    Returns:
        A matplotlib Figure.
    """
    labels = ("all pairs", "false accept rate", "true accept rate"), ("one-shot search", "rank", "identified")
    figure, (roc, ranks) = curves.panels(labels)
    curve = ranking.roc_curve(same, scores)
    few = np.unique(np.linspace(0, len(curve.fpr) - 1, POINTS).astype(int))
    roc.plot(curve.fpr[few], curve.tpr[few], label=f"AUC {ranking.auc(curve.fpr, curve.tpr):.3f}")
    roc.set_xscale("log")
    roc.set_xlim(max(1 / max((~same).sum(), 1), 1e-6), 1)
    roc.legend(fontsize=7, loc="lower right")
    ranks.plot(np.arange(1, len(match) + 1), match, "o-", markersize=3)
    ranks.set_ylim(0, 1.05)
    return figure


def neighbours(images: Any, embeddings: Any, labels: Any, most: int = 12) -> Any:
    """Images, and beside each of them the one of nearest embedding among the others; red where its class is another.

    Args:
        images: [n, h, w, c] in 0..1, n at least 2.
        embeddings: float [n, e].
        labels: int [n].
        most: images that are shown, the first ones.

    Returns:
        A matplotlib Figure.
    """
    x, labels = np.asarray(embeddings, np.float64), np.asarray(labels)
    far = np.square(x[:most, None] - x[None]).sum(-1)
    far[np.arange(len(far)), np.arange(len(far))] = np.inf
    nearest = far.argmin(1)
    shown = np.stack([np.arange(len(far)), nearest], 1).reshape(-1)
    colours = np.where(labels[nearest] == labels[: len(far)], "black", "tab:red")
    titles = [title for i in range(len(far)) for title in (("image", "black"), ("nearest", str(colours[i])))]
    return titled_tiles(np.asarray(images)[shown], titles, 4, 2.4)
