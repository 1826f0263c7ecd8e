"""Losses of temporal-difference errors, one value per transition; `config.loss.name` is the name of one of them."""

import jax
import optax

from cvdl_jax.config.binding import Positive
from cvdl_jax.errors import ConfigError


def squared(errors: jax.Array) -> jax.Array:
    """`d^2 / 2`: a step of gradient descent with rate a moves the value by a d. Args: errors [b]. Returns: [b]."""
    return 0.5 * errors**2


def huber(errors: jax.Array, delta: Positive = 1.0) -> jax.Array:
    """Squared up to `delta`, linear beyond: large errors pull no harder. Args: errors [b]. Returns: [b].

    Reference: Mnih et al. 2015, section "Training algorithm for deep Q-networks" (clipped errors).
    """
    if delta <= 0:
        raise ConfigError(f"config.loss.delta={delta} must be positive; the usual one is 1.0")
    return optax.huber_loss(errors, delta=delta)
