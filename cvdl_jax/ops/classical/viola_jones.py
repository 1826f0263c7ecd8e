"""The face detector of Viola and Jones: Haar features of an integral image, AdaBoost, a cascade of its classifiers.

NumPy on the host. A feature is a sum of pixels under rectangles, with weights of both signs, and needs at most nine
numbers of the integral image, however large its rectangles. A stage of the cascade is a weighted vote of thresholds on
features; a window that a stage refuses is never looked at again.

Reference: Viola and Jones 2004, "Robust Real-Time Face Detection".
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical.smoothing import grey

CORNERS = 9  # of the largest feature, four rectangles
FLAT = 1.0 / 255  # the least deviation that pixels of a window, in 0..1, are divided by
# Signs of the rectangles of a feature, rows by columns: two side by side, two on top, three, three on top, four.
KINDS = (((1, -1),), ((1,), (-1,)), ((1, -2, 1),), ((1,), (-2,), (1,)), ((1, -1), (-1, 1)))


def integral(x: np.ndarray) -> np.ndarray:
    """The sum of all pixels above and to the left: float64 [b, h + 1, w + 1] of [b, h, w], zeros first."""
    sums = np.cumsum(np.cumsum(np.asarray(x, np.float64), 1), 2)
    return np.pad(sums, ((0, 0), (1, 0), (1, 0)))


def rectangle(table: np.ndarray, y: int, x: int, h: int, w: int) -> np.ndarray:
    """Sums [b] of the pixels of a rectangle, from four numbers of an integral image [b, h + 1, w + 1]."""
    return table[:, y + h, x + w] - table[:, y, x + w] - table[:, y + h, x] + table[:, y, x]


class Haar(NamedTuple):
    """Features of a window, each a weighted sum of numbers of its integral image.

    Attributes:
        corners: int [m, 9, 2], rows and columns of these numbers; where a feature has fewer, (0, 0) of weight 0.
        weights: float64 [m, 9].
    """

    corners: np.ndarray
    weights: np.ndarray


def haar_features(window: int, step: int = 2, least: int = 2) -> Haar:
    """All features of the five kinds whose rectangles are at least `least` pixels wide and high.

    Args:
        window: side of a window in pixels.
        step: pixels between places, and between widths and heights of a rectangle; 1 for all there are.
        least: side of the smallest rectangle.
    """
    corners, weights = [], []
    for kind in KINDS:
        signs = np.asarray(kind, np.float64)
        rows, columns = signs.shape
        padded = np.pad(signs, 1)
        # The rectangle below and to the right of a corner adds, beside it subtracts: a difference along both axes.
        at = padded[:-1, :-1] - padded[:-1, 1:] - padded[1:, :-1] + padded[1:, 1:]  # [rows + 1, columns + 1]
        grid = np.stack(np.mgrid[: rows + 1, : columns + 1], -1).reshape(-1, 2)
        for h in range(least, window // rows + 1, step):
            for w in range(least, window // columns + 1, step):
                for y in range(0, window - rows * h + 1, step):
                    for x in range(0, window - columns * w + 1, step):
                        where = np.zeros((CORNERS, 2), np.int64)
                        where[: len(grid)] = grid * [h, w] + [y, x]
                        corners.append(where)
                        weights.append(np.pad(at.ravel(), (0, CORNERS - at.size)))
    if not corners:
        raise DataError(f"a window of {window} pixels has no feature of rectangles of {least}; use a larger window")
    return Haar(np.stack(corners), np.stack(weights))


def normalised(windows: np.ndarray) -> np.ndarray:
    """Windows [n, s, s] in 0..1 with mean 0 and deviation 1; flat ones are divided by a grey level."""
    mean = windows.mean((1, 2), keepdims=True)
    return (windows - mean) / np.maximum(windows.std((1, 2), keepdims=True), FLAT)


def responses(features: Haar, windows: np.ndarray) -> np.ndarray:
    """Values [n, m] of all features of windows [n, s, s], which are normalised first."""
    table = integral(normalised(windows))
    side = table.shape[1]
    places = features.corners[..., 0] * side + features.corners[..., 1]  # [m, 9]
    matrix = np.zeros((side * side, len(places)))
    np.add.at(matrix, (places, np.arange(len(places))[:, None]), features.weights)
    return table.reshape(len(table), -1) @ matrix


class Stumps(NamedTuple):
    """A strong classifier: weighted votes of stumps, `sum_t alpha_t [polarity_t value > polarity_t threshold_t]`.

    Attributes:
        feature: int [t].
        threshold: float64 [t].
        polarity: [t], 1 or -1.
        alpha: float64 [t].
        cut: votes from which a window is a face; half of all alpha after boosting.
    """

    feature: np.ndarray
    threshold: np.ndarray
    polarity: np.ndarray
    alpha: np.ndarray
    cut: float


def best_stump(values: np.ndarray, order: np.ndarray, label: np.ndarray, weight: np.ndarray) -> tuple:
    """The threshold of the least weighted error, over all features.

    With S+ and S- the weights of positives and negatives up to a place of the sorted values, T+ and T- of all, calling
    what is above a face errs by S+ + T- - S-, what is below by S- + T+ - S+.

    Args:
        values: [n, m].
        order: argsort of every column.
        label: bool [n].
        weight: [n], of sum 1.

    Returns:
        (feature, threshold, polarity, error).
    """
    signed = np.where(label, weight, -weight)[order]  # [n, m]
    rise = np.concatenate([np.zeros((1, order.shape[1])), np.cumsum(signed, 0)])  # S+ - S-, [n + 1, m]
    above, below = rise + weight[~label].sum(), weight[label].sum() - rise
    ordered = np.take_along_axis(values, order, 0)
    tied = np.zeros(rise.shape, bool)
    tied[1:-1] = ordered[1:] <= ordered[:-1]  # no threshold lies between equal values
    errors = np.where(tied, np.inf, np.minimum(above, below))
    place, feature = np.unravel_index(errors.argmin(), errors.shape)
    column = ordered[:, feature]
    ends = column[0] - 1, column[-1] + 1
    threshold = (column[place - 1] + column[place]) / 2 if 0 < place < len(column) else ends[int(place > 0)]
    polarity = 1 if above[place, feature] <= below[place, feature] else -1
    return int(feature), float(threshold), polarity, float(max(errors[place, feature], 0))


def votes(stumps: Stumps, values: np.ndarray) -> np.ndarray:
    """Weighted votes [n] of values [n, m] of all features."""
    return _votes(values[:, stumps.feature], stumps)


def _votes(values: np.ndarray, stumps: Stumps) -> np.ndarray:
    """Votes [n] of values [n, t] of the stumps' own features, added stump by stump.

    A cut is the votes of some held-out face. The product of a matrix rounds as its number of rows makes it, and faces
    with exactly these votes would pass in one company and not in another.
    """
    chosen = values * stumps.polarity[None] > (stumps.threshold * stumps.polarity)[None]
    total = np.zeros(len(values))
    for column, alpha in zip(chosen.T, stumps.alpha, strict=True):
        total = total + column * alpha
    return total


def boost(values: np.ndarray, label: np.ndarray, enough: Callable[[Stumps], Stumps | None], most: int) -> Stumps:
    """AdaBoost: stump after stump on reweighted examples, until there are enough.

    A stump of error e gets `alpha = log((1 - e) / e)`; the weights of what it got right are multiplied by e / (1 - e).
    Weights begin so that both classes have half.

    Args:
        values: [n, m].
        label: bool [n], both values occur.
        enough: () of the classifier so far -> the classifier to end with, or None to go on.
        most: stumps at most.

    Returns:
        The classifier.

    Reference: table 1.
    """
    if label.all() or not label.any():
        raise DataError("AdaBoost needs examples of both classes; there are none of one")
    order = np.argsort(values, 0, kind="stable")
    weight = np.where(label, 0.5 / label.sum(), 0.5 / (~label).sum())
    rows: list[tuple] = []
    for _ in range(most):
        weight = weight / weight.sum()
        feature, threshold, polarity, error = best_stump(values, order, label, weight)
        error = max(error, 1e-10)  # a stump without error would have all votes
        rows.append((feature, threshold, polarity, np.log((1 - error) / error)))
        right = (values[:, feature] * polarity > threshold * polarity) == label
        weight = weight * np.where(right, error / (1 - error), 1)
        columns = [np.asarray(column) for column in zip(*rows, strict=True)]
        stumps = Stumps(*columns, cut=float(columns[3].sum() / 2))
        done = enough(stumps)
        if done is not None:
            return done
    return stumps


class Rates(NamedTuple):
    """What a stage lets through by itself, of held-out faces and other windows that the stages before it passed."""

    stumps: int
    detection: float
    false_positive: float


def train_cascade(
    features: Haar,
    faces: tuple[np.ndarray, np.ndarray],
    others: tuple[np.ndarray, np.ndarray],
    stages: int = 6,
    detection: float = 0.99,
    false_positive: float = 0.4,
    most: int = 30,
    limit: int = 2000,
) -> tuple[list[Stumps], list[Rates]]:
    """Trains stage after stage, each on the windows that those before it took for faces.

    A stage gets stumps until, with its cut lowered so that it keeps `detection` of the held-out faces, it passes no
    more than `false_positive` of the held-out others. Training ends early where fewer than two others are left in
    either set.

    Args:
        features: to choose from.
        faces: windows [n, s, s] to train on, and held-out ones.
        others: likewise, windows without a face.
        stages: at most.
        detection: of a stage; that of the cascade is the product.
        false_positive: likewise.
        most: stumps of a stage.
        limit: others that a stage is trained on.

    Returns:
        The stages, and the rates of each.

    Reference: table 2.
    """
    faces, others = list(faces), list(others)
    cascade: list[Stumps] = []
    rates: list[Rates] = []
    while len(cascade) < stages and min(map(len, others)) > 1:
        values = responses(features, np.concatenate([faces[0], others[0][:limit]]))
        held = [responses(features, x) for x in (faces[1], others[1])]

        def lowered(stumps: Stumps, held: list = held) -> Stumps | None:
            cut = float(np.quantile(votes(stumps, held[0]), 1 - detection, method="lower"))
            kept = stumps._replace(cut=min(cut, stumps.cut))
            good = (votes(stumps, held[1]) >= kept.cut).mean() <= false_positive
            return kept if good or len(stumps.alpha) == most else None

        stage = boost(values, np.arange(len(values)) < len(faces[0]), lowered, most)
        seen, passed = (votes(stage, v) >= stage.cut for v in held)
        cascade.append(stage)
        rates.append(Rates(len(stage.alpha), float(seen.mean()), float(passed.mean())))
        others = [x[passes(features, stage, x)] for x in others]
        faces = [x[passes(features, stage, x)] for x in faces]
        if not all(map(len, faces)):
            raise DataError("a stage keeps no face; raise the rate of detection of a stage, or give it more stumps")
    return cascade, rates


def passes(features: Haar, stage: Stumps, windows: np.ndarray) -> np.ndarray:
    """Whether windows [n, s, s] pass a stage, of whose features alone values are computed: bool [n]."""
    own = Haar(features.corners[stage.feature], features.weights[stage.feature])
    own_stage = stage._replace(feature=np.arange(len(stage.alpha)))
    parts = [windows[i : i + 4096] for i in range(0, len(windows), 4096)]
    return np.concatenate(
        [votes(own_stage, responses(own, part)) >= stage.cut for part in parts] or [np.zeros(0, bool)]
    )


def classify(features: Haar, cascade: list[Stumps], windows: np.ndarray) -> np.ndarray:
    """Whether windows [n, s, s] pass all stages: bool [n]."""
    return np.logical_and.reduce(
        [np.ones(len(windows), bool), *(passes(features, stage, windows) for stage in cascade)]
    )


def scan(
    features: Haar, cascade: list[Stumps], image: np.ndarray, window: int, step: int = 2
) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """All windows of an image that pass the cascade; those that a stage refused are not looked at by the next one.

    The deviation of a window, by which its features are divided, comes from the integral of squares.

    Args:
        features: of the cascade.
        cascade: its stages.
        image: float [h, w] in 0..1.
        window: side in pixels.
        step: pixels between windows.

    Returns:
        Corners int [k, 2] (row, column) of windows that pass; by how much, the votes of the last stage [k] beyond its
        cut; the numbers of windows that each stage looked at.

    Raises:
        DataError: for what is no such image.
    """
    image = grey(image, "viola_jones")
    h, w = image.shape
    rows, columns = np.arange(0, h - window + 1, step), np.arange(0, w - window + 1, step)
    corners = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    tables = integral(np.stack([image, np.square(image)]))
    y, x = corners.T
    area = window * window
    total, squares = (t[y + window, x + window] - t[y, x + window] - t[y + window, x] + t[y, x] for t in tables)
    mean = total / area
    deviation = np.maximum(np.sqrt(np.maximum(squares / area - mean**2, 0)), FLAT)
    margin, looked = np.zeros(len(corners)), []
    for stage in cascade:
        looked.append(len(corners))
        at = features.corners[stage.feature]  # [t, 9, 2]
        sums = tables[0][corners[:, None, None, 0] + at[None, ..., 0], corners[:, None, None, 1] + at[None, ..., 1]]
        areas = at[..., 0] * at[..., 1]  # the integral of an image of ones
        weights = features.weights[stage.feature]
        values = (sums * weights[None]).sum(-1) - mean[:, None] * (areas * weights).sum(-1)[None]
        margin = _votes(values / deviation[:, None], stage) - stage.cut
        kept = margin >= 0
        corners, mean, deviation, margin = corners[kept], mean[kept], deviation[kept], margin[kept]
    return corners, margin, looked


def detect(
    features: Haar,
    cascade: list[Stumps],
    image: np.ndarray,
    window: int,
    scale: float = 1.25,
    step: int = 2,
    overlap: float = 0.3,
    least: int = 2,
) -> tuple[np.ndarray, np.ndarray]:
    """Faces of an image: windows of all scales, those that overlap merged into their mean.

    The image is made smaller step by step, where the paper makes the features larger.

    Args:
        features: of the cascade.
        cascade: its stages.
        image: float [h, w] in 0..1.
        window: side of the smallest face in pixels.
        scale: from one size to the next.
        step: pixels between windows, of the smaller image.
        overlap: intersection over union from which two windows are of one face.
        least: windows of a face; what fewer vote for is none.

    Returns:
        Boxes float64 [k, 4] (top, left, bottom, right in pixels), and how many windows voted for each [k], the most
        first.

    Raises:
        DataError: for what is no such image.
        ValueError: for sizes that do not grow.
    """
    from PIL import Image

    if not scale > 1:
        raise ValueError(f"scale={scale} must be above 1; 1.25 is a quarter more from size to size")
    image = grey(image, "viola_jones")
    h, w = image.shape
    boxes, factor = [], 1.0
    while min(h, w) / factor >= window:
        size = round(h / factor), round(w / factor)
        small = Image.fromarray(np.asarray(image, np.float32)).resize(size[::-1], Image.Resampling.BOX)
        corners, _, _ = scan(features, cascade, np.asarray(small, np.float64), window, step)
        ratio = np.asarray([h / size[0], w / size[1]])
        boxes.append(np.concatenate([corners * ratio, (corners + window) * ratio], 1))
        factor *= scale
    return merged(np.concatenate(boxes) if boxes else np.zeros((0, 4)), overlap, least)


def merged(boxes: np.ndarray, overlap: float, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of the groups of boxes that overlap, directly or through others, and the boxes of each.

    Reference: section 5.6, where the corners of a group are averaged.
    """
    top, bottom = (f(boxes[:, None], boxes[None]) for f in (np.maximum, np.minimum))
    sides = np.maximum(bottom[..., 2:] - top[..., :2], 0)
    shared, area = sides.prod(-1), (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    near = shared >= overlap * (area[:, None] + area[None] - shared)
    group = np.arange(len(boxes))
    while len(boxes):
        new = np.where(near, group[None], len(boxes)).min(1)
        if (new == group).all():
            break
        group = new
    names, counts = np.unique(group, return_counts=True)
    kept = names[counts >= least]
    means = np.asarray([boxes[group == name].mean(0) for name in kept]).reshape(-1, 4)
    order = np.argsort(-counts[counts >= least], kind="stable")
    return means[order], counts[counts >= least][order]
