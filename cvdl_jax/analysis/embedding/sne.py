"""Stochastic neighbour embedding: every point's neighbours keep their probabilities in the plane.

p(j|i) = exp(-beta_i |x_i - x_j|^2) / sum_{k != i} exp(-beta_i |x_i - x_k|^2), of a given perplexity (`tsne.precisions`)
q(j|i) = exp(-|y_i - y_j|^2) / sum_{k != i} exp(-|y_i - y_k|^2)
C = sum_i KL(P_i || Q_i) = sum_ij p(j|i) log(p(j|i) / q(j|i))

Every point has a sum of its own, and there are Gaussians on both sides. t-SNE (`tsne.py`) has one sum over pairs, and
Student's t in the plane, which leaves room there for what is moderately far apart. Reference: Hinton and Roweis 2002,
"Stochastic Neighbor Embedding", section 2.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import xlogy

from cvdl_jax.analysis.embedding import tsne


def affinities(x: jax.Array, perplexity: float) -> jax.Array:
    """p(j|i) [n, n] of points x [n, d]: rows sum to one, the diagonal is zero. Raises: as `tsne.precisions`."""
    distances = tsne.squared_distances(x)
    return tsne.conditional(distances, tsne.precisions(distances, perplexity))


def gaussian(y: jax.Array) -> jax.Array:
    """q(j|i) [n, n] of embedded points y [n, k], Gaussians of variance 1/2."""
    return tsne.conditional(tsne.squared_distances(y), jnp.ones(len(y), y.dtype))


def divergence(y: jax.Array, p: jax.Array) -> jax.Array:
    """C, the sum of KL(P_i || Q_i) over points.

    Its gradient is `dC/dy_i = 2 sum_j (y_i - y_j) (p(j|i) - q(j|i) + p(i|j) - q(i|j))`.

    Args:
        y: embedded points [n, k].
        p: conditional affinities [n, n].

    Returns:
        A number of the dtype of y.
    """
    distances = tsne.squared_distances(y)
    away = jnp.where(jnp.eye(len(y), dtype=bool), -jnp.inf, -distances)
    return (xlogy(p, p) + p * distances).sum() + (p.sum(1) * jax.nn.logsumexp(away, 1)).sum()
