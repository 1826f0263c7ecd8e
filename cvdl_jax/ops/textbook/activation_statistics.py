"""The size of activations and of gradients in every layer of a deep network with random weights."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax


def activations(x: jax.Array, kernels: jax.Array, g: Callable[[jax.Array], jax.Array]) -> jax.Array:
    """The activations of every layer, `a_l = g(a_{l-1} W_l)`.

    Args:
        x: [b, n], a_0.
        kernels: [layers, n, n], W_1 ...
        g: element-wise function.

    Returns:
        [layers, b, n].
    """

    def layer(a: jax.Array, w: jax.Array) -> tuple[jax.Array, jax.Array]:
        a = g(a @ w)  # [b, n]
        return a, a

    return lax.scan(layer, x, kernels)[1]


def gradients(
    x: jax.Array, kernels: jax.Array, g: Callable[[jax.Array], jax.Array], cotangent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The gradients of `J = sum(cotangent * a_L)` in every layer, by automatic differentiation.

    Args:
        x: [b, n], a_0.
        kernels: [layers, n, n].
        g: element-wise function.
        cotangent: [b, n], dJ / da_L.

    Returns:
        dJ / dz_l, z_l = a_{l-1} W_l, of every layer [layers, b, n]; dJ / dW_l [layers, n, n].
    """

    def last(shifts: jax.Array, kernels: jax.Array) -> jax.Array:
        def layer(a: jax.Array, both: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            w, shift = both
            return g(a @ w + shift), None

        return lax.scan(layer, x, (kernels, shifts))[0]

    shifts = jnp.zeros((len(kernels), *x.shape), x.dtype)
    return jax.vjp(last, shifts, kernels)[1](cotangent)


def mean_and_std(values: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over units and examples, [layers] both. Args: values [layers, b, n]."""
    # Scaled first: the square of 1e-25 is zero in float32.
    scale = jnp.maximum(jnp.abs(values).max((1, 2)), jnp.finfo(values.dtype).tiny)  # [layers]
    values = values / scale[:, None, None]
    return values.mean((1, 2)) * scale, values.std((1, 2)) * scale


def distinct(vectors: jax.Array, tolerance: float = 1e-4) -> jax.Array:
    """The number of different vectors, to find units that are copies of each other.

    Args:
        vectors: [n, d].
        tolerance: vectors count as one if they differ by no more, relative to the largest element of all.

    Returns:
        int32 [], the number of vectors without an earlier one that is near.
    """
    apart = jnp.abs(vectors[:, None] - vectors[None]).max(-1)  # [n, n]
    near = apart <= tolerance * jnp.abs(vectors).max()
    return (~jnp.tril(near, -1).any(1)).sum(dtype=jnp.int32)
