"""ReLU whose slope on the negative side is learned."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn.precision import at_least_float32


class PReLU(nn.Module):
    """Parametric ReLU, `g(z) = z` for z >= 0, else `a z`; `dg/da = min(z, 0)`. The slope `a` has no weight decay.

    Attributes:
        initial: first value of every slope.
        shared: one slope for the layer instead of one for each channel (the last axis).
        dtype: of the result; None for that of the input.

    Reference: He et al. 2015, "Delving Deep into Rectifiers", equations 1 to 3, and section 2.1 for 0.25.
    """

    initial: float = 0.25
    shared: bool = False
    dtype: Any = None

    @nn.compact
    def __call__(self, z: jax.Array) -> jax.Array:
        """Args: z float [..., c]. Returns: array like z."""
        dtype = self.dtype or z.dtype
        shape = (1,) if self.shared else (z.shape[-1],)
        slope = self.param("slope", nn.initializers.constant(self.initial), shape, at_least_float32(dtype))
        slope = slope.astype(dtype).reshape((1,) * (z.ndim - 1) + shape)
        return jnp.where(z >= 0, z, slope * z).astype(dtype)
