"""What blocks of residual and dense networks share: their convolutions, norms and activations, and the shortcut."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.norms import StandardisedConv, normaliser, with_activation
from cvdl_jax.ops.precision import at_least_float32

CONVOLUTIONS = {"plain": Conv, "standardised": StandardisedConv}


class Style(NamedTuple):
    """What all blocks of a network share; see the networks' attributes for what each field is."""

    norm: str = "batch"
    placement: str = "before"
    conv: str = "plain"
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    def normalise(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """The normalisation; x [b, h, w, c], the name is the layer's."""
        return normaliser(self.norm, self.dtype)[1](x, train, name)

    def activate(self, x: jax.Array, train: bool, name: str) -> jax.Array:
        """The activation function with the normalisation before or after it."""
        return with_activation(activation(self.activation), self.normalise, self.placement)(x, train, name)

    def convolution(
        self, features: int, size: int, stride: int, name: str, follows: str = "", groups: int = 1, dilation: int = 1
    ) -> nn.Conv:
        """A convolution padded by size // 2 on every side (as in PyTorch), without bias before a normalisation.

        Args:
            features: output channels.
            size: side of the kernel.
            stride: of both axes.
            name: of the layer.
            follows: the activation behind it, for the initialiser.
            groups: of channels that do not see each other; they divide the channels before and behind.
            dilation: pixels between neighbouring weights; the padding grows with it.
        """
        if self.conv not in CONVOLUTIONS:
            raise ConfigError(f"config.model.conv={self.conv!r} is not known; {nearest(self.conv, CONVOLUTIONS)}")
        pad, unbiased = size // 2 * dilation, normaliser(self.norm, self.dtype)[0] not in ("none", "rms")
        return CONVOLUTIONS[self.conv](
            features,
            (size, size),
            (stride, stride),
            padding=((pad, pad), (pad, pad)),
            kernel_dilation=(dilation, dilation),
            feature_group_count=groups,
            use_bias=not unbiased or self.placement == "after",
            kernel_init=initializer(self.kernel_init, follows or "identity"),
            dtype=self.dtype,
            param_dtype=at_least_float32(self.dtype),
            name=name,
        )


class Shortcut(nn.Module):
    """The identity where shapes agree; else option A, every stride-th pixel and zeros for the new channels (no
    parameters), or option B, a 1x1 convolution.

    Reference: He et al. 2016, section 3.3 and table 3.
    """

    features: int
    stride: int
    option: str
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        if self.option not in ("A", "B"):
            raise ConfigError(f"config.model.shortcut={self.option!r} must be 'A' (zeros) or 'B' (1x1 convolution)")
        c = x.shape[-1]
        if self.stride == 1 and c == self.features:
            return x
        if self.option == "B":
            x = self.style.convolution(self.features, 1, self.stride, "conv")(x)
            return self.style.normalise(x, train, "norm")
        if c > self.features:
            raise ConfigError(f"shortcut 'A' cannot go from {c} to {self.features} channels; use 'B'")
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.features - c)))
