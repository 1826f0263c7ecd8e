"""A feature pyramid for segmentation: every level is brought to a quarter of the image, and all are added.

The pyramid carries the meaning of the coarse maps of a ResNet down to the fine ones, which know where borders are. A
level of stride 2^k passes k - 2 times a 3x3 convolution, group normalisation, ReLU and bilinear doubling (the finest
one a convolution alone); a 1x1 convolution of the sum gives the logits, which are interpolated to the image.

Reference: Kirillov et al. 2019, "Panoptic Feature Pyramid Networks", section 3 and figure 3; Lin et al. 2017, "Feature
    Pyramid Networks for Object Detection".
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Size
from cvdl_jax.models.backbones.resnet_imagenet import ImageNetResNet
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import head
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.necks import FeaturePyramid
from cvdl_jax.nn.residual import Style
from cvdl_jax.nn.upsampling import resized

VARIANTS = {
    # Kirillov et al. 2019, section 5. ResNet-50 without its head 23,508,032; the pyramid 3840 * 256 and 4 * 2304 * 256,
    # biases 8 * 256; the branch 4 * 2304 * 128 and 3 * 1152 * 128, 7 norms of 256, scores 129 * 21
    "fpn_resnet50": {
        "input": (512, 512, 3), "num_classes": 21, "block": "bottleneck", "depths": (3, 4, 6, 3), "params": 28_478_933,
    },
    # half as wide: 11,176,512; 960 * 128, 4 * 1152 * 128, 8 * 128; 4 * 1152 * 64, 3 * 576 * 64, 7 * 128, 65 * 21
    "fpn_resnet18": {
        "input": (224, 224, 3), "num_classes": 21, "block": "basic", "depths": (2, 2, 2, 2), "channels": 128,
        "width": 64, "params": 12_298_005,
    },
    "fpn_tiny": {
        "input": (32, 32, 3), "num_classes": 3, "block": "basic", "depths": (1, 1), "widths": (4, 6), "channels": 4,
        "width": 4, "norm": "group(groups=2)",
        # ResNet 147 * 4 + 8, 2 * (36 * 4 + 8), 36 * 6 + 54 * 6 + 24 + 24 + 12; pyramid 10 * 4 + 2 * 36 * 4 + 16; branch
        # 2 * 36 * 4, norms 16, scores 5 * 3
        "params": 2_163,
    },
}  # fmt: skip


class FPN(nn.Module):
    """A ResNet, a pyramid of its stages, and the branch that joins the levels.

    Attributes:
        num_classes: number of logits of a pixel.
        block: of the ResNet, "basic" or "bottleneck".
        depths: number of blocks of every stage.
        widths: of every stage.
        channels: of the pyramid's levels.
        width: channels of the branch.
        norm: normalisation of the branch (`nn/norms.py`); the paper's is that of groups.
        backbone_norm: that of the ResNet.
        activation: name of the activation function.
        remat: recompute the ResNet's blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    block: Literal["basic", "bottleneck"]
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...] = (64, 128, 256, 512)
    channels: Size = 256
    width: Size = 128
    norm: str = "group(groups=32)"
    backbone_norm: str = "batch"
    activation: str = "relu"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages + 1).
            train: batch statistics used and updated.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the maps of the ResNet's stages, "levels": those of the pyramid}.

        Raises:
            ConfigError: for images that are too small, or what the ResNet refuses.
        """
        resnet = ImageNetResNet(
            0, self.block, self.depths, self.widths, activation=self.activation, norm=self.backbone_norm,
            remat=self.remat, kernel_init=self.kernel_init, dtype=self.dtype, name="backbone",
        )  # fmt: skip
        _, out = resnet(x, train)
        stages = out["stages"]
        pyramid = FeaturePyramid(
            tuple(range(len(stages))), self.channels, kernel_init=self.kernel_init, dtype=self.dtype, name="pyramid"
        )
        levels = pyramid(stages, train)
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        joined: Any = 0
        for i, y in enumerate(levels):
            for j in range(max(i, 1)):
                y = style.convolution(self.width, 3, 1, f"level{i}_conv{j}", self.activation)(y)
                y = style.activate(y, train, f"level{i}_norm{j}")
                y = resized(y, levels[i - j - 1].shape[1:3]) if i else y
            joined = joined + y
        logits = head(joined, self.num_classes, self.dtype, initializer(self.kernel_init))
        return resized(logits, x.shape[1:3]), {"stages": stages, "levels": levels}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> FPN:
    """A variant of the table with overrides."""
    return from_row(FPN, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
