"""Precision: what is computed in float32 at least when the rest of a model computes in a narrower type."""

from typing import Any

import jax
import jax.numpy as jnp


def at_least_float32(dtype: Any) -> jnp.dtype:
    """The dtype of parameters, statistics, softmax and logits: float32, or float64 where the model computes in it."""
    return jnp.promote_types(dtype, jnp.float32)


def wide(x: jax.Array) -> jax.Array:
    """The array in at least float32: in half precision squares overflow and small constants vanish.

    Args:
        x: floating, of any shape.

    Returns:
        float32 or float64, of the same shape.
    """
    return x.astype(at_least_float32(x.dtype))
