"""A precision in which squares, sums and Fourier transforms of half-precision arrays are safe."""

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
