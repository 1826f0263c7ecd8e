"""MobileNet v2: inverted residuals between thin layers without activation, `y = x + P(D(E(x)))`, ReLU6 inside.

E expands every pixel's channels t-fold, D filters each channel by 3x3, P projects linearly. A ReLU in the thin layers
would lose information, so P has none.
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
from cvdl_jax.nn.inverted_residual import Style, layer_names, linear_names, run_blocks
from cvdl_jax.ops.compound_scaling import round_channels
from cvdl_jax.ops.precision import at_least_float32

STAGES = (  # expansion t, channels c, repeats n, stride s of the first
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
VARIANTS = {
    # Sandler et al. 2018, "MobileNetV2: Inverted Residuals and Linear Bottlenecks", table 2; table 4 gives 3.4 M
    # parameters and 300 M multiply-adds, and 6.9 M and 585 M for the width 1.4. torchvision's count
    "mobilenet_v2": {
        "input": (224, 224, 3), "num_classes": 1000, "dropout": 0.2, "macs": 300_774_272, "params": 3_504_872,
    },
    "mobilenet_v2_140": {
        "input": (224, 224, 3), "num_classes": 1000, "dropout": 0.2, "width": 1.4,
        "macs": 582_195_824, "params": 6_108_776,
    },
    "mobilenet_v2_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "stem": 8, "stages": ((1, 8, 1, 1), (2, 8, 2, 2)), "last": 32,
        "macs": 45_888, "params": 2_010,
    },
}  # fmt: skip


class MobileNetV2(nn.Module):
    """A 3x3 stem of stride 2, inverted residuals, a 1x1 convolution, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        width: multiplier of all channels, rounded to multiples of 8; it does not shrink the last convolution.
        stem: channels of the first convolution.
        stages: (expansion, channels, repeats, stride of the first block) of every stage, before `width`.
        last: channels of the last convolution.
        act: activation inside the blocks, after the stem and the last convolution.
        norm: normalisation behind every convolution (`nn/norms.py`).
        dropout: rate before the head.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's by fan-out.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    width: Positive = 1.0
    stem: Size = 32
    stages: tuple[tuple[Size, Size, Size, Size], ...] = STAGES
    last: Size = 1280
    act: str = "relu6"
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
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, num_classes]; {"stages": the last maps of every resolution, "pre_logits": [b, last]}.

        Raises:
            ConfigError: for images that are too small, or no stages.
        """
        if not self.stages:
            raise ConfigError("config.model.stages=() needs at least one (expansion, channels, repeats, stride)")
        check_images(x, self, "mobilenet_v2", 2 * math.prod(stage[3] for stage in self.stages), "stem")
        style = Style(self.norm, self.kernel_init, self.dtype)
        x = style.layer(x.astype(self.dtype), train, "stem", round_channels(self.width * self.stem), 3, 2, act=self.act)
        x, stages = run_blocks(x, train, self._blocks(), style, self.remat)
        x = style.layer(x, train, "last", round_channels(max(1.0, self.width) * self.last), act=self.act)
        x = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, last]
        y = Dropout(self.dropout)(x, train)
        init = initializer(self.kernel_init, default=nn.initializers.normal(0.01))
        return head(y, self.num_classes, self.dtype, init), {"stages": stages, "pre_logits": x}

    def _blocks(self) -> list[dict[str, Any]]:
        """The fields of every block."""
        inputs, count = round_channels(self.width * self.stem), sum(n for _, _, n, _ in self.stages)
        blocks: list[dict[str, Any]] = []
        for expansion, channels, repeats, first in self.stages:
            features = round_channels(self.width * channels)
            for j in range(repeats):
                stride, rate = first if j == 0 else 1, self.drop_path * len(blocks) / max(count - 1, 1)
                sizes = {"features": features, "expanded": expansion * inputs, "kernel": 3, "stride": stride}
                blocks.append({**sizes, "act": self.act, "drop_path": rate})
                inputs = features
        return blocks


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> MobileNetV2:
    """A variant of the table with overrides."""
    return from_row(MobileNetV2, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (torchvision's name, transform)}, for "mobilenet_v2"."""
    names = layer_names("stem", "features.0.0", "features.0.1") | linear_names("head", "classifier.1")
    blocks = [expansion for expansion, _, repeats, _ in STAGES for _ in range(repeats)]
    for i, expansion in enumerate(blocks):
        torch, k = f"features.{i + 1}.conv", 0
        if expansion > 1:
            names |= layer_names(f"block{i}/expand", f"{torch}.0.0", f"{torch}.0.1")
            k = 1
        names |= layer_names(f"block{i}/depthwise", f"{torch}.{k}.0", f"{torch}.{k}.1")
        names |= layer_names(f"block{i}/project", f"{torch}.{k + 1}", f"{torch}.{k + 2}")
    last = f"features.{len(blocks) + 1}"
    return names | layer_names("last", f"{last}.0", f"{last}.1")
