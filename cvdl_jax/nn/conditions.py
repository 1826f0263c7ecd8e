"""Class labels that a generator or a discriminator is told: as one-hot vectors, or as one more channel of a map."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.precision import at_least_float32


def one_hot(label: jax.Array | None, labels: int, rows: int, module: nn.Module) -> jax.Array:
    """The labels that a network is told, as [b, labels].

    Args:
        label: int [b], or float [b, labels] for mixtures; None while the network is initialised, for class 0.
        labels: how many classes.
        rows: b.
        module: the bound network.

    Raises:
        ConfigError: if there is not a label for each row, or there are other numbers of classes.
    """
    if label is None and module.is_initializing():
        label = jnp.zeros(rows, jnp.int32)
    if label is None or len(label) != rows or (label.ndim == 2 and label.shape[1] != labels):
        got = "none" if label is None else f"labels of shape {label.shape}"
        raise ConfigError(
            f"this {type(module).__name__.lower()} is told one of {labels} classes for each of {rows} rows, got {got}; "
            "set its field labels to the number of classes, or to 0"
        )
    return label if label.ndim == 2 else jax.nn.one_hot(label, labels)


class LabelChannel(nn.Module):
    """A label as a channel: an embedding of few numbers, and a linear map of it to every place.

    Attributes:
        embedding: numbers of the embedding.
        size: (h, w) of the channel.
        dtype: of the result.

    Reference: Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", section 3.2, for conditions as
        further input; Denton et al. 2015, "Deep Generative Image Models using a Laplacian Pyramid of Adversarial
        Networks", section 3.2, for a map of it.
    """

    embedding: int
    size: tuple[int, int]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, told: jax.Array) -> jax.Array:
        """Args: told float [b, labels], one-hot or a mixture. Returns: [b, h, w, 1]."""
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        y = nn.Dense(self.embedding, use_bias=False, **types, name="embedding")(told.astype(self.dtype))
        y = nn.Dense(self.size[0] * self.size[1], **types, name="place")(y)
        return y.reshape(-1, *self.size, 1)
