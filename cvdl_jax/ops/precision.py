"""A precision in which squares, sums and Fourier transforms of half-precision arrays are safe."""

from typing import Any

import jax
import jax.numpy as jnp


def wide(x: jax.Array) -> jax.Array:
    """The array in at least float32: in half precision squares overflow and small constants vanish.

    Args:
        x: floating, of any shape.

    Returns:
        float32 or float64, of the same shape.
    """
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


# Which precision parts of a model keep when the rest computes in a narrower one.


def at_least_float32(dtype: Any) -> jnp.dtype:
    """The dtype of parameters, statistics, softmax and logits: float32, or float64 where the model computes in it."""
    return jnp.promote_types(dtype, jnp.float32)
