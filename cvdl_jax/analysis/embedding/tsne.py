"""Exact t-SNE: affinities of a given perplexity, and the divergence that the embedded points minimise.

p(j|i) = exp(-beta_i |x_i - x_j|^2) / sum_{k != i} exp(-beta_i |x_i - x_k|^2), beta_i = 1 / (2 sigma_i^2)
p_ij = (p(j|i) + p(i|j)) / (2 n)
q_ij = (1 + |y_i - y_j|^2)^-1 / Z, Z = sum_{k != l} (1 + |y_k - y_l|^2)^-1

Time and memory are quadratic in the number of points: for some thousands. Reference: van der Maaten and Hinton 2008,
"Visualizing Data using t-SNE", sections 2 and 3.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import xlogy

BISECTIONS = 60  # halves the bracket down to the rounding of float32, with some to spare
BRACKET = 40.0  # of log(beta * mean distance): outside, every p(j|i) is equal, or all lies on the nearest point


def squared_distances(x: jax.Array) -> jax.Array:
    """|x_i - x_j|^2 [n, n] of points x [n, d], from differences: symmetric, and exactly zero on the diagonal."""
    return jnp.square(x[:, None] - x[None]).sum(-1)


def conditional(distances: jax.Array, precision: jax.Array) -> jax.Array:
    """p(j|i) [n, n] of squared distances [n, n] and precisions beta [n]; rows sum to one, the diagonal is zero."""
    scores = jnp.where(_diagonal(len(distances)), -jnp.inf, -precision[:, None] * distances)
    return jax.nn.softmax(scores, 1)


def perplexities(p: jax.Array) -> jax.Array:
    """Exp of the entropy of each row [n]: its effective number of neighbours."""
    return jnp.exp(-xlogy(p, p).sum(1))


def precisions(distances: jax.Array, perplexity: float) -> jax.Array:
    """The beta_i [n] at which p(.|i) has the perplexity, by bisection of log beta for all points at once.

    Args:
        distances: squared, [n, n].
        perplexity: in 1 .. n - 1. A point with more duplicates than that keeps the perplexity of its duplicates, and
            one that is equally far from all others keeps n - 1: its beta is 0.

    Raises:
        ValueError: for a perplexity that n points cannot have.
    """
    n = len(distances)
    if not 1 < perplexity < n - 1:
        raise ValueError(f"perplexity={perplexity} must be between 1 and {n - 1}, the number of other points")
    nearest = jnp.where(_diagonal(n), jnp.inf, distances).min(1)
    mean = distances.sum(1) / (n - 1)
    flat = mean - nearest <= 8 * jnp.finfo(distances.dtype).eps * mean  # all distances equal but for rounding
    scale = jnp.where(flat, 1, mean - nearest)  # a shift of distances leaves p alone

    def halve(_, bracket):
        low, high = bracket
        middle = (low + high) / 2
        wide = perplexities(conditional(distances, jnp.exp(middle) / scale)) > perplexity
        return jnp.where(wide, middle, low), jnp.where(wide, high, middle)

    edge = jnp.full(n, BRACKET, distances.dtype)
    low, high = lax.fori_loop(0, BISECTIONS, halve, (-edge, edge))
    return jnp.where(flat, 0, jnp.exp((low + high) / 2) / scale)


def joint(x: jax.Array, perplexity: float) -> jax.Array:
    """p_ij [n, n] of points x [n, d]: symmetric, sums to one, zero diagonal. Raises: as `precisions`."""
    distances = squared_distances(x)
    p = conditional(distances, precisions(distances, perplexity))
    return (p + p.T) / (2 * len(x))


def student(y: jax.Array) -> jax.Array:
    """q_ij [n, n] of embedded points y [n, k]."""
    kernel = jnp.where(_diagonal(len(y)), 0, 1 / (1 + squared_distances(y)))
    return kernel / kernel.sum()


def divergence(y: jax.Array, p: jax.Array, exaggeration: float | jax.Array = 1.0) -> jax.Array:
    """KL(P || Q) where the exaggeration a is 1; else `a sum p_ij log(p_ij (1 + |y_i - y_j|^2)) + log Z`.

    Its gradient is `4 sum_j (a p_ij - q_ij) (y_i - y_j) / (1 + |y_i - y_j|^2)`, that of early exaggeration.

    Args:
        y: embedded points [n, k].
        p: joint affinities [n, n].
        exaggeration: the factor on p, of section 3.4.

    Returns:
        A number of the dtype of y.
    """
    spread = jnp.log1p(squared_distances(y))  # [n, n]
    z = jnp.where(_diagonal(len(y)), 0, jnp.exp(-spread)).sum()
    return exaggeration * (xlogy(p, p) + p * spread).sum() + jnp.log(z)


def _diagonal(n: int) -> jax.Array:
    return jnp.eye(n, dtype=bool)
