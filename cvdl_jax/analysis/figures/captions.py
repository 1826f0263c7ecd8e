"""Figures of captions: images with what was written of them, and where the attention was at each word."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures import images

_WIDTH = 26  # characters of a line under an image


def _lines(words: Sequence[str]) -> str:
    """The words in lines of few characters."""
    lines = [""]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append("")
        lines[-1] += f"{word} "
    return "\n".join(line.strip() for line in lines)


def captioned(pictures: Any, written: Sequence[Sequence[str]], there: Sequence[Sequence[str]], right: Any) -> Any:
    """Images with what was written; where it is none of the captions, in red, with one of these.

    Args:
        pictures: [n, h, w, c] in 0..1.
        written: the words of each.
        there: the words of one of its captions.
        right: bool [n], whether it is one of them.

    Returns:
        A matplotlib Figure.
    """
    titles = [
        (_lines(words), "black") if same else (f"{_lines(words)}\nnot {_lines(caption)}", "tab:red")
        for words, caption, same in zip(written, there, right, strict=True)
    ]
    return images.titled_tiles(pictures, titles, 4, 2.6)


def grid_of(weights: Any, shape: tuple[int, int]) -> np.ndarray:
    """Weights [n] of a grid, row by row, as [rows, columns] of the sides' ratio that an image [h, w] has."""
    n, (h, w) = len(weights), shape
    rows = min((r for r in range(1, n + 1) if n % r == 0), key=lambda r: abs(np.log(r * r * w / (n * h))))
    return np.asarray(weights).reshape(rows, n // rows)


def attended(pictures: Any, written: Sequence[Sequence[str]], alpha: Any) -> Any:
    """A row for each image: the image, and for each word the image as bright as the attention was there.

    Args:
        pictures: [n, h, w, c] in 0..1.
        written: the words of each.
        alpha: float [n, t, places], t at least the number of words.

    Returns:
        A matplotlib Figure.
    """
    pictures = np.asarray(pictures)
    columns = 1 + max(map(len, written), default=0)
    figure, axes = images.new_figure(len(pictures), columns, inches=1.3)
    for row, picture, words, weights in zip(axes, pictures, written, np.asarray(alpha), strict=True):
        h, w, c = picture.shape
        flat = picture.squeeze(-1) if c == 1 else picture
        for axis in row:
            axis.set_axis_off()
        row[0].imshow(flat, cmap="gray", vmin=0, vmax=1)
        for axis, word, shares in zip(row[1:], words, weights, strict=False):
            grid = grid_of(shares, (h, w))
            axis.imshow(flat, cmap="gray", vmin=0, vmax=1, extent=(0, w, h, 0))
            veil = np.zeros((*grid.shape, 4))
            veil[..., 3] = 0.85 * (1 - grid / max(grid.max(), 1e-9))
            axis.imshow(veil, extent=(0, w, h, 0), interpolation="bilinear")
            axis.set_title(word.replace("$", r"\$"), fontsize=7)
    return figure
