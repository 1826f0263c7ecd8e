"""Normalisation of tokens of texts of different lengths: what is padding must not count."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.core.parallel import sum_devices
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.ops.precision import at_least_float32


class TokenBatchNorm(nn.Module):
    """Batch normalisation over the tokens that are there: of all texts, without what is padding.

    `mean = sum_bt m_bt x_bt / sum_bt m_bt` with m = 1 for a token and 0 for padding, the variance likewise, over the
    global batch whatever the layout. "batch_stats" holds the running averages for evaluations. Padding is normalised
    too, by the statistics of the others; it is not looked at.

    Attributes:
        momentum: weight of the new batch in the running averages.
        epsilon: added to the variance.
        dtype: of the result.

    Reference: Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, lengths: jax.Array, train: bool) -> jax.Array:
        """Args: x float [b, t, c]; lengths int [b]; train: by the batch, else by averages. Returns: array like x."""
        wide, c = at_least_float32(self.dtype), x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,), wide)
        bias = self.param("bias", nn.initializers.zeros, (c,), wide)
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), wide)
        var = self.variable("batch_stats", "var", jnp.ones, (c,), wide)
        x, now = x.astype(wide), (mean.value, var.value)
        if train:
            if self.is_initializing():
                now = token_moments(x, lengths, lambda tree: tree)
            else:
                now = token_moments(x, lengths, sum_devices)
                for average, new in zip((mean, var), now, strict=True):
                    average.value = (1 - self.momentum) * average.value + self.momentum * new
        y = (x - now[0][None, None]) * (scale * lax.rsqrt(now[1] + self.epsilon))[None, None]
        return (y + bias[None, None]).astype(self.dtype)


def token_moments(x: jax.Array, lengths: jax.Array, total: Callable[[Any], Any]) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance of the tokens that are there, in two passes.

    Args:
        x: float [b, t, c].
        lengths: int [b].
        total: adds over devices that hold other rows.

    Returns:
        (mean [c], variance [c]); NaN where there is no token.
    """
    real = (jnp.arange(x.shape[1])[None] < lengths[:, None])[..., None]  # [b, t, 1]
    count = total(real.sum().astype(x.dtype))
    mean = total(jnp.where(real, x, 0).sum((0, 1))) / count
    return mean, total(jnp.where(real, jnp.square(x - mean[None, None]), 0).sum((0, 1))) / count


def token_norm(norm: str, dtype: Any, name: str, epsilon: float = 1e-6) -> Callable[..., jax.Array]:
    """A normalisation `(x [b, t, c], lengths [b], train) -> array like x`: "layer" or "batch".

    Args:
        norm: which.
        dtype: of the result.
        name: of the layer.
        epsilon: of layer normalisation.

    Raises:
        ConfigError: for another one.
    """
    if norm == "batch":
        return TokenBatchNorm(dtype=dtype, name=name)
    if norm != "layer":
        raise ConfigError(f"config.model.norm={norm!r} of tokens with lengths must be 'layer' or 'batch'")
    layer = layer_norm(dtype, name, epsilon)
    return lambda x, lengths, train: layer(x)
