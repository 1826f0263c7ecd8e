"""Figures for reports, drawn with matplotlib off screen."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def new_figure(rows: int, columns: int, inches: float = 1.2) -> tuple[Any, Any]:
    """A figure with a grid of axes without ticks, made without a display.

    Args:
        rows: of the grid.
        columns: of the grid.
        inches: size of one cell.

    Returns:
        (figure, axes [rows, columns]).
    """
    from matplotlib.figure import Figure  # the object interface: no window system, no global state

    figure = Figure(figsize=(columns * inches, rows * (inches + 0.25)), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.set_frame_on(False)
    return figure, axes


def image_grid(images: Any, labels: Any, guesses: Any, class_names: Sequence[str] = (), columns: int = 8) -> Any:
    """Images with their predicted class; wrong ones say the true class too, in red.

    Args:
        images: [n, h, w, c] in 0..1.
        labels: int [n].
        guesses: int [n].
        class_names: one per class, or () for numbers.
        columns: of the grid.

    Returns:
        A matplotlib Figure.
    """
    images, labels, guesses = (np.asarray(x) for x in (images, labels, guesses))

    def name(c: int) -> str:
        return str(class_names[c]) if class_names else str(c)

    rows = -(-len(images) // columns)
    figure, axes = new_figure(rows, columns)
    for axis, image, label, guess in zip(axes.flat, images, labels, guesses, strict=False):
        axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
        right = label == guess
        axis.set_title(
            name(guess) if right else f"{name(guess)}, not {name(label)}", fontsize=8, color="black" if right else "red"
        )
    return figure
