"""Activation functions by the name that a config gives them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError, nearest

_ACTIVATIONS = {
    "identity": lambda x: x,
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,  # slope 0.01
    "elu": jax.nn.elu,
    "tanh": jnp.tanh,
    "lecun_tanh": lambda x: 1.7159 * jnp.tanh(2 / 3 * x),  # LeCun et al. 1998, appendix A
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The element-wise function called `name`.

    Raises:
        ConfigError: for an unknown name, with the nearest known one.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"config.model.activation={name!r} is not known; {nearest(name, _ACTIVATIONS)}")
    return _ACTIVATIONS[name]
