"""Images beside the maps that explain what a function says of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.images import EXAMPLES, new_figure

CLIP = 99.5  # percentile of a map's size at which colours end: one pixel would leave the others without any


def heat(map_: Any) -> tuple[np.ndarray, str, float, float]:
    """A map as one number a pixel, with its colours: red for and blue against where it has both signs.

    Args:
        map_: [h, w, c]; channels are added.

    Returns:
        ([h, w], name of a colour map, its least and its greatest value).
    """
    one = np.asarray(map_, np.float64).sum(-1)
    most = max(float(np.percentile(np.abs(one), CLIP)), float(np.abs(one).max()) * 1e-3, 1e-12)
    return (one, "inferno", 0.0, most) if one.min() >= 0 else (one, "seismic", -most, most)


def beside(image: Any, title: str, maps: Mapping[str, Any], inches: float = 1.8) -> Any:
    """An image and its maps in one row.

    Args:
        image: [h, w, c] in 0..1.
        title: of the image.
        maps: {method: [h, w, channels]}.
        inches: width of a cell.

    Returns:
        A matplotlib Figure.
    """
    return rows([image], [title], [maps], inches)


def rows(images: Sequence[Any], titles: Sequence[str], maps: Sequence[Mapping[str, Any]], inches: float = 1.4) -> Any:
    """A row for each image, with its maps; the names of the methods are above the first.

    Args:
        images: n of [h, w, c] in 0..1.
        titles: n.
        maps: n of {method: [h, w, channels]}, of the same methods.
        inches: width of a cell.

    Returns:
        A matplotlib Figure.
    """
    h, w = np.shape(images[0])[:2]
    figure, axes = new_figure(len(images), 1 + len(maps[0]), inches, h / w)
    for i, (line, image, title, of_image) in enumerate(zip(axes, images, titles, maps, strict=True)):
        image = np.asarray(image)
        line[0].imshow(image[..., 0] if image.shape[-1] == 1 else image[..., :3], cmap="gray", vmin=0, vmax=1)
        line[0].set_title(title.replace("$", r"\$"), fontsize=8)
        for axis, (name, map_) in zip(line[1:], of_image.items(), strict=True):
            one, colours, low, high = heat(map_)
            axis.imshow(one, cmap=colours, vmin=low, vmax=high)
            if i == 0:
                axis.set_title(name, fontsize=8)
    figure.set_label(EXAMPLES)
    return figure
