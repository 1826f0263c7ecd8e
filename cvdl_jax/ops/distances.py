"""Distances between vectors, whose gradient is finite where two of them are equal."""

import jax
import jax.numpy as jnp

from cvdl_jax.ops.value_checks import floats


def squared(x: jax.Array, y: jax.Array) -> jax.Array:
    """Squared Euclidean distances of all pairs, `|x_i - y_j|^2`, from differences: exactly zero where they are equal.

    Args:
        x: [b, e].
        y: [n, e].

    Returns:
        float32 [b, n], or of the inputs' wider dtype.
    """
    return jnp.square(floats("x", x)[:, None] - floats("y", y)[None]).sum(-1)


def euclidean(x: jax.Array, y: jax.Array) -> jax.Array:
    """Euclidean distances of all pairs, `|x_i - y_j|`; the gradient at 0 is 0. Arguments and result as of `squared`."""
    square = squared(x, y)
    apart = square > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., e] scaled to length one, `x / |x|`; a zero vector stays zero, and its gradient is 0."""
    x = floats("x", x)
    square = jnp.square(x).sum(-1, keepdims=True)
    there = square > 0
    return jnp.where(there, x / jnp.sqrt(jnp.where(there, square, 1)), 0)
