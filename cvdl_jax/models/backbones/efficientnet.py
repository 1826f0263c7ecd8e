"""EfficientNet: MBConv blocks found by search (B0), scaled in depth, width and resolution together (B1 to B7).

    d = alpha^phi,   w = beta^phi,   r = gamma^phi,   alpha = 1.2, beta = 1.1, gamma = 1.15

`ops/compound_scaling.py` has the rule and the search for its constants. Each published variant rounds d, w and the
image's side: B7 has d = 3.1, w = 2.0 and 600 pixels, where phi = 6 gives 2.99, 1.77 and 518.

Padding is k // 2 on every side, as in torchvision; the first release pads as TensorFlow's SAME, to one side more where
the stride is 2. Squeeze-and-excitation has a quarter of the block's input channels, not of the expanded ones.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.inverted_residual import Style, block_names, layer_names, linear_names, run_blocks
from cvdl_jax.ops.compound_scaling import round_channels, round_layers
from cvdl_jax.ops.precision import at_least_float32

STAGES = (  # table 1: expansion, kernel, stride of the first, channels, layers
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
VARIANTS = {
    # Tan and Le 2019, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", tables 1 and 2.
    # Parameters as torchvision counts them; table 2 gives them rounded, and the multiply-adds in the comments
    "efficientnet_b0": {
        "input": (224, 224, 3), "num_classes": 1000, "dropout": 0.2, "drop_path": 0.2,
        "macs": 385_814_752, "params": 5_288_548,
    },  # 0.39 B
    "efficientnet_b1": {
        "input": (240, 240, 3), "num_classes": 1000, "depth": 1.1, "dropout": 0.2, "drop_path": 0.2,
        "macs": 686_802_832, "params": 7_794_184,
    },  # 0.70 B
    "efficientnet_b2": {
        "input": (260, 260, 3), "num_classes": 1000, "width": 1.1, "depth": 1.2, "dropout": 0.3, "drop_path": 0.2,
        "macs": 993_561_872, "params": 9_109_994,
    },  # 1.0 B
    "efficientnet_b3": {
        "input": (300, 300, 3), "num_classes": 1000, "width": 1.2, "depth": 1.4, "dropout": 0.3, "drop_path": 0.2,
        "macs": 1_827_141_392, "params": 12_233_232,
    },  # 1.8 B
    "efficientnet_b4": {
        "input": (380, 380, 3), "num_classes": 1000, "width": 1.4, "depth": 1.8, "dropout": 0.4, "drop_path": 0.2,
        "macs": 4_393_771_024, "params": 19_341_616,
    },  # 4.2 B
    "efficientnet_b5": {
        "input": (456, 456, 3), "num_classes": 1000, "width": 1.6, "depth": 2.2, "dropout": 0.4, "drop_path": 0.2,
        "norm": "batch(momentum=0.01, epsilon=0.001)", "macs": 10_266_384_752, "params": 30_389_784,
    },  # 9.9 B
    "efficientnet_b6": {
        "input": (528, 528, 3), "num_classes": 1000, "width": 1.8, "depth": 2.6, "dropout": 0.5, "drop_path": 0.2,
        "norm": "batch(momentum=0.01, epsilon=0.001)", "macs": 19_067_593_536, "params": 43_040_704,
    },  # 19 B
    "efficientnet_b7": {
        "input": (600, 600, 3), "num_classes": 1000, "width": 2.0, "depth": 3.1, "dropout": 0.5, "drop_path": 0.2,
        "norm": "batch(momentum=0.01, epsilon=0.001)", "macs": 37_745_884_192, "params": 66_347_960,
    },  # 37 B
    "efficientnet_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "stem": 8, "last": 32,
        "stages": ((1, 3, 1, 8, 1), (2, 5, 2, 8, 2)), "macs": 54_240, "params": 2_728,
    },
}  # fmt: skip


class EfficientNet(nn.Module):
    """A 3x3 stem of stride 2, MBConv stages, a 1x1 convolution, mean over pixels, dropout, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        width: factor of all channels, which are rounded to multiples of 8.
        depth: factor of the layers of every stage, rounded upwards.
        stem: channels of the first convolution, before `width`.
        stages: (expansion, kernel, stride of the first, channels, layers) of every stage, before the factors.
        last: channels of the last convolution, before `width`; 0 for four times those of the last stage.
        act: activation of the network.
        norm: normalisation behind every convolution (`nn/norms.py`).
        dropout: rate before the head.
        drop_path: rate of stochastic depth; block i of n drops with `drop_path i / n`.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's by fan-out.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    width: Positive = 1.0
    depth: Positive = 1.0
    stem: Size = 32
    stages: tuple[tuple[Size, Size, Size, Size, Size], ...] = STAGES
    last: int = 0
    act: str = "silu"
    norm: str = "batch"
    dropout: Share = 0.0
    drop_path: Share = 0.0
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least the stride of the network, 32.
            train: batch statistics used and updated, dropout and stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": the last maps of every resolution, "pre_logits": [b, last]}.

        Raises:
            ConfigError: for images that are too small, no stages, or even kernels.
        """
        if not self.stages or any(stage[1] % 2 == 0 for stage in self.stages) or self.last < 0:
            raise ConfigError(
                f"config.model.stages={self.stages} needs at least one stage and odd kernels, and last={self.last} "
                "must be 0 or more"
            )
        check_images(x, self, "efficientnet", 2 * math.prod(stage[2] for stage in self.stages), "stem")
        style = Style(self.norm, self.kernel_init, self.dtype)
        stem = round_channels(self.width * self.stem)
        x = style.layer(x.astype(self.dtype), train, "stem", stem, 3, 2, act=self.act)
        blocks = _blocks(self.stages, stem, self.width, self.depth, self.drop_path, self.act)
        x, stages = run_blocks(x, train, blocks, style, self.remat)
        last = round_channels(self.width * self.last) if self.last else 4 * x.shape[-1]
        x = style.layer(x, train, "last", last, act=self.act)
        x = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, last]
        y = Dropout(self.dropout)(x, train)
        default = nn.initializers.variance_scaling(1 / 3, "fan_out", "uniform")  # within 1 / sqrt(classes)
        init = initializer(self.kernel_init, default=default)
        return head(y, self.num_classes, self.dtype, init), {"stages": stages, "pre_logits": x}


def _blocks(stages: Any, inputs: int, width: float, depth: float, drop_path: float, act: str) -> list[dict[str, Any]]:
    """The fields of every block."""
    count = sum(round_layers(stage[4], depth) for stage in stages)
    blocks: list[dict[str, Any]] = []
    for expansion, kernel, first, channels, layers in stages:
        features = round_channels(width * channels)
        for j in range(round_layers(layers, depth)):
            sizes = {"features": features, "expanded": round_channels(expansion * inputs), "kernel": kernel}
            acts = {"act": act, "squeeze_act": act, "drop_path": drop_path * len(blocks) / count}
            blocks.append({**sizes, "stride": first if j == 0 else 1, "squeezed": max(1, inputs // 4), **acts})
            inputs = features
    return blocks


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> EfficientNet:
    """A variant of the table with overrides."""
    return from_row(EfficientNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (torchvision's name, transform)}, for "efficientnet_b0" to "efficientnet_b7"."""
    names = layer_names("stem", "features.0.0", "features.0.1") | linear_names("head", "classifier.1")
    i, depth = 0, VARIANTS[variant].get("depth", 1.0)
    for stage, (expansion, _, _, _, layers) in enumerate(STAGES, 1):
        for j in range(round_layers(layers, depth)):
            has = {"expand": expansion > 1, "squeeze": True}
            names |= block_names(f"block{i}", f"features.{stage}.{j}.block", has)
            i += 1
    last = f"features.{len(STAGES) + 1}"
    return names | layer_names("last", f"{last}.0", f"{last}.1")
