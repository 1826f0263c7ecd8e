"""A learned factor for each channel of a residual branch, small at the beginning."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.ops.precision import at_least_float32


class LayerScale(nn.Module):
    """`y = scale x`, scale of the size of the last axis.

    Attributes:
        initial: first value of every factor.
        dtype: of the result.

    Reference: Touvron et al. 2021, "Going deeper with Image Transformers", equation 4.
    """

    initial: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [..., c]. Returns: array like x."""
        init = nn.initializers.constant(self.initial)
        scale = self.param("scale", init, (x.shape[-1],), at_least_float32(self.dtype))
        return x.astype(self.dtype) * scale.astype(self.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
