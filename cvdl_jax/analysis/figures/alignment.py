"""Which words of a source each word of its translation was made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def alignments(maps: Sequence[tuple[Any, Sequence[str], Sequence[str]]]) -> Any:
    """Shares of attention as grey squares: a row for each word that is written, a column for each that is read.

    Args:
        maps: of each sentence, (weights [t, s] in 0..1, t words written, s words read).

    Returns:
        A matplotlib Figure.

    Reference: Bahdanau et al. 2015, figure 3.
    """
    from matplotlib.figure import Figure

    widths = [len(read) for _, _, read in maps]
    height = max(len(written) for _, written, _ in maps)
    figure = Figure(figsize=(0.26 * sum(widths) + 1.2 * len(maps), 0.26 * height + 1.2), layout="constrained")
    axes = figure.subplots(1, len(maps), squeeze=False, width_ratios=widths)[0]
    for axis, (weights, written, read) in zip(axes, maps, strict=True):
        weights = np.asarray(weights)
        if weights.shape != (len(written), len(read)):
            raise ValueError(f"weights of shape {weights.shape} are not of {len(written)} words by {len(read)}")
        axis.imshow(weights, cmap="gray", vmin=0, vmax=1, aspect="auto")
        axis.set_xticks(range(len(read)), read, rotation=90, fontsize=7)
        axis.set_yticks(range(len(written)), written, fontsize=7)
        axis.xaxis.tick_top()
    return figure
