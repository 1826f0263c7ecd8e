"""Penalties on the size of parameters, for `regularised.regularised`: R(W) of any tree of arrays."""

from typing import Any

import jax
import jax.numpy as jnp


def l2(params: Any) -> jax.Array:
    """Sum of squares, `R(W) = sum_k W_k^2`; it prefers weights that are spread out.

    Args:
        params: a tree of arrays.

    Returns:
        [], 0 for an empty tree.
    """
    return sum((jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params)), start=jnp.zeros(()))


def l1(params: Any) -> jax.Array:
    """Sum of magnitudes, `R(W) = sum_k |W_k|`, with subgradient 0 at 0; it prefers few weights.

    Args:
        params: a tree of arrays.

    Returns:
        [], 0 for an empty tree.
    """
    signs = jax.lax.stop_gradient(jax.tree.map(jnp.sign, params))  # JAX has 1 as the slope of |x| at 0
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(signs), strict=True)
    return sum((jnp.sum(x * sign) for x, sign in pairs), start=jnp.zeros(()))
