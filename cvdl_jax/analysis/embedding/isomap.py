"""Isomap: distances along the data, by shortest paths between neighbours, kept as well as the plane can.

NumPy on the host: every shortest path takes n passes over n^2 numbers, for some thousands of points.
"""

import numpy as np

from cvdl_jax.errors import ConfigError


def neighbour_graph(x: np.ndarray, neighbours: int) -> np.ndarray:
    """Distances [n, n] of points to their nearest neighbours, and of those to them; infinite between others.

    Args:
        x: float [n, d].
        neighbours: of a point, itself not counted.

    Raises:
        ConfigError: for as many neighbours as points, or none.
    """
    x = np.asarray(x, np.float64)
    n = len(x)
    if not 1 <= neighbours < n:
        raise ConfigError(f"neighbours={neighbours} must be in 1..{n - 1}, the number of other points")
    distances = np.stack([np.sqrt(np.square(x - one[None]).sum(1)) for one in x])
    others = distances + np.where(np.eye(n, dtype=bool), np.inf, 0)
    near = np.argsort(others, 1, kind="stable")[:, :neighbours]
    linked = np.zeros((n, n), bool)
    np.put_along_axis(linked, near, True, 1)
    graph = np.where(linked | linked.T, distances, np.inf)
    np.fill_diagonal(graph, 0)
    return graph


def geodesics(graph: np.ndarray) -> np.ndarray:
    """Lengths [n, n] of the shortest paths of a graph, by Floyd's algorithm: `d_ij = min(d_ij, d_ik + d_kj)` for all k.

    Raises:
        ConfigError: for a graph of several parts, between which there is no path.
    """
    d = np.array(graph, np.float64)
    for k in range(len(d)):
        np.minimum(d, d[:, k, None] + d[None, k], out=d)
    if not np.isfinite(d).all():
        parts = len({row.tobytes() for row in np.isfinite(d)})
        raise ConfigError(f"the graph of neighbours has {parts} parts without a path between them; use more neighbours")
    return d


def classical_scaling(distances: np.ndarray, k: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Points whose inner products are nearest to those that distances tell: `B = -1/2 H D^2 H = V L V^T`, V sqrt(L).

    H = I - 1/n takes the mean away. Directions of a negative eigenvalue, which distances in no space have, are 0. The
    entry of largest magnitude of a coordinate is made positive.

    Args:
        distances: [n, n], symmetric.
        k: coordinates, at most n.

    Returns:
        Points float64 [n, k], the widest coordinate first; all eigenvalues [n], the largest first.

    Raises:
        ConfigError: for more coordinates than points, or none.

    Reference: Torgerson 1952; Borg and Groenen 2005, "Modern Multidimensional Scaling", chapter 12.
    """
    if not 1 <= k <= len(distances):
        raise ConfigError(f"k={k} coordinates of {len(distances)} points; k must be in 1..{len(distances)}")
    squares = np.square(np.asarray(distances, np.float64))
    rows = squares.mean(0)
    values, vectors = np.linalg.eigh(-(squares - rows[None] - rows[:, None] + squares.mean()) / 2)
    values, vectors = values[::-1], vectors[:, ::-1]
    y = vectors[:, :k] * np.sqrt(np.maximum(values[None, :k], 0))
    sign = np.sign(np.take_along_axis(y, np.abs(y).argmax(0)[None], 0))
    return y * np.where(sign < 0, -1, 1), values


def residual_variance(geodesic: np.ndarray, y: np.ndarray) -> float:
    """1 - R^2 of geodesic distances and those of embedded points, over pairs.

    Distances that are all equal have no R: 0 where those of the embedded points are all equal too, else 1.
    """
    embedded = np.sqrt(np.square(y[:, None] - y[None]).sum(-1))
    pairs = np.triu_indices(len(y), 1)
    flat = [np.ptp(d[pairs]) <= 1e-12 * d.max() for d in (geodesic, embedded)]
    return float(not all(flat)) if any(flat) else float(1 - np.corrcoef(geodesic[pairs], embedded[pairs])[0, 1] ** 2)


def isomap(x: np.ndarray, neighbours: int = 10, k: int = 2) -> tuple[np.ndarray, float]:
    """Isomap's points [n, k] of x [n, d], and their residual variance.

    Raises:
        ConfigError: for too many neighbours, or too few to connect all points.

    Reference: Tenenbaum, de Silva and Langford 2000, "A Global Geometric Framework for Nonlinear Dimensionality
    Reduction", table 1 and figure 2.
    """
    geodesic = geodesics(neighbour_graph(x, neighbours))
    y, _ = classical_scaling(geodesic, k)
    return y, residual_variance(geodesic, y)
