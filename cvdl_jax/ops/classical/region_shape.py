"""Figure and ground, and what a region is like: Otsu's threshold, moments, perimeter; blobs of the primal sketch.

Regions are masks bool [h, w]; components come from `images/watershed.py`, edges from `canny.py`.
"""

import math
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.ops.classical.smoothing import gaussian, grey


def otsu(image: np.ndarray, bins: int = 256) -> float:
    """The threshold that maximises the variance between what is below and what is above it, `w0 w1 (m0 - m1)^2`.

    It is the largest value of the ground, all bins up to the best one: what is above it is figure. (A centre of a bin
    would take a part of the pixels that were counted as ground for figure.)

    Args:
        image: of any shape; two values at least.
        bins: of the histogram, from the smallest to the largest value.

    Reference: Otsu 1979, "A Threshold Selection Method from Gray-Level Histograms", equation 18.
    """
    values = np.asarray(image, np.float64).ravel()
    if values.min() == values.max():
        raise DataError(f"all pixels are {values.min()}; a threshold needs two values")
    counts, edges = np.histogram(values, bins)
    centres = (edges[1:] + edges[:-1]) / 2
    low, sums = np.cumsum(counts)[:-1], np.cumsum(counts * centres)[:-1]
    high, rest = counts.sum() - low, (counts * centres).sum() - sums
    between = low * high * (sums / low - rest / high) ** 2
    return float(values[values < edges[between.argmax() + 1]].max())


class Shape(NamedTuple):
    """What a region is like.

    Attributes:
        area: pixels.
        centroid: (row, column).
        orientation: of the long axis in radians, from the rows' axis, in (-pi / 2, pi / 2].
        major: length of the long axis of the ellipse with the same moments,
        minor: of the short one.
        eccentricity: of that ellipse, 0 for a circle.
        perimeter: of the border through the centres of its pixels, with sqrt(2) for diagonal steps.
        hu: Hu's seven moments, which do not change as the region is moved, turned or scaled.
    """

    area: int
    centroid: tuple[float, float]
    orientation: float
    major: float
    minor: float
    eccentricity: float
    perimeter: float
    hu: np.ndarray


def describe(mask: np.ndarray) -> Shape:
    """The Shape of a region, of central moments `mu_pq = sum (y - my)^p (x - mx)^q`.

    A pixel counts as a square: 1/12 is added to its second moments along both axes for the ellipse.

    Raises:
        DataError: for a mask without a pixel.

    Reference: Hu 1962, "Visual Pattern Recognition by Moment Invariants".
    """
    y, x = np.nonzero(mask)
    if not len(y):
        raise DataError("the mask has no pixel; a region needs one")
    area, my, mx = len(y), y.mean(), x.mean()
    a, b, c = ((y - my) ** 2).mean() + 1 / 12, ((x - mx) ** 2).mean() + 1 / 12, ((y - my) * (x - mx)).mean()
    half = math.hypot((a - b) / 2, c)
    long, short = (a + b) / 2 + half, (a + b) / 2 - half
    angle = math.atan2(2 * c, a - b) / 2
    return Shape(
        area, (my, mx), angle, 4 * math.sqrt(long), 4 * math.sqrt(max(short, 0)),
        math.sqrt(max(1 - short / long, 0)), perimeter(mask), hu_moments(y - my, x - mx),
    )  # fmt: skip


def hu_moments(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Hu's seven invariants [7] of centred pixels, from `eta_pq = mu_pq / mu_00^(1 + (p + q) / 2)`."""
    eta = lambda p, q: (y**p * x**q).sum() / len(y) ** (1 + (p + q) / 2)  # noqa: E731
    n20, n02, n11, n30, n03, n21, n12 = (eta(*pq) for pq in ((2, 0), (0, 2), (1, 1), (3, 0), (0, 3), (2, 1), (1, 2)))
    s, t = n30 + n12, n21 + n03
    u, v = n30 - 3 * n12, 3 * n21 - n03
    return np.asarray([
        n20 + n02, (n20 - n02) ** 2 + 4 * n11**2, u**2 + v**2, s**2 + t**2,
        u * s * (s**2 - 3 * t**2) + v * t * (3 * s**2 - t**2),
        (n20 - n02) * (s**2 - t**2) + 4 * n11 * s * t,
        v * s * (s**2 - 3 * t**2) - u * t * (3 * s**2 - t**2),
    ])  # fmt: skip


def perimeter(mask: np.ndarray) -> float:
    """Length of the line through the centres of border pixels, those with a neighbour of the four outside.

    A border pixel counts 1 with two straight neighbours among border pixels, sqrt(2) with diagonal ones, and the mean
    of both with one of each (Benkrid and Crookes 2000), as in scikit-image.
    """
    p = np.pad(np.asarray(mask, bool), 1)
    border = p & ~(np.pad(p[:-2, 1:-1] & p[2:, 1:-1] & p[1:-1, :-2] & p[1:-1, 2:], 1))
    q = np.pad(border, 1).astype(int)
    straight = q[:-2, 1:-1] + q[2:, 1:-1] + q[1:-1, :-2] + q[1:-1, 2:]
    diagonal = q[:-2, :-2] + q[:-2, 2:] + q[2:, :-2] + q[2:, 2:]
    codes = (1 + 2 * straight + 10 * diagonal)[border]
    lengths = {1.0: (5, 7, 15, 17, 25, 27), math.sqrt(2): (21, 33), (1 + math.sqrt(2)) / 2: (13, 23)}
    return float(sum(length * np.isin(codes, which).sum() for length, which in lengths.items()))


def blobs(image: np.ndarray, sigmas: tuple[float, ...], threshold: float = 0.1) -> np.ndarray:
    """Bright blobs float64 [k, 3] (row, column, sigma): maxima of `-sigma^2 (L_yy + L_xx)` over place and scale.

    A disc of radius r answers most at sigma = r / sqrt(2). Of equal neighbours the first is the maximum.

    Args:
        image: float [h, w] in 0..1.
        sigmas: three or more, growing; the first and the last have neighbours on one side only.
        threshold: least answer.

    Reference: Marr and Hildreth 1980; Lindeberg 1998, "Feature Detection with Automatic Scale Selection".
    """
    image = grey(image, "blobs")

    def answer(sigma: float) -> np.ndarray:
        p = np.pad(gaussian(image, sigma), 1, "edge")
        return sigma**2 * (4 * p[1:-1, 1:-1] - p[:-2, 1:-1] - p[2:, 1:-1] - p[1:-1, :-2] - p[1:-1, 2:])

    stack = np.stack([answer(sigma) for sigma in sigmas])
    p = np.pad(stack, 1, constant_values=-np.inf)
    s, h, w = stack.shape
    around = [p[i : i + s, j : j + h, k : k + w] for i in range(3) for j in range(3) for k in range(3)]
    highest = [stack > other for other in around[:13]] + [stack >= other for other in around[14:]]
    peaks = np.argwhere(np.logical_and.reduce(highest) & (stack >= threshold))
    return np.asarray([(y, x, sigmas[i]) for i, y, x in peaks], np.float64).reshape(-1, 3)
