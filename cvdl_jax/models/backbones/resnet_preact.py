"""Pre-activation and Wide ResNets for small images: y = x + F(norm, g, conv ...), nothing behind the sum.

    basic:       F(x) = conv3x3(g(norm(conv3x3(g(norm(x))))))
    bottleneck:  F(x) = conv1x1(g(norm(conv3x3(g(norm(conv1x1(g(norm(x)))))))))

The shortcut is the identity through a whole stage, so that a signal and its gradient pass every block unchanged, and a
thousand layers can be trained. Where shapes differ it begins behind g(norm(x)). A norm and g follow the last block.
A Wide ResNet WRN-d-k has (d - 4) / 6 basic blocks a stage, k times as many channels, and dropout between its two
convolutions.

Reference: He et al. 2016, "Identity Mappings in Deep Residual Networks", figures 1 and 4 and appendix; Zagoruyko and
    Komodakis 2016, "Wide Residual Networks", table 1 and figure 1d.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.core.trees import STACKED
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head, remat_block, scan_blocks
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # He et al. 2016, "Identity Mappings in Deep Residual Networks", table 3
    "preact_resnet110": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (18, 18, 18), "widths": (16, 32, 64), "scan": True,
        "macs": 253_149_824, "params": 1_730_522,
    },  # 1.7 M
    "preact_resnet164": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (18, 18, 18), "widths": (64, 128, 256),
        "block": "bottleneck", "scan": True, "macs": 247_646_720, "params": 1_703_258,
    },  # 1.7 M
    "preact_resnet1001": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (111, 111, 111), "widths": (64, 128, 256),
        "block": "bottleneck", "scan": True, "macs": 1_490_995_712, "params": 10_327_706,
    },  # 10.2 M
    # Zagoruyko and Komodakis 2016, tables 4 and 5
    "wrn_40_2": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (6, 6, 6), "widths": (32, 64, 128),
        "macs": 327_599_360, "params": 2_243_546,
    },  # 2.2 M
    "wrn_16_8": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (2, 2, 2), "widths": (128, 256, 512),
        "macs": 1_548_145_664, "params": 10_961_370,
    },  # 11.0 M
    "wrn_28_10": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (4, 4, 4), "widths": (160, 320, 640),
        "macs": 5_243_328_768, "params": 36_479_194,
    },  # 36.5 M
    "preact_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "depths": (3, 1), "widths": (8, 16), "stem": 4, "block": "bottleneck",
        "scan": True, "macs": 115_872, "params": 1_002,
    },
}  # fmt: skip


class PreActivation(nn.Module):
    """One block."""

    features: int
    stride: int
    bottleneck: bool
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics, dropout. Returns: [b, ceil(h / stride), .., features]."""
        style, g = self.style, self.style.activation
        y = style.activate(x, train, "norm0")
        if self.stride != 1 or x.shape[-1] != self.features:
            x = style.convolution(self.features, 1, self.stride, "shortcut")(y)
        sides = (1, 3, 1) if self.bottleneck else (3, 3)
        for i, side in enumerate(sides):
            last = i == len(sides) - 1
            if i > 0:
                y = style.activate(y, train, f"norm{i}")
            if last:
                y = Dropout(self.dropout)(y, train)
            features = self.features // 4 if self.bottleneck and not last else self.features
            stride = self.stride if i == (1 if self.bottleneck else 0) else 1
            y = style.convolution(features, side, stride, f"conv{i}", "" if last else g)(y)
        return x + y


class PreActResNet(nn.Module):
    """A 3x3 stem, stages of pre-activated blocks that halve the image from the second on, norm, g, mean, scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        depths: number of blocks of every stage.
        widths: number of channels that a stage returns; a bottleneck has a quarter of them inside.
        stem: channels of the first convolution.
        block: "basic" or "bottleneck".
        dropout: rate in front of a block's last convolution; 0.3 in some of the Wide ResNets.
        activation: name of g.
        norm: the normalisation (`nn/norms.py`).
        remat: recompute blocks in the backward pass.
        scan: run the equal blocks of a stage, all but the first, as one loop: a network of a thousand layers compiles
            as fast as one of ten, and its parameters are stacked.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...]
    stem: Size = 16
    block: Literal["basic", "bottleneck"] = "basic"
    dropout: Share = 0.0
    activation: str = "relu"
    norm: str = "batch"
    remat: bool = False
    scan: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(stages - 1).
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^i, w / 2^i, widths[i]] per stage, the last one
            normalised, "pre_logits": [b, widths[-1]]}.

        Raises:
            ConfigError: for images that are too small, depths and widths of different length, or a bottleneck whose
                width is no multiple of 4.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        bottleneck = self.block == "bottleneck"
        if bottleneck and any(width % 4 for width in self.widths):
            raise ConfigError(f"config.model.widths={self.widths} of bottlenecks must be multiples of 4")
        check_images(x, self, "resnet", 2 ** (len(self.depths) - 1), "stem")
        block = remat_block(PreActivation, self.remat)
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        x, stages = style.convolution(self.stem, 3, 1, "stem")(x.astype(self.dtype)), []
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(1 if self.scan else depth):
                stride = 2 if i > 0 and j == 0 else 1
                x = block(width, stride, bottleneck, self.dropout, style, name=f"stage{i}_block{j}")(x, train)
            if self.scan and depth > 1:
                rest = block(width, 1, bottleneck, self.dropout, style, name=f"stage{i}{STACKED}")
                x = scan_blocks(rest, x, train, depth - 1)
            stages.append(x)
        stages[-1] = x = style.activate(x, train, "norm")
        x = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, widths[-1]]
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> PreActResNet:
    """A variant of the table with overrides."""
    return from_row(PreActResNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
