"""Which precision parts of a model keep when the rest computes in a narrower one."""

from typing import Any

import jax.numpy as jnp


def at_least_float32(dtype: Any) -> jnp.dtype:
    """The dtype of parameters, statistics, softmax and logits: float32, or float64 where the model computes in it."""
    return jnp.promote_types(dtype, jnp.float32)
