"""Deformable part models: a root filter, and parts that may move from their places at a price.

The score of a root at p is `R(p) + sum_i max_d (P_i(p + v_i + d) - a_i |d|^2 - b_i . d)`: each part i is looked for
around its anchor v_i, and the best placement of every part at every root comes from one distance transform of its map.

Reference: Felzenszwalb et al. 2010, "Object Detection with Discriminatively Trained Part-Based Models", section 3.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Part(NamedTuple):
    """A part of a model.

    Attributes:
        weights: its filter, float [h, w, c].
        anchor: (rows, columns) from the root's corner to its own.
        quadratic: price of a squared move, above 0, in rows and columns.
        linear: price of a move down and to the right, likewise.
    """

    weights: Any
    anchor: tuple[int, int]
    quadratic: tuple[float, float] = (0.1, 0.1)
    linear: tuple[float, float] = (0.0, 0.0)


class Found(NamedTuple):
    """What a model says of a map.

    Attributes:
        scores: of a root at each place, float64 [rows, columns]; -inf where a part has no place.
        root: the part of the score that is the root's, [rows, columns].
        places: where each part stands for a root at each place, its corner, int64 [parts, rows, columns, 2].
    """

    scores: np.ndarray
    root: np.ndarray
    places: np.ndarray


def response(features: Any, weights: Any) -> np.ndarray:
    """The dot product of a filter with every window of a map: features [h, w, c], weights [m, n, c] -> [h', w']."""
    features, weights = np.asarray(features, np.float64), np.asarray(weights, np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(features, weights.shape[:2], (0, 1))  # [h', w', c, m, n]
    return np.einsum("yxcmn,mnc->yx", windows, weights)


def lower_envelope(f: Any, quadratic: float, linear: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """The distance transform of a line, `D(p) = min_q f(q) + a (q - p)^2 + b (q - p)`, in linear time.

    It is the lower envelope of parabolas of one shape, one for each q: those that are the lowest somewhere are kept in
    order, with the places from which on they are.

    Args:
        f: float [n]; inf where q is not allowed.
        quadratic: a, above 0.
        linear: b.

    Returns:
        (D float64 [n], the q of each minimum int64 [n]); D inf and q 0 where no q is allowed.

    Raises:
        ValueError: if a is not above 0.

    Reference: Felzenszwalb and Huttenlocher 2012, "Distance Transforms of Sampled Functions", algorithm DT(f).
    """
    f = np.asarray(f, np.float64)
    if not quadratic > 0:
        raise ValueError(f"the price of a squared move must be above 0, got {quadratic}")
    kept: list[int] = []
    since: list[float] = []  # each is the lowest from here on
    for q in np.flatnonzero(np.isfinite(f)).tolist():
        start = -np.inf
        while kept:
            r = kept[-1]
            # where the parabola of q meets that of r, which is further to the left
            start = (f[q] - f[r] + quadratic * (q * q - r * r) + linear * (q - r)) / (2 * quadratic * (q - r))
            if start > since[-1]:
                break
            kept.pop()
            since.pop()
            start = -np.inf
        kept.append(q)
        since.append(start)
    p = np.arange(len(f))
    if not kept:
        return np.full(len(f), np.inf), np.zeros(len(f), np.int64)
    q = np.asarray(kept)[np.searchsorted(since, p, side="right") - 1]
    return f[q] + quadratic * (q - p) ** 2 + linear * (q - p), q


def distance_transform(
    f: Any, quadratic: tuple[float, float], linear: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """The distance transform of a map, one axis after the other.

    Args:
        f: float [h, w]; inf where a place is not allowed.
        quadratic: of rows and columns, see `lower_envelope`.
        linear: likewise.

    Returns:
        (D float64 [h, w], the place (row, column) of each minimum, int64 [h, w, 2]).
    """
    f = np.asarray(f, np.float64)
    lines = [lower_envelope(row, quadratic[1], linear[1]) for row in f]
    across, columns = (np.stack(x) for x in zip(*lines, strict=True))
    lines = [lower_envelope(column, quadratic[0], linear[0]) for column in across.T]
    down, rows = (np.stack(x, 1) for x in zip(*lines, strict=True))
    return down, np.stack([rows, np.take_along_axis(columns, rows, 0)], -1)


def detect(features: Any, root: Any, parts: Sequence[Part] = ()) -> Found:
    """Scores of a model at every place of one map of features, such as `ops.images.hog`.

    The map of the parts is that of the root here; the paper's parts look at cells of half the size.

    Args:
        features: float [h, w, c].
        root: its filter, float [m, n, c].
        parts: of the model.
    """
    base = response(features, root)
    scores, shape, places = base.copy(), base.shape, []
    for part in parts:
        price = -response(features, part.weights)
        # An anchor may lie beyond the map: the part itself may not.
        room = [(max(0, -a), max(0, n + a - m)) for n, a, m in zip(shape, part.anchor, price.shape, strict=True)]
        costs, where = distance_transform(np.pad(price, room, constant_values=np.inf), part.quadratic, part.linear)
        y, x = (np.arange(n) + a + before for n, a, (before, _) in zip(shape, part.anchor, room, strict=True))
        scores -= costs[y[:, None], x[None]]
        places.append(where[y[:, None], x[None]] - np.array([before for before, _ in room]))
    return Found(scores, base, np.asarray(places, np.int64).reshape(len(parts), *shape, 2))
