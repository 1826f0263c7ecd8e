"""DeepLab v3: a ResNet whose last stages are dilated, and a pyramid of dilated convolutions on its last map.

The pyramid (ASPP) looks at every place with a 1x1 convolution, 3x3 convolutions of several dilations and the mean of
the whole map, side by side; a 1x1 convolution joins them. Logits are interpolated to the image, bilinear.

Reference: Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation", section 3.3 and figure 5.
    The head with one more 3x3 convolution is torchvision's.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.models.backbones.resnet_imagenet import ImageNetResNet
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import head
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style
from cvdl_jax.nn.upsampling import resized
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # torchvision's, without the auxiliary classifier that its counts include (2,365,205 of 42,004,074 and 60,996,202)
    "deeplabv3_resnet50": {
        "input": (520, 520, 3), "num_classes": 21, "block": "bottleneck", "depths": (3, 4, 6, 3),
        "params": 39_638_869,
    },
    "deeplabv3_resnet101": {
        "input": (520, 520, 3), "num_classes": 21, "block": "bottleneck", "depths": (3, 4, 23, 3),
        "params": 58_630_997,
    },
    # for small images and machines; ResNet-18 without its head 11,176,512, pyramid and head 128 channels wide
    "deeplabv3_resnet18": {
        "input": (224, 224, 3), "num_classes": 21, "block": "basic", "depths": (2, 2, 2, 2), "output_stride": 16,
        "rates": (6, 12, 18), "width": 128, "params": 13_310_933,
    },
    "deeplabv3_tiny": {
        "input": (32, 32, 3), "num_classes": 3, "block": "basic", "depths": (1, 1), "widths": (4, 6),
        "output_stride": 4, "rates": (1, 2), "width": 4, "dropout": 0.0,
        # stem 147 * 4 + 8; blocks 2 * (36 * 4 + 8), 36 * 6 + 54 * 6 + 24 + 24 + 12; pyramid 2 * 24 + 2 * 9 * 24 + 32,
        # join 16 * 4 + 8, last 36 * 4 + 8, scores 5 * 3
        "params": 2_251,
    },
}  # fmt: skip


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: one place, places further and further around it, and the whole image."""

    width: int
    rates: tuple[int, ...]
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics, dropout. Returns: [b, h, w, width]."""
        style, g = self.style, self.style.activation
        parts = [style.activate(style.convolution(self.width, 1, 1, "place", g)(x), train, "place_norm")]
        for rate in self.rates:
            y = style.convolution(self.width, 3, 1, f"rate{rate}", g, dilation=rate)(x)
            parts.append(style.activate(y, train, f"rate{rate}_norm"))
        mean = x.astype(at_least_float32(x.dtype)).mean((1, 2), keepdims=True).astype(x.dtype)
        mean = style.activate(style.convolution(self.width, 1, 1, "image", g)(mean), train, "image_norm")
        parts.append(jnp.broadcast_to(mean, (*x.shape[:3], self.width)))
        y = style.convolution(self.width, 1, 1, "join", g)(jnp.concatenate(parts, -1))
        return Dropout(self.dropout)(style.activate(y, train, "join_norm"), train)


class DeepLabV3(nn.Module):
    """A dilated ResNet, the pyramid, a 3x3 convolution and the logits.

    Attributes:
        num_classes: number of logits of a pixel.
        block: of the ResNet, "basic" or "bottleneck".
        depths: number of blocks of every stage.
        widths: of every stage.
        output_stride: pixels of the image for one of the ResNet's last map, 8 or 16.
        rates: dilations in the pyramid; the paper's are (6, 12, 18) at stride 16, and twice as much at 8.
        width: channels of the pyramid and the head.
        dropout: rate behind the pyramid.
        activation: name of the activation function.
        norm: normalisation behind every convolution (`nn/norms.py`).
        remat: recompute the ResNet's blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    block: Literal["basic", "bottleneck"]
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    output_stride: Size = 8
    rates: tuple[Size, ...] = (12, 24, 36)
    width: Size = 256
    dropout: Share = 0.5
    activation: str = "relu"
    norm: str = "batch"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages + 1).
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the maps of the ResNet's stages}.

        Raises:
            ConfigError: for images that are too small, or what the ResNet refuses.
        """
        size = x.shape[1:3]
        resnet = ImageNetResNet(
            0, self.block, self.depths, self.widths, output_stride=self.output_stride, activation=self.activation,
            norm=self.norm, remat=self.remat, kernel_init=self.kernel_init, dtype=self.dtype, name="backbone",
        )  # fmt: skip
        _, out = resnet(x, train)
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        x = Pyramid(self.width, self.rates, self.dropout, style, name="pyramid")(out["stages"][-1], train)
        x = style.activate(style.convolution(self.width, 3, 1, "conv", self.activation)(x), train, "norm")
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return resized(logits, size), {"stages": out["stages"]}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> DeepLabV3:
    """A variant of the table with overrides."""
    return from_row(DeepLabV3, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
