"""Figures of depth maps: an image, how far its pixels are, how far a network says they are, and where it is wrong."""

from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import EXAMPLES, new_figure


def grid(images: Any, depths: Any, predictions: Any, known: Any, examples: int = 6) -> Any:
    """Some images in rows: image, truth, prediction in the colours of the truth, relative error in -50 % ... 50 %.

    Args:
        images: [n, h, w, c] in 0..1.
        depths: [n, h, w] in metres.
        predictions: [n, h, w] in metres.
        known: bool [n, h, w]; elsewhere truth and error are left white.
        examples: how many images, the first ones.

    Returns:
        A matplotlib Figure, labelled as one of examples.
    """
    images, depths, predictions, known = (np.asarray(x)[:examples] for x in (images, depths, predictions, known))
    figure, axes = new_figure(len(images), 4, inches=1.8, aspect=images.shape[1] / images.shape[2])
    for axis, title in zip(axes[0], ("image", "depth", "prediction", "relative error"), strict=True):
        axis.set_title(title, fontsize=8)
    for row, image, depth, guess, there in zip(axes, images, depths, predictions, known, strict=True):
        row[0].imshow(np.repeat(image, 3, -1) if image.shape[-1] == 1 else image[..., :3], vmin=0, vmax=1)
        t = np.where(there, depth, np.nan)
        ends = {"vmin": 0, "vmax": np.nanmax(t) if there.any() else 1, "cmap": "viridis_r"}
        shown = row[1].imshow(t, **ends)
        row[2].imshow(guess, **ends)
        figure.colorbar(shown, ax=row[2], label="m", fraction=0.05)
        wrong = row[3].imshow(guess / np.where(there, depth, np.nan) - 1, vmin=-0.5, vmax=0.5, cmap="coolwarm")
        figure.colorbar(wrong, ax=row[3], fraction=0.05)
    figure.set_label(EXAMPLES)
    return figure
