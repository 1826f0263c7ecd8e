"""Clipping of gradients by their norm, also of those whose squares overflow."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def clip_by_norm(bound: float) -> optax.GradientTransformation:
    """All tensors together: g if `|g| <= bound`, else `bound g / |g|`, also where the square of |g| would overflow.

    Reference: Pascanu et al. 2013, algorithm 1.
    """
    clip = optax.clip_by_global_norm(bound)

    def clipped(updates: Any, params: Any = None) -> Any:
        del params
        usual, _ = clip.update(updates, clip.init(None))
        infinite = jnp.isinf(optax.tree.norm(updates))
        small = jax.tree.map(lambda u: _shrunk(u, infinite), updates)
        length = optax.tree.norm(small)
        overflows = infinite & jnp.isfinite(length)
        return jax.tree.map(lambda u, s: jnp.where(overflows, (s / length * bound).astype(u.dtype), u), usual, small)

    return optax.stateless(clipped)


def clip_by_tensor_norm(bound: float) -> optax.GradientTransformation:
    """`clip_by_norm` of each tensor by itself."""
    clip = clip_by_norm(bound)
    return optax.stateless(
        lambda updates, params: jax.tree.map(lambda g: clip.update(g, optax.EmptyState())[0], updates)
    )


def _shrunk(g: jax.Array, by: jax.Array) -> jax.Array:
    """Times a power of two where `by` says so, so that the squares of what its dtype can hold do not overflow.

    The factor depends on the data: XLA would move a constant out of the square, and square what overflows.
    """
    wide = g.astype(jnp.promote_types(g.dtype, jnp.float32))
    return wide * jnp.where(by, 2.0 ** -(jnp.finfo(wide.dtype).maxexp * 25 // 32), 1.0).astype(wide.dtype)
