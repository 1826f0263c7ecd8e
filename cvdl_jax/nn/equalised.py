"""Layers with equalised learning rates, and the deviation of a batch as a feature: parts of progressive GANs.

A weight begins as N(0, 1) and is multiplied by `sqrt(2 / fan_in)`, He's constant, each time it is used. Under a rule
that divides a gradient by its size, as Adam does, every weight then learns at the same speed relative to its range.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import real_rows
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.conv import Conv, conv_general_dilated
from cvdl_jax.ops.precision import at_least_float32

STANDARD = nn.initializers.normal(1.0)


def scale_of(shape: tuple[int, ...], gain: float = 2**0.5) -> float:
    """`gain / sqrt(fan_in)` of a kernel [..., n_in, n_out].

    Reference: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation", section
        4.1; He et al. 2015, equation 10, for the constant.
    """
    return gain / math.sqrt(math.prod(shape[:-1]))


class EqualisedDense(nn.Module):
    """`x (c m W) + m b` with W ~ N(0, 1), `c = gain / sqrt(n_in)`.

    Attributes:
        features: of the result.
        gain: sqrt(2) before a rectifier, 1 for a linear result.
        rate: m, of which Adam's learning rate is multiplied; W begins as N(0, 1 / m^2).
        use_bias: whether there is one.
        dtype: of the product.

    Reference: Karras et al. 2018, section 4.1; Karras et al. 2019, "A Style-Based Generator Architecture", section C,
        for m = 0.01 of the mapping network.
    """

    features: int
    gain: float = 2**0.5
    rate: float = 1.0
    use_bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [..., n_in]. Returns: [..., features]."""
        wide, shape = at_least_float32(self.dtype), (x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.normal(1 / self.rate), shape, wide)
        y = x.astype(self.dtype) @ (kernel * (scale_of(shape, self.gain) * self.rate)).astype(self.dtype)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), wide)
        return y + (self.rate * bias).astype(self.dtype).reshape((1,) * (y.ndim - 1) + (-1,))


def _scaled(x: jax.Array, kernel: jax.Array, *args: Any, **how: Any) -> jax.Array:
    return conv_general_dilated(x, kernel * scale_of(kernel.shape), *args, **how)


def _linear(x: jax.Array, kernel: jax.Array, *args: Any, **how: Any) -> jax.Array:
    return conv_general_dilated(x, kernel * scale_of(kernel.shape, 1.0), *args, **how)


class EqualisedConv(Conv):
    """A convolution before a rectifier: its kernel ~ N(0, 1) is multiplied by `sqrt(2 / fan_in)`. Its `kernel_init` is
    left as it is.
    """

    kernel_init: Any = STANDARD
    conv_general_dilated: Any = _scaled


class EqualisedLinearConv(Conv):
    """The same for a result that no rectifier follows, with `1 / sqrt(fan_in)`; its `kernel_init` is left as it is."""

    kernel_init: Any = STANDARD
    conv_general_dilated: Any = _linear


def batch_deviation(x: jax.Array, group: int = 4) -> jax.Array:
    """One more channel: the standard deviation over a group of rows, averaged over places and channels.

    A critic sees by it that all images of a group are alike. Groups are of rows that follow each other, which lie on
    one device; rows of padding do not count.

    Args:
        x: float [b, h, w, c].
        group: rows; of fewer rows it is all of them.

    Returns:
        [b, h, w, c + 1].

    Raises:
        ConfigError: if groups do not divide the rows.

    Reference: Karras et al. 2018, section 3.
    """
    b, h, w, c = x.shape
    n = min(group, b)
    if b % n:
        raise ConfigError(f"config.model.discriminator.group={group} does not divide the {b} images of a device")
    wide, mask = x.astype(at_least_float32(x.dtype)).reshape(b // n, n, h, w, c), real_rows()
    real = jnp.ones((b, 1), wide.dtype) if mask is None else mask.astype(wide.dtype)[:, None]
    share = real.reshape(b // n, n, 1, 1, 1)
    share = share / jnp.maximum(share.sum(1, keepdims=True), 1)
    mean = (share * wide).sum(1, keepdims=True)
    variance = (share * jnp.square(wide - mean)).sum(1)  # [b / n, h, w, c]
    deviation = jnp.sqrt(variance + 1e-8).mean((1, 2, 3))  # [b / n]
    channel = jnp.broadcast_to(jnp.repeat(deviation, n)[:, None, None, None], (b, h, w, 1))
    return jnp.concatenate([x, channel.astype(x.dtype)], -1)
