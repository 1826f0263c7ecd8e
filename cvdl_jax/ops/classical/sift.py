"""SIFT: points of a scale space that are found again in other views, described by gradients around them.

NumPy on the host, one grey image at a time. A point is an extremum of differences of Gaussians over place and scale;
its descriptor is a histogram of gradient orientations in 4 x 4 cells, turned and scaled as the point is.

Reference: Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints".
"""

import math
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical.smoothing import central, gaussian, grey

SIGMA, SEEN = 1.6, 0.5  # smoothing of the first image of an octave; what an image has as it comes
CELLS, BINS = 4, 8  # of a descriptor
CELL = 3.0  # side of a cell in units of the scale of the point
HISTOGRAM = 36  # orientations among which the main ones are looked for
CLIP = 0.2


class Keypoints(NamedTuple):
    """Points of an image, n in all.

    Attributes:
        place: float64 [n, 2], row and column in pixels; the centre of the first pixel is (0, 0).
        scale: float64 [n], sigma in pixels.
        angle: float64 [n], of the main gradient in radians, from the columns' axis towards the rows'.
        descriptor: float64 [n, 128] of length 1.
    """

    place: np.ndarray
    scale: np.ndarray
    angle: np.ndarray
    descriptor: np.ndarray


def scale_space(image: np.ndarray, scales: int = 3, least: int = 12) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Gaussians and their differences, octave by octave; the image is enlarged twofold first.

    Args:
        image: float [h, w] in 0..1.
        scales: images of an octave, each smoother by 2^(1 / scales).
        least: the shorter side of the smallest octave.

    Returns:
        Gaussians [scales + 3, h, w] of octave o, of sigma `1.6 2^(i / scales)` in its pixels, which are 2^(o - 1) of
        the image's; differences [scales + 2, h, w].
    """
    first = gaussian(doubled(image), math.sqrt(SIGMA**2 - (2 * SEEN) ** 2))
    stack, octaves, differences = first, [], []
    while min(stack.shape) >= least or not octaves:
        layers = [stack]
        for i in range(1, scales + 3):
            before, now = (SIGMA * 2 ** (j / scales) for j in (i - 1, i))
            layers.append(gaussian(layers[-1], math.sqrt(now**2 - before**2)))
        octave = np.stack(layers)
        octaves.append(octave)
        differences.append(octave[1:] - octave[:-1])
        stack = octave[scales][::2, ::2]
    return octaves, differences


def doubled(image: np.ndarray) -> np.ndarray:
    """The image at every half pixel, by linear interpolation: [2 h, 2 w], pixel (2 i, 2 j) that of (i, j)."""
    x = np.asarray(image, np.float64)
    for axis in (0, 1):
        after = np.concatenate([np.take(x, range(1, x.shape[axis]), axis), np.take(x, [-1], axis)], axis)
        x = np.stack([x, (x + after) / 2], axis + 1).reshape(
            *(2 * n if i == axis else n for i, n in enumerate(x.shape))
        )
    return x


def extrema(d: np.ndarray, threshold: float) -> np.ndarray:
    """Places int [n, 3] (scale, row, column) of differences [s, h, w] above all 26 neighbours, or below all.

    Of equal neighbours the first is the extremum: a blob whose middle is between pixels has several.

    Args:
        d: differences of Gaussians.
        threshold: those of smaller magnitude are left out.
    """
    inner = d[1:-1, 1:-1, 1:-1]
    around = [
        d[1 + i : d.shape[0] - 1 + i, 1 + j : d.shape[1] - 1 + j, 1 + k : d.shape[2] - 1 + k]
        for i in (-1, 0, 1) for j in (-1, 0, 1) for k in (-1, 0, 1)
    ]  # fmt: skip
    before, after = around[:13], around[14:]
    high = np.logical_and.reduce([inner > x for x in before] + [inner >= x for x in after])
    low = np.logical_and.reduce([inner < x for x in before] + [inner <= x for x in after])
    return np.argwhere((high | low) & (abs(inner) >= threshold)) + 1


def derivatives(d: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient [3] and Hessian [3, 3] of a stack at a place (scale, row, column), by central differences."""
    s, y, x = at
    cube = d[s - 1 : s + 2, y - 1 : y + 2, x - 1 : x + 2]
    slope = (
        np.asarray([cube[2, 1, 1] - cube[0, 1, 1], cube[1, 2, 1] - cube[1, 0, 1], cube[1, 1, 2] - cube[1, 1, 0]]) / 2
    )
    middle = cube[1, 1, 1]
    ss, yy, xx = (
        cube[2, 1, 1] + cube[0, 1, 1] - 2 * middle,
        cube[1, 2, 1] + cube[1, 0, 1] - 2 * middle,
        cube[1, 1, 2] + cube[1, 1, 0] - 2 * middle,
    )
    sy = (cube[2, 2, 1] - cube[2, 0, 1] - cube[0, 2, 1] + cube[0, 0, 1]) / 4
    sx = (cube[2, 1, 2] - cube[2, 1, 0] - cube[0, 1, 2] + cube[0, 1, 0]) / 4
    yx = (cube[1, 2, 2] - cube[1, 2, 0] - cube[1, 0, 2] + cube[1, 0, 0]) / 4
    return slope, np.asarray([[ss, sy, sx], [sy, yy, yx], [sx, yx, xx]])


def refined(d: np.ndarray, at: np.ndarray, contrast: float, edge: float) -> np.ndarray | None:
    """The extremum of the quadratic through a place and its neighbours, `-H^-1 g` away; None if it is rejected.

    Where that is more than half a step away, the next place takes over. Rejected are points that wander off, of
    `|D + g x / 2| < contrast`, and on edges, `tr(H)^2 / det(H) >= (edge + 1)^2 / edge` of the Hessian of rows and
    columns.

    Returns:
        float64 [3], scale, row and column.

    Reference: section 4, equations 2 to 4.
    """
    at = np.array(at)
    for _ in range(5):
        slope, hessian = derivatives(d, at)
        if np.linalg.matrix_rank(hessian) < 3:
            return None
        away = -np.linalg.solve(hessian, slope)
        if (abs(away) <= 0.5).all():
            value = d[tuple(at)] + slope @ away / 2
            trace, det = hessian[1, 1] + hessian[2, 2], hessian[1, 1] * hessian[2, 2] - hessian[1, 2] ** 2
            straight = det <= 0 or trace**2 * edge >= (edge + 1) ** 2 * det
            return None if abs(value) < contrast or straight else at + away
        at = at + np.clip(np.rint(away), -1, 1).astype(int)
        if (at < 1).any() or (at >= np.asarray(d.shape) - 1).any():
            return None
    return None


def orientations(dy: np.ndarray, dx: np.ndarray, y: float, x: float, sigma: float) -> list[float]:
    """Angles of the main gradients around a point: the highest peak of a histogram, and those of 80 % of it.

    Gradients within 4.5 sigma vote with their length and a Gaussian of 1.5 sigma; the histogram is smoothed by
    (1, 4, 6, 4, 1) / 16, a peak is where the parabola through three bins has its top.

    Reference: section 5.
    """
    radius = round(4.5 * sigma)
    rows, columns = (slice(max(round(c) - radius, 0), round(c) + radius + 1) for c in (y, x))
    v, u = np.mgrid[rows, columns][:, : dy[rows, columns].shape[0], : dy[rows, columns].shape[1]]
    gy, gx = dy[rows, columns], dx[rows, columns]
    weight = np.hypot(gy, gx) * np.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * (1.5 * sigma) ** 2))
    place = np.rint(np.arctan2(gy, gx) / (2 * math.pi) * HISTOGRAM).astype(int) % HISTOGRAM
    votes = np.bincount(place.ravel(), weight.ravel(), HISTOGRAM)
    votes = sum(w * np.roll(votes, k) for k, w in zip((-2, -1, 0, 1, 2), np.asarray([1, 4, 6, 4, 1]) / 16, strict=True))
    before, after = np.roll(votes, 1), np.roll(votes, -1)
    peaks = np.flatnonzero((votes > before) & (votes >= after) & (votes >= 0.8 * votes.max()))
    top = [b + (before[b] - after[b]) / (2 * (before[b] - 2 * votes[b] + after[b])) for b in peaks]
    return [2 * math.pi * t / HISTOGRAM for t in top]


def describe(dy: np.ndarray, dx: np.ndarray, y: float, x: float, sigma: float, angle: float) -> np.ndarray:
    """The descriptor [128] of a point: gradients in 4 x 4 cells of 3 sigma and 8 orientations, turned by its angle.

    Every gradient votes for the two nearest cells along both axes and the two nearest orientations, by linear weights,
    times a Gaussian of half the width of all cells. The result is divided by its length, clipped at 0.2, and divided
    again.

    Reference: section 6.1.
    """
    radius = round(CELL * sigma * math.sqrt(2) * (CELLS + 1) / 2)
    rows, columns = (slice(max(round(c) - radius, 0), round(c) + radius + 1) for c in (y, x))
    gy, gx = dy[rows, columns].ravel(), dx[rows, columns].ravel()
    v, u = (np.mgrid[rows, columns][:, : dy[rows, columns].shape[0], : dy[rows, columns].shape[1]]).reshape(2, -1)
    c, s = math.cos(angle), math.sin(angle)
    across, down = ((u - x) * c + (v - y) * s) / (CELL * sigma), ((v - y) * c - (u - x) * s) / (CELL * sigma)
    turn = (np.arctan2(gy, gx) - angle) % (2 * math.pi) / (2 * math.pi) * BINS
    weight = np.hypot(gy, gx) * np.exp(-(across**2 + down**2) / (2 * (CELLS / 2) ** 2))
    votes = np.zeros((CELLS, CELLS, BINS))
    places = down + CELLS / 2 - 0.5, across + CELLS / 2 - 0.5, turn
    low = [np.floor(p).astype(int) for p in places]
    for corner in np.ndindex(2, 2, 2):
        i, j, k = (n + step for n, step in zip(low, corner, strict=True))
        share = np.prod([1 - abs(p - n) for p, n in zip(places, (i, j, k), strict=True)], 0)
        inside = (i >= 0) & (i < CELLS) & (j >= 0) & (j < CELLS)
        np.add.at(votes, (i[inside], j[inside], k[inside] % BINS), (share * weight)[inside])
    return unit(votes.reshape(1, -1))[0]


def unit(votes: np.ndarray) -> np.ndarray:
    """Rows divided by their length, clipped at 0.2 and divided again; rows of zeros stay."""
    for limit in (CLIP, np.inf):
        votes = np.minimum(votes / np.maximum(np.sqrt(np.square(votes).sum(1, keepdims=True)), 1e-12), limit)
    return votes


def detect(image: np.ndarray, scales: int = 3, contrast: float = 0.04, edge: float = 10.0) -> Keypoints:
    """All points of an image with their descriptors; a point with several main orientations comes several times.

    Args:
        image: float [h, w] in 0..1.
        scales: of an octave.
        contrast: the least difference of an extremum, times `scales`.
        edge: the largest ratio of its two curvatures.

    Raises:
        DataError: for what is no such image.
    """
    image = grey(image, "sift")
    octaves, differences = scale_space(image, scales)
    rows: list[tuple] = []
    for o, (layers, d) in enumerate(zip(octaves, differences, strict=True)):
        gradients = [central(layer) for layer in layers]
        for at in extrema(d, 0.5 * contrast / scales):
            place = refined(d, at, contrast / scales, edge)
            if place is None:
                continue
            sigma = SIGMA * 2 ** (place[0] / scales)
            dy, dx = gradients[int(np.clip(round(place[0]), 0, scales + 2))]
            for angle in orientations(dy, dx, place[1], place[2], sigma):
                descriptor = describe(dy, dx, place[1], place[2], sigma, angle)
                pixel = 2.0 ** (o - 1)
                rows.append((place[1:] * pixel, sigma * pixel, angle, descriptor))
    if not rows:
        return Keypoints(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros((0, CELLS * CELLS * BINS)))
    return Keypoints(*(np.asarray(column) for column in zip(*rows, strict=True)))


def match(a: np.ndarray, b: np.ndarray, ratio: float = 0.8) -> np.ndarray:
    """Pairs int [k, 2] of descriptors a [n, 128] and their nearest of b [m, 128], where the second nearest is far.

    Args:
        a: descriptors of one image.
        b: of the other, two at least, else nothing matches.
        ratio: of the two distances at most, section 7.1.
    """
    if not len(a) or len(b) < 2:
        return np.zeros((0, 2), int)
    squares = np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2 * a @ b.T
    order = np.argsort(squares, 1, kind="stable")[:, :2]
    near, next_ = np.sqrt(np.maximum(np.take_along_axis(squares, order, 1), 0)).T
    kept = np.flatnonzero(near < ratio * next_)
    return np.stack([kept, order[kept, 0]], 1)


def dense(images: np.ndarray, cell: int = 3, step: int = 3) -> np.ndarray:
    """Descriptors on a grid, of one scale and upright: float64 [n, k, 128] of images [n, h, w].

    The histograms of `describe` with cells of `cell` pixels and flat weights inside a descriptor.

    Args:
        images: in 0..1, at least 4 cells wide and high.
        cell: side of a cell in pixels.
        step: pixels between descriptors.

    Raises:
        DataError: for smaller images.
    """
    if images.ndim != 3 or min(images.shape[1:]) < CELLS * cell:
        raise DataError(
            f"dense descriptors of {CELLS} cells of {cell} pixels take grey images [n, h, w] of {CELLS * cell} pixels "
            f"or more, got {list(images.shape)}"
        )
    dy, dx = central(images)
    turn = np.arctan2(dy, dx) % (2 * math.pi) / (2 * math.pi) * BINS
    apart = abs(turn[..., None] - np.arange(BINS))
    votes = np.hypot(dy, dx)[..., None] * np.maximum(1 - np.minimum(apart, BINS - apart), 0)  # [n, h, w, 8]
    for axis, size in ((1, images.shape[1]), (2, images.shape[2])):
        starts = np.arange(0, size - CELLS * cell + 1, step)
        centres = (starts[:, None] + (np.arange(CELLS)[None] + 0.5) * cell - 0.5).reshape(-1)
        weights = np.maximum(1 - abs(np.arange(size)[None] - centres[:, None]) / cell, 0)  # [places 4, size]
        votes = np.moveaxis(np.tensordot(votes, weights, (axis, 1)), -1, axis)
        votes = votes.reshape(*votes.shape[:axis], -1, CELLS, *votes.shape[axis + 1 :])
        if axis == 1:  # the next axis stands one further
            votes = np.moveaxis(votes, 2, -1)  # [n, rows, w, 8, 4 down]
    votes = np.moveaxis(votes, -1, 3)  # [n, rows, columns, 4 down, 4 across, 8]
    n, rows, columns = votes.shape[:3]
    return unit(votes.reshape(n * rows * columns, -1)).reshape(n, rows * columns, -1)
