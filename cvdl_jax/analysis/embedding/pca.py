"""Principal component analysis by the singular value decomposition of the centred data."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax


class PCA(NamedTuple):
    """A fitted projection.

    Attributes:
        mean: [d].
        components: [k, d], orthonormal rows, the largest variance first.
        variance: [k], of the data along each component, with n - 1 in the denominator.
        ratio: [k], the share of the whole variance.
    """

    mean: jax.Array
    components: jax.Array
    variance: jax.Array
    ratio: jax.Array


def fit(x: jax.Array, k: int) -> PCA:
    """The k directions of largest variance: `x - mean = U S V^T`, components V_1 .. V_k, variances `S^2 / (n - 1)`.

    A component and its negative are equally good; the entry of largest magnitude is made positive.

    Args:
        x: float [n, d], n at least 2.
        k: at most min(n, d).

    Returns:
        A PCA.

    Raises:
        ValueError: if there are not k components.

    Reference: Jolliffe 2002, "Principal Component Analysis", section 3.5.
    """
    n, d = x.shape
    if n < 2 or not 1 <= k <= min(n, d):
        raise ValueError(f"k={k} components of {n} points with {d} features; k must be in 1..min(n, d), n at least 2")
    mean = x.mean(0)
    _, s, rows = jnp.linalg.svd(x - mean[None], full_matrices=False)  # [min(n, d)], [min(n, d), d]
    largest = jnp.take_along_axis(rows, jnp.abs(rows).argmax(1)[:, None], 1)  # [min(n, d), 1]
    rows = rows * jnp.where(largest < 0, -1, 1).astype(rows.dtype)
    variance = s**2 / (n - 1)
    whole = jnp.maximum(variance.sum(), jnp.finfo(x.dtype).tiny)  # identical points have no variance to share
    return PCA(mean, rows[:k], variance[:k], variance[:k] / whole)


def transform(mean: jax.Array, components: jax.Array, x: jax.Array) -> jax.Array:
    """Coordinates [n, k] of points x [n, d]."""
    return jnp.matmul(x - mean[None], components.T, precision=lax.Precision.HIGHEST)


def inverse_transform(mean: jax.Array, components: jax.Array, z: jax.Array) -> jax.Array:
    """The points [n, d] in the subspace that have coordinates z [n, k]."""
    return jnp.matmul(z, components, precision=lax.Precision.HIGHEST) + mean[None]
