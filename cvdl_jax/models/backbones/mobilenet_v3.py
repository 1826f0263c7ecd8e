"""MobileNet v3, found by search: inverted residuals, squeeze-and-excitation and the hard swish `z relu6(z + 3) / 6`.

The gate of squeeze-and-excitation is the hard sigmoid; its hidden layer has a quarter of the expanded channels, rounded
to a multiple of 8. The mean over pixels stands before the last hidden layer, which makes that layer cheap.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.inverted_residual import Style, block_names, layer_names, linear_names, run_blocks
from cvdl_jax.ops.compound_scaling import round_channels
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Howard et al. 2019, "Searching for MobileNetV3", tables 1 and 2; table 3 gives 5.4 M parameters and 219 M
    # multiply-adds, and 2.5 M and 56 M (table 4). A row of `blocks`: kernel, expanded, output, squeeze-and-excitation,
    # activation, stride. torchvision's counts
    "mobilenet_v3_large": {
        "input": (224, 224, 3), "num_classes": 1000, "hidden": 1280, "dropout": 0.2,
        "blocks": (
            (3, 16, 16, False, "relu", 1), (3, 64, 24, False, "relu", 2), (3, 72, 24, False, "relu", 1),
            (5, 72, 40, True, "relu", 2), (5, 120, 40, True, "relu", 1), (5, 120, 40, True, "relu", 1),
            (3, 240, 80, False, "hard_swish", 2), (3, 200, 80, False, "hard_swish", 1),
            (3, 184, 80, False, "hard_swish", 1), (3, 184, 80, False, "hard_swish", 1),
            (3, 480, 112, True, "hard_swish", 1), (3, 672, 112, True, "hard_swish", 1),
            (5, 672, 160, True, "hard_swish", 2), (5, 960, 160, True, "hard_swish", 1),
            (5, 960, 160, True, "hard_swish", 1),
        ),
        "macs": 216_589_760, "params": 5_483_032,
    },
    "mobilenet_v3_small": {
        "input": (224, 224, 3), "num_classes": 1000, "hidden": 1024, "dropout": 0.2,
        "blocks": (
            (3, 16, 16, True, "relu", 2), (3, 72, 24, False, "relu", 2), (3, 88, 24, False, "relu", 1),
            (5, 96, 40, True, "hard_swish", 2), (5, 240, 40, True, "hard_swish", 1),
            (5, 240, 40, True, "hard_swish", 1),
            (5, 120, 48, True, "hard_swish", 1), (5, 144, 48, True, "hard_swish", 1),
            (5, 288, 96, True, "hard_swish", 2),
            (5, 576, 96, True, "hard_swish", 1), (5, 576, 96, True, "hard_swish", 1),
        ),
        "macs": 56_510_400, "params": 2_542_856,
    },
    "mobilenet_v3_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "stem": 8, "hidden": 24,
        "blocks": ((3, 8, 8, False, "relu", 1), (5, 16, 8, True, "hard_swish", 2), (3, 24, 8, True, "hard_swish", 1)),
        "macs": 56_944, "params": 4_450,
    },
}  # fmt: skip


class MobileNetV3(nn.Module):
    """A 3x3 stem of stride 2, inverted residuals, a 1x1 convolution, mean over pixels, a hidden layer, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        blocks: (kernel, expanded, output, squeeze-and-excitation, activation, stride) of every block, before `width`.
        hidden: units of the hidden layer, before `width`.
        stem: channels of the first convolution, before `width`.
        width: multiplier of all channels, rounded to multiples of 8.
        norm: normalisation behind every convolution (`nn/norms.py`).
        dropout: rate before the head.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's by fan-out.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    blocks: tuple[tuple[Size, Size, Size, bool, str, Size], ...]
    hidden: Size
    stem: Size = 16
    width: Positive = 1.0
    norm: str = "batch(momentum=0.01, epsilon=0.001)"
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
            logits [b, num_classes]; {"stages": the last maps of every resolution, "pre_logits": [b, hidden]}.

        Raises:
            ConfigError: for images that are too small, or no blocks.
        """
        if not self.blocks or any(block[0] % 2 == 0 for block in self.blocks):
            raise ConfigError(f"config.model.blocks={self.blocks} needs at least one block, and odd kernels")
        check_images(x, self, "mobilenet_v3", 2 * math.prod(block[5] for block in self.blocks), "stem")
        style, wide = Style(self.norm, self.kernel_init, self.dtype), at_least_float32(self.dtype)
        sized = lambda channels: round_channels(self.width * channels)  # noqa: E731
        x = style.layer(x.astype(self.dtype), train, "stem", sized(self.stem), 3, 2, act="hard_swish")
        blocks = [
            {
                "features": sized(features), "expanded": sized(expanded), "kernel": kernel, "stride": stride,
                "squeezed": round_channels(sized(expanded) // 4) if squeeze else 0, "act": act, "gate": "hard_sigmoid",
                "drop_path": self.drop_path * i / max(len(self.blocks) - 1, 1),
            }
            for i, (kernel, expanded, features, squeeze, act, stride) in enumerate(self.blocks)
        ]  # fmt: skip
        x, stages = run_blocks(x, train, blocks, style, self.remat)
        x = style.layer(x, train, "last", 6 * x.shape[-1], act="hard_swish")
        x = x.astype(wide).mean((1, 2)).astype(self.dtype)  # [b, 6 c]
        init = initializer(self.kernel_init, default=nn.initializers.normal(0.01))
        x = nn.Dense(sized(self.hidden), kernel_init=init, dtype=self.dtype, param_dtype=wide, name="hidden")(x)
        x = activation("hard_swish")(x)
        y = Dropout(self.dropout)(x, train)
        return head(y, self.num_classes, self.dtype, init), {"stages": stages, "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> MobileNetV3:
    """A variant of the table with overrides."""
    return from_row(MobileNetV3, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (torchvision's name, transform)}, for "mobilenet_v3_large" and "mobilenet_v3_small"."""
    names = layer_names("stem", "features.0.0", "features.0.1")
    inputs, blocks = 16, VARIANTS[variant]["blocks"]
    for i, (_, expanded, features, squeeze, _, _) in enumerate(blocks):
        has = {"expand": expanded != inputs, "squeeze": squeeze}
        names |= block_names(f"block{i}", f"features.{i + 1}.block", has)
        inputs = features
    last = f"features.{len(blocks) + 1}"
    names |= layer_names("last", f"{last}.0", f"{last}.1")
    return names | linear_names("hidden", "classifier.0") | linear_names("head", "classifier.3")
