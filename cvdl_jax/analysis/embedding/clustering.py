"""Clusters of points: k-means, and joining the nearest clusters until as many are left as are wanted.

k-means minimises the inertia `sum_i |x_i - m_{c(i)}|^2`. Agglomerative clustering begins with every point alone and
joins the two nearest clusters again and again; what "nearest" means is the linkage.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LINKAGES = ("single", "complete", "average", "ward")


class KMeans(NamedTuple):
    """What k-means ends with.

    Attributes:
        centres: [k, d].
        label: int32 [n], the nearest centre of every point.
        inertia: float [iterations + 1], before each update of the centres and after the last; it never increases.
    """

    centres: jax.Array
    label: jax.Array
    inertia: jax.Array


def _check_clusters(n: int, k: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k={k} clusters of {n} points; k must be in 1..{n}")


def between(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared distances [n, m] of points x [n, d] and y [m, d], from differences."""
    return lax.map(lambda c: jnp.square(x - c[None]).sum(-1), y).T


def plus_plus(key: jax.Array, x: jax.Array, k: int) -> jax.Array:
    """The first centres of k-means++: each is a point drawn with probability proportional to D(x)^2.

    D(x) is the distance of a point to the nearest centre drawn before; the first one is drawn uniformly. Where all
    points lie on centres, the next is drawn uniformly too.

    Args:
        key: what is drawn is a function of it.
        x: float [n, d].
        k: centres.

    Returns:
        [k, d].

    Reference: Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding", section 2.2.
    """
    _check_clusters(len(x), k)
    keys = jax.random.split(key, k)
    first = x[jax.random.randint(keys[0], (), 0, len(x))]

    def draw(i: jax.Array, carry: tuple) -> tuple:
        centres, nearest = carry
        weights = jnp.where(nearest.sum() > 0, nearest, 1)
        centre = x[jax.random.categorical(keys[i], jnp.log(weights))]
        return centres.at[i].set(centre), jnp.minimum(nearest, jnp.square(x - centre[None]).sum(1))

    start = jnp.zeros((k, x.shape[1]), x.dtype).at[0].set(first), jnp.square(x - first[None]).sum(1)
    return lax.fori_loop(1, k, draw, start)[0]


def lloyd(x: jax.Array, centres: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One iteration: points go to their nearest centre, centres to the mean of their points.

    A centre without points moves onto the point that is farthest from its own centre, the next one onto the second
    farthest and so on: none is lost, and the inertia does not grow by it.

    Args:
        x: float [n, d].
        centres: [k, d].

    Returns:
        (centres [k, d], the inertia before they moved).

    Reference: Lloyd 1982, "Least Squares Quantization in PCM".
    """
    k, distances = len(centres), between(x, centres)
    nearest, label = distances.min(1), distances.argmin(1)
    member = jax.nn.one_hot(label, k, dtype=x.dtype)  # [n, k]
    counts = member.sum(0)
    means = jnp.matmul(member.T, x, precision=lax.Precision.HIGHEST) / jnp.maximum(counts, 1)[:, None]
    empty = counts == 0
    farthest = lax.top_k(nearest, k)[1]  # [k]
    spare = x[farthest[jnp.cumsum(empty) - 1]]
    return jnp.where(empty[:, None], spare, means), nearest.sum()


def kmeans(key: jax.Array, x: jax.Array, k: int, iterations: int = 50, restarts: int = 1) -> KMeans:
    """k-means: Lloyd's iterations from centres of k-means++, the best of several restarts.

    Args:
        key: what is drawn is a function of it.
        x: float [n, d].
        k: clusters, at most n.
        iterations: of Lloyd's algorithm.
        restarts: from new centres.

    Returns:
        A KMeans.

    Raises:
        ValueError: for more clusters than points, or none.
    """
    _check_clusters(len(x), k)

    def once(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lax.scan(lambda centres, _: lloyd(x, centres), plus_plus(key, x, k), None, iterations)

    centres, inertia = lax.map(once, jax.random.split(key, restarts))  # [r, k, d], [r, iterations]
    distances = lax.map(lambda c: between(x, c), centres)  # [r, n, k]
    last = distances.min(2).sum(1)
    best = last.argmin()
    history = jnp.append(inertia[best], last[best])
    return KMeans(centres[best], distances[best].argmin(1).astype(jnp.int32), history)


class Tree(NamedTuple):
    """What is joined, in order: clusters 0 .. n - 1 are the points, n + i is what step i makes.

    Attributes:
        pairs: int [n - 1, 2], the smaller number first.
        heights: float [n - 1], the distance of the two; for "ward" `sqrt(2 |A| |B| / (|A| + |B|)) |m_A - m_B|`.
        sizes: int [n - 1], points of what is made.
    """

    pairs: np.ndarray
    heights: np.ndarray
    sizes: np.ndarray


def agglomerate(x: np.ndarray, linkage: Literal["single", "complete", "average", "ward"] = "average") -> Tree:
    """Joins the two nearest clusters, n - 1 times.

    The distance of a new cluster A + B to another one C follows from those of its parts (Lance and Williams 1967):
    single the smaller, complete the larger, average the mean weighted by sizes a and b, Ward
    `d^2 = ((a + c) d_AC^2 + (b + c) d_BC^2 - c d_AB^2) / (a + b + c)`. Time grows with n^3.

    Args:
        x: float [n, d], n at least 2.
        linkage: "single", "complete", "average" or "ward".

    Returns:
        A Tree, in the order and with the heights of SciPy's `linkage`.

    Raises:
        ValueError: for an unknown linkage, fewer than two points, or points that are NaN or infinite.
    """
    if linkage not in LINKAGES:
        raise ValueError(f"linkage={linkage!r} is not one of {', '.join(LINKAGES)}")
    x = np.asarray(x, np.float64)
    n = len(x)
    if n < 2:
        raise ValueError(f"{n} points; clusters can be joined where there are two")
    if not np.isfinite(x).all():
        raise ValueError(f"{np.sum(~np.isfinite(x).all(1))} of {n} points are NaN or infinite; no point is near them")
    d = np.sqrt(np.square(x[:, None] - x[None]).sum(-1))
    np.fill_diagonal(d, np.inf)
    names, sizes = np.arange(n), np.ones(n, np.int64)
    pairs, heights, made = np.zeros((n - 1, 2), np.int64), np.zeros(n - 1), np.zeros(n - 1, np.int64)
    for step in range(n - 1):
        i, j = np.unravel_index(d.argmin(), d.shape)
        pairs[step], heights[step] = sorted((names[i], names[j])), d[i, j]
        a, b, ab = sizes[i], sizes[j], d[i, j]
        rest = np.isfinite(d[i]) & np.isfinite(d[j])
        p, q, c = d[i, rest], d[j, rest], sizes[rest]
        if linkage == "ward":
            new = np.sqrt(np.maximum(((a + c) * p**2 + (b + c) * q**2 - c * ab**2) / (a + b + c), 0))
        else:
            new = {"single": np.minimum(p, q), "complete": np.maximum(p, q), "average": (a * p + b * q) / (a + b)}[
                linkage
            ]
        d[i, rest] = d[rest, i] = new
        d[j], d[:, j] = np.inf, np.inf
        names[i], sizes[i], made[step] = n + step, a + b, a + b
    return Tree(pairs, heights, made)


def cut(tree: Tree, k: int) -> np.ndarray:
    """The clusters that are there before the last k - 1 joins: int32 [n], numbered by their first points.

    Raises:
        ValueError: for more clusters than points, or none.
    """
    n = len(tree.pairs) + 1
    _check_clusters(n, k)
    members = {i: [i] for i in range(n)}
    for step, (a, b) in enumerate(tree.pairs[: n - k].tolist()):
        members[n + step] = members.pop(a) + members.pop(b)
    label = np.zeros(n, np.int32)
    for number, points in enumerate(sorted(members.values(), key=min)):
        label[points] = number
    return label
