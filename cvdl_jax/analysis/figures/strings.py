"""Strings that were read position by position: the image, the probabilities along it, and the path through them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import EXAMPLES


def string_figure(
    images: Any, truth: Any, probabilities: Any, path: Any, strings: Mapping[str, Any], most: int = 8
) -> Any:
    """Two panels for each string, with the positions of both in one line.

    Args:
        images: [b, h, w, 1] in 0..1.
        truth: the symbols that are there, int [b, n].
        probabilities: [b, t, classes], the last class for no symbol; position 0 looks at the first h columns, the last
            one at the last h.
        path: the class that was chosen at each position, int [b, t].
        strings: {way of reading: int [b, t], filled up with negative numbers}.
        most: only the first so many strings.

    Returns:
        A matplotlib Figure; strings read wrong are red.
    """
    from matplotlib.figure import Figure

    images, truth, probabilities, path = (np.asarray(x)[:most] for x in (images, truth, probabilities, path))
    (b, h, w), (t, classes) = images.shape[:3], probabilities.shape[1:]
    columns = min(2, b)
    rows = -(-b // columns)
    figure = Figure(figsize=(5.5 * columns, 2.6 * rows), layout="constrained")
    parts = figure.subfigures(rows, columns, squeeze=False).flat
    at = np.linspace(h / 2, w - h / 2, t)  # the centre of what each position looks at
    edges = np.append(at, 2 * at[-1] - at[-2] if t > 1 else at[-1] + 1) - (at[1] - at[0] if t > 1 else 1) / 2
    for i, part in zip(range(b), parts, strict=False):
        above, below = part.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
        above.imshow(images[i, ..., 0], cmap="gray", vmin=0, vmax=1, aspect="auto", extent=(0, w, h, 0))
        above.set_yticks([])
        below.pcolormesh(edges, np.arange(classes + 1) - 0.5, probabilities[i].T, cmap="Greys", vmin=0, vmax=1)
        chosen = path[i] != classes - 1
        below.plot(at[chosen], path[i][chosen], "o", color="C1", markersize=5)
        below.plot(at, path[i], "-", color="C1", linewidth=0.8)
        below.set_yticks(range(classes), [*map(str, range(classes - 1)), "none"], fontsize=6)
        below.invert_yaxis()
        below.tick_params(axis="x", labelsize=6)
        expected, read = "".join(map(str, truth[i])), {}
        for name, string in strings.items():
            digits = np.asarray(string)[i]
            read[name] = "".join(map(str, digits[digits >= 0]))
        wrong = any(text != expected for text in read.values())
        title = ", ".join([expected, *(f"{name} {text or 'nothing'}" for name, text in read.items())])
        above.set_title(title, fontsize=8, color="tab:red" if wrong else "black")
    figure.set_label(EXAMPLES)
    return figure
