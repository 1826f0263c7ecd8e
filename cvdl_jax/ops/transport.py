"""Optimal transport: the cheapest plan that moves one distribution onto another.

    W = min over plans P of sum_ij P_ij C_ij,   P >= 0, its rows summing to a and its columns to b

In one dimension the plan keeps the order; between few points it is a linear programme; with an entropy added to the
cost, `W_e = min sum P_ij C_ij + e sum P_ij (log P_ij - 1)`, it follows by scaling rows and columns in turn.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.errors import DataError


def wasserstein_1d(x: np.ndarray, y: np.ndarray, p: float = 1.0) -> float:
    """The distance of two samples on a line, `(integral_0^1 |F^-1(u) - G^-1(u)|^p du)^(1/p)`, exact for any sizes.

    Args:
        x: [n].
        y: [m].
        p: at least 1.

    Raises:
        DataError: for an empty sample or an order below 1.

    Reference: Villani 2003, "Topics in Optimal Transportation", theorem 2.18.
    """
    x, y = np.sort(np.asarray(x, np.float64).ravel()), np.sort(np.asarray(y, np.float64).ravel())
    if not x.size or not y.size or p < 1:
        raise DataError(f"the distance needs two samples and an order of at least 1, got {x.size}, {y.size} and p={p}")
    n, m = x.size, y.size
    steps = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)  # in units of 1 / (n m), exact
    middle = np.concatenate([[0], steps[:-1]])
    gaps = np.abs(x[middle // m] - y[middle // n])
    return float(((gaps**p * np.diff(steps, prepend=0)).sum() / (n * m)) ** (1 / p))


def plan(a: np.ndarray, b: np.ndarray, cost: np.ndarray) -> tuple[np.ndarray, float]:
    """The cheapest plan between two discrete distributions, by linear programming.

    Args:
        a: [n], at least 0, of the rows.
        b: [m], of the columns, with the same sum.
        cost: [n, m].

    Returns:
        The plan [n, m]; its cost.

    Raises:
        DataError: for shapes that do not fit, negative masses, or sums that differ.

    Reference: Kantorovich 1942, "On the Translocation of Masses"; section 16.7 of the compendium.
    """
    from scipy.optimize import linprog  # slow to import

    a, b, cost = (np.asarray(x, np.float64) for x in (a, b, cost))
    _check(a, b, cost)
    n, m = cost.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    solved = linprog(cost.ravel(), A_eq=np.concatenate([rows, columns]), b_eq=np.concatenate([a, b]), method="highs")
    if solved.x is None:
        raise DataError(f"no plan was found: {solved.message}")
    return solved.x.reshape(n, m), float(solved.fun)


def sinkhorn(
    a: jax.Array, b: jax.Array, cost: jax.Array, epsilon: float = 0.05, steps: int = 200
) -> tuple[jax.Array, jax.Array]:
    """The plan with an entropy of weight epsilon, by scaling rows and columns in turn, in logarithms.

    Args:
        a: [n], above 0, of the rows.
        b: [m], of the columns, with the same sum.
        cost: [n, m].
        epsilon: towards 0 the plan becomes the cheapest one, and more steps are needed.
        steps: pairs of scalings; columns sum to b, rows to a in the limit.

    Returns:
        The plan [n, m]; what it costs, without the entropy.

    Reference: Cuturi 2013, "Sinkhorn Distances: Lightspeed Computation of Optimal Transport", algorithm 1.
    """
    score = -cost / epsilon

    def scale(_: int, potentials: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        f, g = potentials
        f = jnp.log(a) - jax.nn.logsumexp(score + g[None], 1)
        return f, jnp.log(b) - jax.nn.logsumexp(score + f[:, None], 0)

    f, g = lax.fori_loop(0, steps, scale, (jnp.zeros_like(a), jnp.zeros_like(b)))
    shares = jnp.exp(score + f[:, None] + g[None])
    return shares, (shares * cost).sum()


def _check(a: np.ndarray, b: np.ndarray, cost: np.ndarray) -> None:
    if cost.shape != (a.size, b.size) or a.ndim != 1 or b.ndim != 1:
        raise DataError(f"a plan of {a.shape} and {b.shape} needs a cost [n, m] of these sizes, got {cost.shape}")
    if min(a.min(), b.min()) < 0 or abs(a.sum() - b.sum()) > 1e-9 * max(a.sum(), 1):
        raise DataError(f"masses must be at least 0 and have one sum, got sums {a.sum():.6g} and {b.sum():.6g}")
