"""Normalisation layers. Statistics and parameters are at least float32, whatever the model computes in."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.nn.precision import at_least_float32
from cvdl_jax.parallel import axis_name


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last, with the statistics of the *global* batch.

    `y = scale (x - mean) / sqrt(var + epsilon) + bias`, var the biased variance. The collection "batch_stats" holds
    running averages for evaluation, by Flax's convention of momentum: `running <- momentum * running + (1 - momentum)
    * batch` (PyTorch's momentum is one minus this one, and its running variance is the unbiased one).

    Under jit the batch is one global array; under pmap the devices' moments are averaged, which is exact because their
    shares of the batch are equal.

    Attributes:
        momentum: share of the old running statistics that is kept in each step.
        epsilon: added to the variance.
        dtype: of the result.

    Reference: Ioffe and Szegedy 2015, "Batch Normalization", algorithms 1 and 2.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, ..., c]; train: normalise by the batch and update the averages. Returns: array [b, ..., c]."""
        wide = at_least_float32(self.dtype)
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,), wide)
        bias = self.param("bias", nn.initializers.zeros, (c,), wide)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,), wide)
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,), wide)
        x = x.astype(wide)
        if train:
            mean, var = self._moments(x, lax.stop_gradient(running_mean.value))
            if not self.is_initializing():
                m = self.momentum
                running_mean.value = m * running_mean.value + (1 - m) * mean
                running_var.value = m * running_var.value + (1 - m) * var
        else:
            mean, var = running_mean.value, running_var.value
        scale = scale * lax.rsqrt(var + self.epsilon)
        one = (1,) * (x.ndim - 1)
        return ((x - mean.reshape(*one, c)) * scale.reshape(*one, c) + bias.reshape(*one, c)).astype(self.dtype)

    def _moments(self, x: jax.Array, shift: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and biased variance [c] in one pass over x, about a `shift` near the mean so that nothing cancels."""
        axes = tuple(range(x.ndim - 1))
        centred = x - shift.reshape((1,) * len(axes) + (-1,))
        first, second = centred.mean(axes), jnp.square(centred).mean(axes)
        axis = axis_name()
        if axis is not None and not self.is_initializing():
            first, second = lax.pmean((first, second), axis)
        return first + shift, jnp.maximum(second - jnp.square(first), 0)  # rounding can leave a variance of -1e-9


def layer_norm(dtype: Any, name: str | None = None) -> nn.LayerNorm:
    """Layer normalisation over the last axis, `epsilon` 1e-6 as in Vision Transformers.

    Reference: Ba et al. 2016, "Layer Normalization", equation 3.
    """
    return nn.LayerNorm(
        epsilon=1e-6, dtype=dtype, param_dtype=at_least_float32(dtype), use_fast_variance=False, name=name
    )
