"""Attention to channels and to places: squeeze-and-excitation, and the convolutional block attention module.

SE:    z_c = mean_{hw} u_c,   s = sigmoid(W2 g(W1 z)),   y = s * u
CBAM:  s = sigmoid(mlp(mean_{hw} u) + mlp(max_{hw} u)),  v = s * u
       m = sigmoid(norm(conv7x7([max_c v, mean_c v]))),  y = m * v
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import HE_NORMAL
from cvdl_jax.ops.precision import at_least_float32


def reduced(channels: int, reduction: int) -> int:
    """Hidden units of an excitation, `channels / reduction`.

    Raises:
        ConfigError: if the reduction does not divide the channels.
    """
    if channels % reduction:
        divisors = [r for r in (2, 4, 8, 16, 32) if channels % r == 0]
        raise ConfigError(
            f"config.model.reduction={reduction} does not divide {channels} channels; use one such as {divisors or 1}"
        )
    return channels // reduction


class Excitation(nn.Module):
    """`W2 g(W1 z)`, the two dense layers of both forms.

    Attributes:
        units: hidden units.
        activation: name of g.
        dtype: of the products.
        use_bias: whether both layers have one.
    """

    units: Size
    activation: str = "relu"
    dtype: Any = jnp.float32
    use_bias: bool = True

    @nn.compact
    def __call__(self, *squeezed: jax.Array) -> tuple[jax.Array, ...]:
        """Args: squeezed: arrays [b, c] that share the layers. Returns: as many arrays [b, c]."""
        types = {"use_bias": self.use_bias, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        c, g = squeezed[0].shape[-1], activation(self.activation)
        first = nn.Dense(self.units, kernel_init=HE_NORMAL, **types, name="reduce")
        second = nn.Dense(c, kernel_init=HE_NORMAL, **types, name="expand")
        return tuple(second(g(first(z))) for z in squeezed)


class SqueezeExcite(nn.Module):
    """Scales every channel by a gate that all channels' means decide.

    Attributes:
        units: hidden units; in the paper a 16th of the channels.
        activation: name of g between the two layers.
        gate: name of the function that makes the scale.
        dtype: of the result.

    Reference: Hu et al. 2018, "Squeeze-and-Excitation Networks", equations 2 to 4.
    """

    units: Size
    activation: str = "relu"
    gate: str = "sigmoid"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, h, w, c]. Returns: array like x."""
        z = x.astype(at_least_float32(self.dtype)).mean((1, 2)).astype(self.dtype)  # [b, c]
        (s,) = Excitation(self.units, self.activation, self.dtype, name="excitation")(z)
        return x * activation(self.gate)(s)[:, None, None]


class BlockAttention(nn.Module):
    """CBAM: a gate of channels from their means and maxima, then a gate of places from those of the channels.

    Attributes:
        units: hidden units of the channels' gate.
        size: side of the convolution of the places' gate.
        dtype: of the result.
        plain: the two equations as they are printed, without biases and without a normalisation of the one map.

    Reference: Woo et al. 2018, "CBAM: Convolutional Block Attention Module", equations 2 and 3; the biases of the
        perceptron and the normalisation of the one map before its sigmoid are those of the authors' code, with which
        the parameters of their tables were counted.
    """

    units: Size
    size: Size = 7
    dtype: Any = jnp.float32
    plain: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x float [b, h, w, c]; train: batch statistics. Returns: array like x."""
        wide, pad = at_least_float32(self.dtype), self.size // 2
        mean = x.astype(wide).mean((1, 2)).astype(self.dtype)  # [b, c]
        perceptron = Excitation(self.units, dtype=self.dtype, use_bias=not self.plain, name="excitation")
        both = perceptron(mean, x.max((1, 2)))
        x = x * nn.sigmoid(both[0] + both[1])[:, None, None]
        squeezed = [x.max(-1, keepdims=True), x.astype(wide).mean(-1, keepdims=True).astype(self.dtype)]
        conv = Conv(
            1, (self.size, self.size), padding=((pad, pad), (pad, pad)), use_bias=False,
            kernel_init=HE_NORMAL, dtype=self.dtype, param_dtype=wide, name="conv",
        )  # fmt: skip
        place = conv(jnp.concatenate(squeezed, -1))  # [b, h, w, 1]
        if not self.plain:
            place = BatchNorm(dtype=self.dtype, name="norm")(place, train)
        return x * nn.sigmoid(place)


def attention(kind: str, reduction: int, dtype: Any, name: str) -> Callable[[jax.Array, bool], jax.Array]:
    """The module that a block puts behind its last normalisation.

    Args:
        kind: "none", "se", "cbam", or "cbam_plain" without biases and normalisation.
        reduction: channels over hidden units.
        dtype: of the result.
        name: of the layer.

    Returns:
        `(x [b, h, w, c], train) -> array like x`, to be called in a compact method.

    Raises:
        ConfigError: for another kind, or a reduction that does not divide the channels.
    """
    if kind == "none":
        return lambda x, train: x
    if kind == "se":
        return lambda x, train: SqueezeExcite(reduced(x.shape[-1], reduction), dtype=dtype, name=name)(x)
    if kind in ("cbam", "cbam_plain"):
        how = {"dtype": dtype, "plain": kind == "cbam_plain", "name": name}
        return lambda x, train: BlockAttention(reduced(x.shape[-1], reduction), **how)(x, train)
    raise ConfigError(f"config.model.attention={kind!r} is not known; use 'none', 'se', 'cbam' or 'cbam_plain'")
