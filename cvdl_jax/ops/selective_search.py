"""Selective search: regions of an image that may be objects, from a segmentation whose parts are merged step by step.

Everything is on the host, in NumPy, and a function of the image and the seed alone.

Reference: Uijlings et al. 2013, "Selective Search for Object Recognition"; Felzenszwalb and Huttenlocher 2004,
    "Efficient Graph-Based Image Segmentation".
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter

from cvdl_jax.config.binding import Counted, NotNegative, Positive, Size

BINS, ORIENTATIONS = 25, 8  # of a channel's histogram of colours; of gradients
VERSION = 2  # to be raised when the boxes of an image change, by a default too: cached ones belong to it
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))  # each pair of touching pixels once


def selective_search(
    image: np.ndarray,
    count: Size = 200,
    scales: tuple[Positive, ...] = (50.0, 150.0),
    sigma: NotNegative = 0.8,
    smallest: Size = 20,
    side: Size = 128,
    seed: Counted = 0,
) -> np.ndarray:
    """The boxes of all regions that exist while the parts of segmentations are merged, the likeliest first.

    The rank of a region is its place in its hierarchy, counted from the whole image, times a random number, so that the
    list is no list of the largest.

    Args:
        image: uint8, or float in 0..1, [h, w, c].
        count: largest number of boxes.
        scales: a hierarchy is made from the segmentation at each of them; see `segment`.
        sigma: of the Gaussian that smooths the image first, in pixels.
        smallest: least number of pixels of a part.
        side: a larger image is reduced by a whole factor until its longer side has at most so many pixels.
        seed: of the ranks.

    Returns:
        float32 [n, 4], n <= count, [ymin, xmin, ymax, xmax] in 0..1, without repetition.
    """
    unit = 255.0 if np.issubdtype(image.dtype, np.floating) else 1.0
    (h, w), factor = image.shape[:2], -(-max(image.shape[:2]) // side)
    pixels = reduced(np.asarray(image, np.float64) * unit, factor)
    smooth = gaussian_filter(pixels, (sigma, sigma, 0)) if sigma else pixels
    rng, boxes, ranks = np.random.default_rng(seed), [], []
    for scale in scales:
        hierarchy = grouped(segment(smooth, scale, smallest), pixels)
        boxes.append(hierarchy)
        ranks.append(np.arange(len(hierarchy), 0, -1) * rng.random(len(hierarchy)))
    ordered = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    _, first = np.unique(ordered, axis=0, return_index=True)
    best = ordered[np.sort(first)][:count]
    whole = np.asarray([h, w, h, w])
    return (np.minimum(best * factor, whole) / whole).astype(np.float32)  # squares at the lower right may be smaller


def reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares of `factor` x `factor` pixels of [h, w, c]; those at the lower right may be smaller."""
    for axis in (0, 1):
        n = image.shape[axis]
        starts = np.arange(0, n, factor)
        lengths = np.diff([*starts, n]).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        image = np.add.reduceat(image, starts, axis) / lengths
    return image


def segment(image: np.ndarray, scale: float, smallest: int) -> np.ndarray:
    """Parts of an image: touching pixels are joined by rising difference of their colours.

    Two parts are joined if the difference at their border is at most `largest difference inside + scale / pixels` of
    each. Parts below `smallest` pixels are then joined to a neighbour.

    Args:
        image: float [h, w, c], of pixels 0..255.
        scale: k of the paper; larger makes larger parts.
        smallest: least number of pixels of a part.

    Returns:
        int [h, w], 0 ... number of parts - 1.

    Reference: Felzenszwalb and Huttenlocher 2004, algorithm 1 and equation 4.
    """
    h, w = image.shape[:2]
    index = np.arange(h * w).reshape(h, w)
    ends, weights = [], []
    for dy, dx in NEIGHBOURS:
        here = np.s_[: h - dy, max(-dx, 0) : w - max(dx, 0)]
        there = np.s_[dy:, max(dx, 0) : w - max(-dx, 0)]
        weights.append(np.sqrt(np.square(image[here] - image[there]).sum(-1)).ravel())
        ends.append(np.stack([index[here].ravel(), index[there].ravel()]))
    weight, both = np.concatenate(weights), np.concatenate(ends, 1)
    order = np.argsort(weight, kind="stable")
    edges = list(zip(*both[:, order].tolist(), weight[order].tolist(), strict=True))
    parent, size, limit = list(range(h * w)), [1] * (h * w), [float(scale)] * (h * w)

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    def join(a: int, b: int) -> int:
        a, b = (a, b) if size[a] >= size[b] else (b, a)
        parent[b] = a
        size[a] += size[b]
        return a

    for a, b, difference in edges:
        a, b = root(a), root(b)
        if a != b and difference <= limit[a] and difference <= limit[b]:
            a = join(a, b)
            limit[a] = difference + scale / size[a]
    for a, b, _ in edges:
        a, b = root(a), root(b)
        if a != b and min(size[a], size[b]) < smallest:
            join(a, b)
    roots = [root(i) for i in range(h * w)]
    return np.unique(roots, return_inverse=True)[1].reshape(h, w)


def grouped(parts: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The boxes of parts, and of what becomes of them where the two most similar neighbours are merged again and again.

    Args:
        parts: int [h, w], of `segment`.
        image: float [h, w, c], of pixels 0..255.

    Returns:
        int [2 n - 1, 4] for n connected parts, [ymin, xmin, ymax, xmax] in pixels, in the order of their making.

    Reference: Uijlings et al. 2013, algorithm 1 and equations 1 to 6.
    """
    n, whole = int(parts.max()) + 1, parts.size
    size = np.bincount(parts.ravel(), minlength=n).astype(np.float64).tolist()
    colour, texture = list(colours(parts, image, n)), list(textures(parts, image, n))
    boxes = list(boxes_of(parts, n))
    near = neighbours(parts, n)

    def similarity(a: int, b: int) -> float:
        around = np.concatenate([np.minimum(boxes[a], boxes[b])[:2], np.maximum(boxes[a], boxes[b])[2:]])
        empty = float((around[2] - around[0]) * (around[3] - around[1])) - size[a] - size[b]
        alike = np.minimum(colour[a], colour[b]).sum() + np.minimum(texture[a], texture[b]).sum()
        return float(alike) + (1 - (size[a] + size[b]) / whole) + (1 - empty / whole)

    pairs = {(a, b): similarity(a, b) for a in range(n) for b in near[a] if a < b}
    while pairs:
        a, b = max(pairs, key=pairs.__getitem__)  # the first of equals
        new, share = len(boxes), size[a] / (size[a] + size[b])
        boxes.append(np.concatenate([np.minimum(boxes[a], boxes[b])[:2], np.maximum(boxes[a], boxes[b])[2:]]))
        size.append(size[a] + size[b])
        for features in (colour, texture):
            features.append(share * features[a] + (1 - share) * features[b])
        near.append((near[a] | near[b]) - {a, b})
        for one in (a, b):
            for other in near[one]:
                pairs.pop((min(one, other), max(one, other)), None)
                near[other].discard(one)
        for other in sorted(near[new]):
            near[other].add(new)
            pairs[other, new] = similarity(other, new)
    return np.stack(boxes)


def boxes_of(parts: np.ndarray, n: int) -> np.ndarray:
    """The box of each part in pixels, int [n, 4]."""
    y, x = np.indices(parts.shape)
    low, high = np.full((n, 2), max(parts.shape)), np.zeros((n, 2), int)
    for axis, place in enumerate((y, x)):
        np.minimum.at(low[:, axis], parts.ravel(), place.ravel())
        np.maximum.at(high[:, axis], parts.ravel(), place.ravel() + 1)
    return np.concatenate([low, high], 1)


def neighbours(parts: np.ndarray, n: int) -> list[set[int]]:
    """The parts that touch each part on a side."""
    sides = [(parts[:-1], parts[1:]), (parts[:, :-1], parts[:, 1:])]
    touching = np.concatenate([np.stack([a[a != b], b[a != b]], 1) for a, b in sides])
    near: list[set[int]] = [set() for _ in range(n)]
    for a, b in np.unique(touching, axis=0).tolist():
        near[a].add(b)
        near[b].add(a)
    return near


def colours(parts: np.ndarray, image: np.ndarray, n: int) -> np.ndarray:
    """Histograms of the colours of each part, [n, c BINS], each of sum 1."""
    level = np.clip(image * BINS / 256, 0, BINS - 1).astype(int)
    return _histograms(parts, [level[..., c] for c in range(image.shape[-1])], None, BINS, n)


def textures(parts: np.ndarray, image: np.ndarray, n: int) -> np.ndarray:
    """Histograms of the directions of gradients of each part, weighted by their length, [n, c ORIENTATIONS], sum 1."""
    dy, dx = np.gradient(image, axis=(0, 1)) if min(image.shape[:2]) > 1 else (image * 0, image * 0)
    turn = ((np.arctan2(dy, dx) / (2 * np.pi) + 1) * ORIENTATIONS).astype(int) % ORIENTATIONS
    channels = range(image.shape[-1])
    length = [np.hypot(dy, dx)[..., c] + 1e-6 for c in channels]  # a flat part has all directions of its rounding
    return _histograms(parts, [turn[..., c] for c in channels], length, ORIENTATIONS, n)


def _histograms(
    parts: np.ndarray, bins: Sequence[np.ndarray], weights: Sequence[np.ndarray] | None, count: int, n: int
) -> np.ndarray:
    """Histograms [n, channels count] of whole numbers below `count`, of each channel and part, each of sum 1."""
    columns = []
    for c, one in enumerate(bins):
        weight = None if weights is None else weights[c].ravel()
        place = (parts * count + one).ravel()
        columns.append(np.bincount(place, weight, minlength=n * count).reshape(n, count))
    joint = np.concatenate(columns, 1).astype(np.float64)
    return joint / joint.sum(1, keepdims=True)
