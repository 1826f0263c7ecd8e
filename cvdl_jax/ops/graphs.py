"""Graphs as matrices: what a graph convolution multiplies features with."""

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError


def propagation(adjacency: jax.Array) -> jax.Array:
    """`D^-1/2 (A + I) D^-1/2` with `D_ii = sum_j (A + I)_ij`: every node's own features and those of its neighbours.

    The square roots of both ends keep the matrix symmetric and its eigenvalues in -1..1, so that layers can follow one
    another without numbers that grow. An element is `a_ij / sqrt(d_i d_j)`.

    Args:
        adjacency: A, symmetric, not negative, without loops, [..., n, n].

    Returns:
        At least float32 [..., n, n].

    Raises:
        ConfigError: for a matrix that is not square.

    Reference: Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks", equation 2.
    """
    if adjacency.ndim < 2 or adjacency.shape[-1] != adjacency.shape[-2]:
        raise ConfigError(f"an adjacency matrix is [..., n, n], got {adjacency.shape}")
    a = adjacency.astype(jnp.promote_types(adjacency.dtype, jnp.float32))
    a = a + jnp.broadcast_to(jnp.eye(a.shape[-1], dtype=a.dtype), a.shape)
    root = jax.lax.rsqrt(a.sum(-1))
    return root[..., :, None] * a * root[..., None, :]
