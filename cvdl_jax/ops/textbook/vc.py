"""Capacity of a hypothesis set by brute force: dichotomies, the growth function, shattering, the VC dimension.

A hypothesis set is a function `realises(points [n, d], labels [n] of -1 and 1) -> bool`, which says whether one of its
hypotheses gives the points these labels.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np

Realises = Callable[[np.ndarray, np.ndarray], bool]


def linear(points: np.ndarray, labels: np.ndarray, bias: bool = True) -> bool:
    """Half-spaces `sign(w x + b)`, of VC dimension d + 1 (d without bias): whether a plane separates the two classes.

    Linear programming decides it: `y_i (w x_i + b) >= 1` has a solution exactly when the classes are separable.

    Args:
        points: float [n, d].
        labels: -1 or 1, [n].
        bias: whether planes may miss the origin.
    """
    from scipy.optimize import linprog  # slow to import

    points, labels = _check(points, labels)
    features = np.concatenate([points, np.ones((len(points), 1))], axis=1) if bias else points
    result = linprog(
        np.zeros(features.shape[1]), A_ub=-labels[:, None] * features, b_ub=-np.ones(len(points)), bounds=(None, None)
    )
    if result.status not in (0, 2):
        raise ValueError(f"linprog could not decide whether the points are separable: {result.message}")
    return result.status == 0


def linear_through_origin(points: np.ndarray, labels: np.ndarray) -> bool:
    """Half-spaces `sign(w x)`, of VC dimension d. Args: see `linear`."""
    return linear(points, labels, bias=False)


def rays(points: np.ndarray, labels: np.ndarray) -> bool:
    """Positive rays of the line, `sign(x - a)`, of VC dimension 1. Args: points [n, 1], labels [n]."""
    points, labels = _check(points, labels)
    inside, outside = points[labels > 0, 0], points[labels < 0, 0]
    return not len(inside) or not len(outside) or outside.max() < inside.min()


def boxes(points: np.ndarray, labels: np.ndarray) -> bool:
    """Axis-aligned boxes, 1 inside, of VC dimension 2 d; in one dimension the intervals. Args: see `linear`."""
    points, labels = _check(points, labels)
    inside, outside = points[labels > 0], points[labels < 0]
    if not len(inside):
        return True
    return not ((outside >= inside.min(0)) & (outside <= inside.max(0))).all(1).any()


def convex_sets(points: np.ndarray, labels: np.ndarray) -> bool:
    """Convex sets, 1 inside, of infinite VC dimension. Args: see `linear`.

    A point lies in the convex hull of others exactly if no plane separates it from them.
    """
    points, labels = _check(points, labels)
    inside = points[labels > 0]
    return not len(inside) or all(
        linear(np.concatenate([inside, outside[None]]), np.append(np.ones(len(inside)), -1.0))
        for outside in points[labels < 0]
    )


def dichotomies(points: np.ndarray, realises: Realises) -> int:
    """The number of labellings of the points, of 2^n, that the hypothesis set realises. Args: points [n, d]."""
    points = np.asarray(points, np.float64)
    if len(points) > 16:
        raise ValueError(f"points: {len(points)} of them have 2^{len(points)} labellings; use at most 16")
    return sum(realises(points, np.asarray(y)) for y in itertools.product((-1.0, 1.0), repeat=len(points)))


def shatters(points: np.ndarray, realises: Realises) -> bool:
    """Whether the hypothesis set realises all 2^n labellings of the points. Args: points [n, d]."""
    points = np.asarray(points, np.float64)
    return all(realises(points, np.asarray(y)) for y in itertools.product((-1.0, 1.0), repeat=len(points)))


def growth(n: int, d: int, realises: Realises, tries: int = 10, seed: int = 0) -> int:
    """The growth function m_H(n), the most dichotomies of any n points, estimated from random point sets.

    Args:
        n: number of points.
        d: their dimension.
        realises: the hypothesis set.
        tries: number of point sets, normally distributed.
        seed: of the point sets.

    Returns:
        An integer that can only be too small; it is exact if all points in general position have equally many.
    """
    sets = np.random.default_rng(seed).normal(size=(tries, n, d))
    return max(dichotomies(points, realises) for points in sets)


def vc_dimension(d: int, realises: Realises, most: int, tries: int = 50, seed: int = 0) -> int:
    """The VC dimension, the largest n such that some n points are shattered, estimated from random point sets.

    Args:
        d: dimension of the points.
        realises: the hypothesis set.
        most: the largest n that is tried.
        tries: number of point sets of each size, normally distributed.
        seed: of the point sets.

    Returns:
        The largest n of a shattered set, which can only be too small. Subsets of a shattered set are shattered, so the
        search ends at the first n that fails.

    Raises:
        ValueError: if even `most` points are shattered.

    Reference: Vapnik and Chervonenkis 1971, "On the Uniform Convergence of Relative Frequencies"; Blumer et al. 1989.
    """
    rng = np.random.default_rng(seed)
    for n in range(1, most + 1):
        if not any(shatters(rng.normal(size=(n, d)), realises) for _ in range(tries)):
            return n - 1
    raise ValueError(f"most={most}: so many points are still shattered; the VC dimension is at least {most}, raise it")


def cover(n: int, d: int) -> int:
    """Dichotomies of n points in general position by half-spaces: `2 sum_{k <= d} C(n - 1, k)`.

    Reference: Cover 1965, "Geometrical and Statistical Properties of Systems of Linear Inequalities", equation 5, with
    the bias as one more dimension.
    """
    return 2 * sum(math.comb(n - 1, k) for k in range(d + 1))


def _check(points: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    points, labels = np.asarray(points, np.float64), np.asarray(labels, np.float64)
    if points.ndim != 2 or labels.shape != points.shape[:1] or not np.isin(labels, (-1, 1)).all():
        raise ValueError(
            f"points and labels must be [n, d] and [n] of -1 and 1, got {list(points.shape)} and {labels.tolist()}"
        )
    return points, labels
