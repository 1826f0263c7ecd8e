"""Convolutional layers in any number of dimensions, with all arguments of `torch.nn.Conv1d`, `Conv2d` and `Conv3d`.

`nn/conv.py:Conv`, what image networks are made of, pads as Flax does ("SAME" keeps ceil(n / stride) pixels). The layer
here pads as torch does, and has what torch's has not: padding with the mean, "full", and true convolution.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn import conv
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.init import HE_NORMAL
from cvdl_jax.ops.conv_arithmetic import Padding, Sizes, check_groups
from cvdl_jax.ops.convolution import conv_transpose, convolve, correlate


class Convolution(nn.Module):
    """`y_j = bias_j + sum_k K_{j,k} * x_k` over the channels k of the group of feature j; * is the cross-correlation.

    Names of fields and parameters are those of `flax.linen.Conv`; torch's are in brackets.

    Attributes:
        features: channels of the output [out_channels].
        kernel_size: sides of the kernel, one for each dimension.
        strides: pixels between neighbouring windows [stride].
        padding: pixels on both sides, pairs (low, high), "valid", "same" or "full" (`ops/conv_arithmetic.py:pads`).
        padding_mode: "zeros", "replicate", "mean", "reflect" or "circular" (`ops/convolution.py:PADDING_MODES`).
        kernel_dilation: pixels between neighbouring weights [dilation].
        feature_group_count: groups of channels that do not see each other [groups].
        use_bias: whether there is one [bias].
        flip: true convolution, with the kernel turned round, in place of the cross-correlation.
        kernel_init: initialiser of the kernel [*kernel_size, channels / groups, features].
        bias_init: initialiser of the bias.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sizes = 1
    padding: Padding = 0
    padding_mode: str = "zeros"
    kernel_dilation: Sizes = 1
    feature_group_count: int = 1
    use_bias: bool = True
    flip: bool = False
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, *sides, c]. Returns: [b, *windows, features]. Raises: ConfigError, for sizes that do not fit."""
        groups = self.feature_group_count
        check_groups(x.shape[-1], self.features, groups)
        shape = (*self.kernel_size, x.shape[-1] // groups, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype).astype(self.dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        operation = convolve if self.flip else correlate
        return operation(
            x.astype(self.dtype), kernel, bias, stride=self.strides, padding=self.padding, groups=groups,
            padding_mode=self.padding_mode, dilation=self.kernel_dilation, conv=conv.conv_general_dilated,
        )  # fmt: skip


class TransposedConvolution(nn.Module):
    """Every pixel adds the kernel, times its value, to a larger image; with all arguments of `ConvTranspose2d`.

    Sides become `(n - 1) strides - 2 padding + dilation (k - 1) + output_padding + 1`. `nn/conv.py:ConvTranspose`, with
    which generators double images, has a faster form for kernels that the strides divide.

    Attributes:
        features: channels of the output [out_channels].
        kernel_size: sides of the kernel, one for each dimension.
        strides: pixels of the result between neighbouring pixels [stride].
        padding: pixels that are cut off the result, as in `Convolution`.
        output_padding: more pixels at the end of each side.
        kernel_dilation: pixels between neighbouring weights [dilation].
        feature_group_count: groups of channels that do not see each other [groups].
        use_bias: whether there is one [bias].
        kernel_init: initialiser of the kernel [*kernel_size, channels, features / groups].
        bias_init: initialiser of the bias.
        dtype: of the computation.
        param_dtype: of the parameters.
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sizes = 1
    padding: Padding = 0
    output_padding: Sizes = 0
    kernel_dilation: Sizes = 1
    feature_group_count: int = 1
    use_bias: bool = True
    kernel_init: Callable[..., jax.Array] = nn.initializers.lecun_normal()
    bias_init: Callable[..., jax.Array] = nn.initializers.zeros_init()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, *sides, c]. Returns: [b, *larger sides, features]. Raises: ConfigError, as `conv_transpose`."""
        groups = self.feature_group_count
        check_groups(x.shape[-1], self.features, groups)
        shape = (*self.kernel_size, x.shape[-1], self.features // groups)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype).astype(self.dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        return conv_transpose(
            x.astype(self.dtype), kernel, bias, stride=self.strides, padding=self.padding, groups=groups,
            output_padding=self.output_padding, dilation=self.kernel_dilation,
        )  # fmt: skip


def bilinear_kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """The kernel with which a transposed convolution interpolates, each channel for itself; for sides 2s and stride s.

    Reference: Long et al. 2015, "Fully Convolutional Networks", section 3.3.
    """
    *window, channels, features = shape
    kernel = jnp.eye(channels, features, dtype=dtype)
    for k in reversed(window):
        factor = (k + 1) // 2
        line = 1 - jnp.abs(jnp.arange(k) - (2 * factor - 1 - k % 2) / 2) / factor
        kernel = line.astype(dtype).reshape(-1, *(1,) * kernel.ndim) * kernel[None]
    return kernel


def depthwise(channels: int, kernel_size: Sequence[int], multiplier: int = 1, **how: Any) -> Convolution:
    """`multiplier` filters for each channel, which see no other one. `how`: other fields of `Convolution`."""
    return Convolution(channels * multiplier, kernel_size, feature_group_count=channels, **how)


def pointwise(features: int, dimensions: int = 2, **how: Any) -> Convolution:
    """A 1 x 1 convolution: the same dense layer on the channels of every pixel. `how`: fields of `Convolution`."""
    return Convolution(features, (1,) * dimensions, **how)


class SeparableConvolution(nn.Module):
    """A depthwise convolution, then a pointwise one: `1 / features + 1 / (k k)` of the cost of the whole one.

    It is a `Convolution` with the kernel `D_c P_{c,j}`, of rank one in window and feature for each channel c.

    Attributes:
        features: channels of the output.
        kernel_size: of the depthwise convolution, as are `strides`, `padding`, `padding_mode` and `kernel_dilation`.
        use_bias: whether both have one.
        dtype: of the computation.
        param_dtype: of the parameters.

    Reference: Howard et al. 2017, "MobileNets", section 3.1 (there with batch normalisation and ReLU after each).
    """

    features: int
    kernel_size: Sequence[int]
    strides: Sizes = 1
    padding: Padding = 0
    padding_mode: str = "zeros"
    kernel_dilation: Sizes = 1
    use_bias: bool = True
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, *sides, c]. Returns: [b, *windows, features]."""
        types = {"use_bias": self.use_bias, "dtype": self.dtype, "param_dtype": self.param_dtype}
        x = depthwise(
            x.shape[-1], self.kernel_size, strides=self.strides, padding=self.padding, padding_mode=self.padding_mode,
            kernel_dilation=self.kernel_dilation, name="depthwise", **types,
        )(x)  # fmt: skip
        return pointwise(self.features, len(self.kernel_size), name="pointwise", **types)(x)


def identity_kernel(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """Passes every channel on: 1 in the middle of the window where input and output channel are one, else 0."""
    *window, channels, features = shape
    middle = tuple(k // 2 for k in window)
    return jnp.zeros(shape, dtype).at[middle].set(jnp.eye(channels, features, dtype=dtype))


class ContextModule(nn.Module):
    """Dilated 3 x 3 convolutions one after the other: a receptive field that doubles at the same number of pixels.

    With dilations 1, 2, 4, ..., 2^(n-1) a unit sees all of `2^(n+1) - 1` pixels (3, 7, 15, 31 ...); with one dilation
    for all it sees fewer, and only every d-th of them.

    Attributes:
        dilations: of the layers. The paper's module has (1, 1, 2, 4, 8, 16, 1).
        features: channels of the layers; 0 for those of the input.
        activation: after every layer.
        kernel_init: initialiser of the kernels; `identity_kernel` is the paper's, so that the module begins as the
            identity (before ReLU, of what is positive).
        dtype: of the computation.
        param_dtype: of the parameters.

    Reference: Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions", section 3 and table 1. The
        last layer there, 1 x 1 without ReLU, is the head of whoever uses this.
    """

    dilations: Sequence[int] = (1, 1, 2, 4, 8, 16, 1)
    features: int = 0
    activation: str = "relu"
    kernel_init: Callable[..., jax.Array] = HE_NORMAL
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, *sides, c]. Returns: [b, *sides, features]."""
        g, features = activation(self.activation), self.features or x.shape[-1]
        for i, dilation in enumerate(self.dilations):
            layer = Convolution(
                features, (3,) * (x.ndim - 2), padding="same", kernel_dilation=dilation, kernel_init=self.kernel_init,
                dtype=self.dtype, param_dtype=self.param_dtype, name=f"conv{i}",
            )  # fmt: skip
            x = g(layer(x))
        return x
