"""The perceptron behind an encoder whose output the losses of self-supervision compare, and which is thrown away."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.norms import keeps_bias, normaliser
from cvdl_jax.ops.precision import at_least_float32


class Projector(nn.Module):
    """Layers `g(norm(W x))`, a last linear layer, and perhaps scores of prototypes.

        z = W_k g(norm(W_(k-1) ... x)),     scores_j = z / |z| . c_j / |c_j|

    Attributes:
        hidden: units of the layers before the last; () for a linear map.
        size: of z.
        norm: behind every layer but the last, by its name in a config: "batch", "layer", "none" ...
        activation: g, by its name in a config.
        last_norm: whether z is normalised too.
        prototypes: number of the unit vectors c; 0 for z itself.
        dtype: of the products; the result is at least float32.

    Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", section 2.1
        (one hidden layer); Grill et al. 2020, "Bootstrap Your Own Latent", section 3.3 (norm behind the hidden layer
        alone); Caron et al. 2021, "Emerging Properties in Self-Supervised Vision Transformers", section 3.1
        (prototypes).
    """

    hidden: tuple[Size, ...] = (128,)
    size: Size = 64
    norm: str = "batch"
    activation: str = "relu"
    last_norm: bool = False
    prototypes: Counted = 0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x float [b, d]; train: batch statistics. Returns: float [b, size], or [b, prototypes]."""
        wide, (kind, norm) = at_least_float32(self.dtype), normaliser(self.norm, self.dtype)
        biased = keeps_bias(kind, "before")
        x = x.astype(self.dtype)
        for i, units in enumerate(self.hidden):
            x = nn.Dense(units, biased, dtype=self.dtype, param_dtype=wide, name=f"dense{i}")(x)
            x = activation(self.activation)(norm(x, train, f"norm{i}"))
        x = nn.Dense(self.size, biased or not self.last_norm, dtype=wide, param_dtype=wide, name="last")(x)
        if self.last_norm:
            x = norm(x, train, "last_norm")
        if not self.prototypes:
            return x.astype(wide)
        vectors = self.param("prototypes", nn.initializers.lecun_normal(), (self.size, self.prototypes), wide)
        return _unit(x.astype(wide), -1) @ _unit(vectors, 0)


def _unit(x: jax.Array, axis: int) -> jax.Array:
    square = (x * x).sum(axis, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(square, 1e-12))
