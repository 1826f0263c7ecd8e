"""Foreground and background from a saliency map: colours of what is salient, and a cut where colours change."""

from typing import Any

import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.config.binding import Inside, NotNegative, Size
from cvdl_jax.errors import DataError

SCALE = 1000  # capacities of the graph are whole numbers
MANY = 10**8  # more than any other capacity: a seed keeps its side


@method
def segment(
    image: Any,
    saliency: Any,
    foreground: Inside = 0.95,
    background: Inside = 0.3,
    components: Size = 3,
    smoothness: NotNegative = 50.0,
    rounds: Size = 3,
    seed: int = 0,
) -> np.ndarray:
    """Which pixels are object: those most salient are seeds of it, those least salient seeds of the background.

    Both sides get a mixture of Gaussians of their colours; a minimum cut of the graph of neighbouring pixels weighs
    `-log p(colour | side)` against `gamma exp(-beta |x_p - x_q|^2)` for every pair of neighbours that it parts, beta
    half the inverse of their mean squared difference; then the mixtures are fitted to the two sides anew.

    Args:
        image: [h, w, c] in 0..1.
        saliency: [h, w] or [h, w, 1], larger where the class is.
        foreground: pixels above this quantile of the saliency are seeds of the object.
        background: pixels at most at this quantile are seeds of the background.
        components: of each mixture.
        smoothness: gamma.
        rounds: how often mixtures and cut are made.
        seed: of the mixtures.

    Returns:
        bool [h, w].

    Raises:
        DataError: for a map of another size, or one without two sides.

    Reference: Simonyan et al. 2014, "Deep Inside Convolutional Networks", section 3.2, for the seeds; Rother et al.
        2004, "GrabCut", sections 2.2 and 3.1, whose box they stand for; Boykov and Jolly 2001 for the cut.
    """
    from sklearn.mixture import GaussianMixture

    image, map_ = np.asarray(image, np.float64), np.asarray(saliency, np.float64)
    map_ = map_[..., 0] if map_.ndim == 3 and map_.shape[-1] == 1 else map_
    if image.ndim != 3 or map_.shape != image.shape[:2]:
        raise DataError(
            f"an image [h, w, c] and its map [h, w] are needed, got {list(image.shape)} and {list(map_.shape)}"
        )
    high, low = np.quantile(map_, foreground), np.quantile(map_, background)
    sure, out = map_ > high, map_ <= low
    sure = sure if sure.any() else map_ == map_.max()
    if high <= low or not sure.any() or not out.any() or (sure & out).any():
        raise DataError(
            f"the saliency map has no two sides: its quantiles {background} and {foreground} are {low:g}, {high:g}"
        )
    colours, mask = image.reshape(-1, image.shape[-1]), sure
    first = True
    for _ in range(rounds):
        sides = (sure, out) if first else (mask | sure, ~mask | out)
        costs = []
        for side in sides:
            some = colours[side.reshape(-1)]
            n = min(components, len(np.unique(some, axis=0)))
            model = GaussianMixture(n, reg_covar=1e-4, random_state=seed).fit(some)
            costs.append(-model.score_samples(colours))
        mask = _cut(image, costs[0], costs[1], sure, out, smoothness)
        first = False
    return mask


def _cut(
    image: np.ndarray, of_object: np.ndarray, of_rest: np.ndarray, sure: np.ndarray, out: np.ndarray, gamma: float
) -> np.ndarray:
    """The side of the source, the object, in the minimum cut; costs are -log likelihoods [h w] of both sides."""
    from scipy.sparse import csr_matrix
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    h, w = image.shape[:2]
    place = np.arange(h * w).reshape(h, w)
    pairs = [(place[:, :-1], place[:, 1:]), (place[:-1], place[1:])]
    p, q = (np.concatenate([pair[i].reshape(-1) for pair in pairs]) for i in range(2))
    squared = ((image.reshape(h * w, -1)[p] - image.reshape(h * w, -1)[q]) ** 2).sum(1)
    weight = gamma * np.exp(-squared / max(2 * squared.mean(), 1e-12))
    least = np.minimum(of_object, of_rest)  # the same from both sides changes no cut
    to_source, to_sink = of_rest - least, of_object - least  # the source's edge is cut where a pixel is background
    source, sink = h * w, h * w + 1
    inner = np.round(SCALE * weight)
    from_source = np.where(
        sure.reshape(-1), MANY, np.where(out.reshape(-1), 0, np.minimum(SCALE * to_source, MANY / 2))
    )
    into_sink = np.where(out.reshape(-1), MANY, np.where(sure.reshape(-1), 0, np.minimum(SCALE * to_sink, MANY / 2)))
    begin = np.concatenate([p, q, np.full(h * w, source), place.reshape(-1)])
    end = np.concatenate([q, p, place.reshape(-1), np.full(h * w, sink)])
    capacity = np.concatenate([inner, inner, np.round(from_source), np.round(into_sink)]).astype(np.int32)
    graph = csr_matrix((capacity, (begin, end)), shape=(h * w + 2,) * 2)
    left = graph - maximum_flow(graph, source, sink).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    reached = breadth_first_order(left, source, return_predecessors=False)
    mask = np.zeros(h * w + 2, bool)
    mask[reached] = True
    return mask[: h * w].reshape(h, w)
