"""The gradient penalty, which holds a critic near slope 1 between real and generated images."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def interpolate(real: jax.Array, fake: jax.Array, t: jax.Array) -> jax.Array:
    """`t real + (1 - t) fake`, row by row. Args: real, fake [b, ...]; t [b] in 0..1. Returns: [b, ...]."""
    t = t.reshape(-1, *[1] * (real.ndim - 1)).astype(real.dtype)  # [b, 1, ...]
    return t * real + (1 - t) * fake


def gradient_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`(|grad f(x)| - 1)^2` of each row.

    The rows' gradients come from one backward pass of the sum of all scores, so the critic must not mix rows.

    Args:
        critic: scores [b] of x.
        x: [b, ...].

    Returns:
        [b].

    Reference: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", equation 3.
    """
    slopes = jax.grad(lambda x: critic(x).sum())(x).reshape(x.shape[0], -1)  # [b, n]
    norm = jnp.sqrt(jnp.square(slopes).sum(-1) + 1e-12)  # the root of 0 has no gradient
    return jnp.square(norm - 1)
