"""MobileNet v1: depthwise-separable convolutions, a 3x3 filter for each channel and a 1x1 mixture of channels.

A separable layer costs `D_K^2 M D_F^2 + M N D_F^2` multiply-adds where a full one costs `D_K^2 M N D_F^2`, a share of
`1/N + 1/D_K^2`. Two multipliers shrink the network: `width` (alpha) of all channels, and the image's size (rho, set by
`config.data.image_size`): the costs fall about with alpha^2 rho^2.

The last depthwise convolution has stride 1; table 1 of the paper prints 2, but its input and output are both 7x7.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head, remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.inverted_residual import Style, layer_names, linear_names
from cvdl_jax.ops.compound_scaling import round_channels
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Howard et al. 2017, "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", table 1;
    # tables 4, 6 and 7 give 569 M multiply-adds and 4.2 M parameters, 325 M and 2.6 M, 149 M and 1.3 M, 41 M and 0.5 M
    "mobilenet_v1": {"input": (224, 224, 3), "num_classes": 1000, "macs": 568_740_352, "params": 4_231_976},
    "mobilenet_v1_075": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 0.75, "macs": 325_400_448, "params": 2_585_560,
    },
    "mobilenet_v1_050": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 0.5, "macs": 149_497_088, "params": 1_331_592,
    },
    "mobilenet_v1_025": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 0.25, "macs": 41_030_272, "params": 470_072,
    },
    # table 4, "Conv MobileNet": the same network with full convolutions, 4,866 M multiply-adds, 29.3 M parameters
    "mobilenet_v1_full": {
        "input": (224, 224, 3), "num_classes": 1000, "convolution": "full", "macs": 4_867_293_184, "params": 29_294_088,
    },
    # timm's form, with ReLU6
    "mobilenetv1_100": {
        "input": (224, 224, 3), "num_classes": 1000, "act": "relu6", "macs": 568_740_352, "params": 4_231_976,
    },
    "mobilenetv1_125": {
        "input": (224, 224, 3), "num_classes": 1000, "act": "relu6", "width": 1.25,
        "macs": 879_516_800, "params": 6_270_840,
    },
    "mobilenet_v1_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "stem": 8, "channels": (16, 24), "strides": (1, 2),
        "macs": 35_312, "params": 1_338,
    },
}  # fmt: skip
CHANNELS = (64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


class Block(nn.Module):
    """A depthwise and a pointwise convolution, or one full 3x3 convolution, each with norm and activation."""

    features: int
    stride: int
    convolution: str
    act: str
    style: Style

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, ceil(h / stride), ceil(w / stride), features]."""
        layer, c = self.style.layer, x.shape[-1]
        if self.convolution == "full":
            return layer(x, train, "full", self.features, 3, self.stride, act=self.act)
        x = layer(x, train, "depthwise", c, 3, self.stride, act=self.act, groups=c)
        return layer(x, train, "pointwise", self.features, act=self.act)


class MobileNetV1(nn.Module):
    """A 3x3 stem of stride 2, separable blocks, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        width: alpha; channels are rounded to multiples of 8.
        stem: channels of the first convolution, before `width`.
        channels: output channels of every block, before `width`.
        strides: of every block, 1 or 2.
        convolution: "separable", or "full" for the same network of full convolutions.
        act: activation after every norm.
        norm: normalisation behind every convolution (`nn/norms.py`).
        dropout: rate before the head.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's by fan-out.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    width: Positive = 1.0
    stem: Size = 32
    channels: tuple[Size, ...] = CHANNELS
    strides: tuple[Size, ...] = STRIDES
    convolution: Literal["separable", "full"] = "separable"
    act: str = "relu"
    norm: str = "batch"
    dropout: Share = 0.0
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least the stride of the network, 32.
            train: batch statistics used and updated.

        Returns:
            logits [b, num_classes]; {"stages": the last maps of every resolution, "pre_logits": [b, channels]}.

        Raises:
            ConfigError: for images that are too small, or channels and strides of different length.
        """
        if len(self.channels) != len(self.strides) or not self.channels:
            raise ConfigError(
                f"config.model.channels={self.channels} and strides={self.strides} need one entry per block"
            )
        total = 2
        for stride in self.strides:
            total *= stride
        check_images(x, self, "mobilenet_v1", total, "stem")
        style, block = Style(self.norm, self.kernel_init, self.dtype), remat_block(Block, self.remat)
        widths = [round_channels(self.width * c) for c in (self.stem, *self.channels)]
        x = style.layer(x.astype(self.dtype), train, "stem", widths[0], 3, 2, act=self.act)
        stages = []
        for i, (features, stride) in enumerate(zip(widths[1:], self.strides, strict=True)):
            if stride > 1:
                stages.append(x)
            x = block(features, stride, self.convolution, self.act, style, name=f"block{i}")(x, train)
        x_mean = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, channels[-1]]
        y = Dropout(self.dropout)(x_mean, train)
        logits = head(y, self.num_classes, self.dtype, initializer(self.kernel_init, default=_HEAD))
        return logits, {"stages": (*stages, x), "pre_logits": x_mean}


_HEAD = nn.initializers.normal(0.01)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> MobileNetV1:
    """A variant of the table with overrides."""
    return from_row(MobileNetV1, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (timm's name, transform)}, for "mobilenetv1_100" and "mobilenetv1_125"."""
    names = layer_names("stem", "conv_stem", "bn1") | linear_names("head", "classifier")
    i = 0
    for stage, depth in enumerate((1, 2, 2, 6, 2)):
        for j in range(depth):
            torch = f"blocks.{stage}.{j}"
            names |= layer_names(f"block{i}/depthwise", f"{torch}.conv_dw", f"{torch}.bn1")
            names |= layer_names(f"block{i}/pointwise", f"{torch}.conv_pw", f"{torch}.bn2")
            i += 1
    return names
