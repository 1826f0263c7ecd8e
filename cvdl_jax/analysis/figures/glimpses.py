"""The way of glimpses through images."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images


def ways(
    pictures: Any, places: Any, size: int, labels: Any, guesses: Any, class_names: Sequence[str] = (), most: int = 12
) -> Any:
    """Images with the places of the glimpses in their order, the window of the last one, and the predicted class.

    Args:
        pictures: [n, h, w, c] in 0..1.
        places: float [n, t, 2], y and x in -1 ... 1.
        size: side of the smallest window in pixels.
        labels: int [n].
        guesses: int [n].
        class_names: one per class, or () for numbers.
        most: images shown.

    Returns:
        A matplotlib Figure.
    """
    pictures, places = np.asarray(pictures)[:most], np.asarray(places)[:most]
    n, h, w, c = pictures.shape
    columns = min(n, 4)
    figure, axes = images.new_figure(-(-n // columns), columns, inches=1.8)
    for axis in axes.flat:
        axis.set_axis_off()
    rows = zip(axes.flat, pictures, places, np.asarray(labels)[:most], np.asarray(guesses)[:most], strict=False)
    for axis, picture, way, label, guess in rows:
        axis.imshow(picture.squeeze(-1) if c == 1 else picture, cmap="gray", vmin=0, vmax=1)
        y, x = ((np.clip(way, -1, 1) + 1) / 2 * (h, w)).T
        # the centre of a pixel is a whole number
        axis.plot(x - 0.5, y - 0.5, "-o", color="tab:orange", markersize=3, linewidth=1)
        images.outline(
            axis,
            (y[-1] - size / 2, x[-1] - size / 2, y[-1] + size / 2, x[-1] + size / 2),
            (1, 1),
            edgecolor="tab:orange",
        )
        name = images.class_name(guess, class_names)
        title = name if label == guess else f"{name}, not {images.class_name(label, class_names)}"
        axis.set_title(title, fontsize=8, color="black" if label == guess else "tab:red")
    return figure
