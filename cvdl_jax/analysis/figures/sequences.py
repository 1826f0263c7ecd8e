"""Figures of networks that label sequences: strips of frames, labels over time, numbers against their targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images


def strips(frames: Any, labels: Any, guesses: Any, class_names: Sequence[str] = ()) -> Any:
    """Clips, their frames side by side, with the predicted class; wrong ones say the true class too, in red.

    Args:
        frames: float [n, t, h, w, c] in 0..1.
        labels: int [n].
        guesses: int [n].
        class_names: one per class, or () for numbers.

    Returns:
        A matplotlib Figure.
    """
    n, t, h, w, c = np.shape(frames)
    wide = np.swapaxes(np.pad(np.asarray(frames), [(0, 0)] * 3 + [(0, 1), (0, 0)], constant_values=1), 1, 2)
    return images.image_grid(wide.reshape(n, h, t * (w + 1), c), labels, guesses, class_names, columns=2)


def over_time(labels: Any, guesses: Any, class_names: Sequence[str], ignored: Sequence[int] = ()) -> Any:
    """What is there and what was read at each time, a row of text for each, with wrong times in red.

    Args:
        labels: int [n, t].
        guesses: int [n, t].
        class_names: one per class, or () for numbers.
        ignored: classes whose times are not shown.

    Returns:
        A matplotlib Figure.
    """
    labels, guesses = np.asarray(labels), np.asarray(guesses)
    figure, axes = images.new_figure(len(labels), 1, inches=0.5)
    figure.set_size_inches(12, 0.55 * len(labels) + 0.3)
    for axis, there, read in zip(axes[:, 0], labels, guesses, strict=True):
        shown = ~np.isin(there, ignored)
        for y, row, name in ((0.7, there[shown], "true"), (0.2, read[shown], "read")):
            axis.text(-0.005, y, name, fontsize=6, color="tab:gray", ha="right")
            for x, (c, true) in enumerate(zip(row.tolist(), there[shown].tolist(), strict=True)):
                short = images.class_name(c, class_names)[-1]
                colour = "black" if c == true else "tab:red"
                axis.text((x + 0.5) / max(shown.sum(), 1), y, short, fontsize=6, color=colour, ha="center")
        axis.set_axis_off()
    return figure


def against_targets(targets: Any, predictions: Any) -> Any:
    """Predicted numbers over their targets, with the diagonal of perfect ones. Args: float [n] both."""
    figure, axes = images.new_figure(1, 1, inches=4.0)
    axis = axes[0, 0]
    axis.set_frame_on(True)
    ends = [float(np.min(targets)), float(np.max(targets))]
    axis.plot(ends, ends, color="tab:gray", linewidth=1)
    axis.plot(np.asarray(targets), np.asarray(predictions), ".", markersize=4)
    ticks = np.round(np.linspace(*ends, 5), 2)
    axis.set(xlabel="target", ylabel="prediction", xticks=ticks, yticks=ticks)
    return figure
