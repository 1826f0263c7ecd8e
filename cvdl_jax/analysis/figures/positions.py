"""Which places of an image the learned positions of a Vision Transformer hold for alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.analysis.figures.curves import panels
from cvdl_jax.ops.positions import position_similarity


def similarities(params: Mapping[str, Any], image: Sequence[int]) -> np.ndarray | None:
    """The cosine similarity of the positions of every two patches.

    Args:
        params: of a network with the parameters "positions" [1, t, d] and "patch_embed", such as `backbones/vit.py`.
        image: (h, w, c) that it was trained for.

    Returns:
        float [h', w', h', w'] of a grid of h' x w' patches; None for a network without such parameters.
    """
    if not isinstance(params, Mapping) or not {"positions", "patch_embed"} <= params.keys():
        return None
    sides = params["patch_embed"]["kernel"].shape[:2]
    grid = image[0] // sides[0], image[1] // sides[1]
    prefix = params["positions"].shape[1] - grid[0] * grid[1]  # class token and others
    return np.asarray(position_similarity(params["positions"], grid, prefix))


def draw(similarity: np.ndarray) -> Any:
    """A map for every patch, at the patch's place: how alike its position is to each other one.

    Args:
        similarity: [h, w, h, w], of `similarities`.

    Returns:
        A matplotlib Figure.

    Reference: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", figure 7, center.
    """
    from matplotlib import colormaps

    h, w = similarity.shape[:2]
    apart = np.pad(similarity, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)  # a line between maps
    mosaic = apart.transpose(0, 2, 1, 3).reshape(h * (h + 1), w * (w + 1))[:-1, :-1]
    figure, (axis,) = panels([("Cosine similarity of positions", "column of the patch", "row of the patch")], 5.0)
    shown = axis.imshow(mosaic, vmin=-1, vmax=1, cmap=colormaps["viridis"].with_extremes(bad="white"))
    for ticks, count, side in ((axis.set_xticks, w, w), (axis.set_yticks, h, h)):
        every = range(0, count, -(-count // 16))
        ticks([i * (side + 1) + (side - 1) / 2 for i in every], [str(i + 1) for i in every])
    figure.colorbar(shown, ax=axis, shrink=0.8)
    return figure
