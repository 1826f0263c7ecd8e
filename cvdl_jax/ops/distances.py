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
    return length(squared(x, y))


def length(square: jax.Array) -> jax.Array:
    """The root of a squared length, whose gradient at 0 is 0; what is no number stays none."""
    zero = square == 0
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, square)))


def unit(x: jax.Array) -> jax.Array:
    """Vectors [..., e] scaled to length one, `x / |x|`; a zero vector stays zero, and its gradient is 0.

    A vector with what is no number, or whose squared length overflows, becomes NaN.
    """
    x = floats("x", x)
    square = jnp.square(x).sum(-1, keepdims=True)
    zero = square == 0
    size = jnp.sqrt(jnp.where(zero, 1, jnp.where(jnp.isinf(square), jnp.nan, square)))
    return jnp.where(zero, 0, x / size)
