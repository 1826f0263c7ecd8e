"""ConvNeXt: a residual network built like a Transformer, with 7x7 depthwise convolutions in the place of attention.

    y = x + layer_scale(W_2 gelu(W_1 LN(depthwise_7x7(x))))

4x4 patches in the beginning, a layer norm and a 2x2 convolution of stride 2 between stages, the layer norm of the mean
over pixels before the scores.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, NotNegative, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, head, product_of_rows, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import DropPath
from cvdl_jax.nn.layer_scale import LayerScale
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Liu et al. 2022, "A ConvNet for the 2020s", section 3 and table 1: 29 M parameters and 4.5 G multiply-adds, 50 M
    # and 8.7 G, 89 M and 15.4 G, 198 M and 34.4 G; rates of stochastic depth from table 5. torchvision's counts
    "convnext_tiny": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (3, 3, 9, 3), "widths": (96, 192, 384, 768),
        "drop_path": 0.1, "macs": 4_455_531_264, "params": 28_589_128,
    },
    "convnext_small": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (3, 3, 27, 3), "widths": (96, 192, 384, 768),
        "drop_path": 0.4, "macs": 8_683_712_256, "params": 50_223_688,
    },
    "convnext_base": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (3, 3, 27, 3), "widths": (128, 256, 512, 1024),
        "drop_path": 0.5, "macs": 15_354_729_472, "params": 88_591_464,
    },
    "convnext_large": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (3, 3, 27, 3), "widths": (192, 384, 768, 1536),
        "drop_path": 0.5, "macs": 34_361_433_600, "params": 197_767_336,
    },
    "convnext_8_16_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "depths": (1, 1), "widths": (8, 16), "layer_scale": 0.1,
        "macs": 34_144, "params": 5_106,
    },
}  # fmt: skip
KERNEL_INIT = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
    """Depthwise 7x7, layer norm, two dense layers with GELU between them, layer scale, stochastic depth, sum."""

    layer_scale: float
    drop_path: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: stochastic depth. Returns: array like x."""
        c = x.shape[-1]
        types = {"kernel_init": KERNEL_INIT, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        pad = ((3, 3), (3, 3))
        y = Conv(c, (7, 7), padding=pad, feature_group_count=c, **types, name="depthwise")(x)
        y = nn.Dense(4 * c, **types, dot_general=product_of_rows, name="dense0")(layer_norm(self.dtype, "norm")(y))
        y = nn.Dense(c, **types, dot_general=product_of_rows, name="dense1")(activation("gelu")(y))
        if self.layer_scale:
            y = LayerScale(self.layer_scale, self.dtype, name="layer_scale")(y)
        return x + DropPath(self.drop_path, name="drop_path")(y, train)


class ConvNeXt(nn.Module):
    """Patches, stages of blocks with a halving between them, mean over pixels, layer norm, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        depths: number of blocks of every stage.
        widths: number of channels of every stage.
        layer_scale: first value of the factors of every branch; 0 for none.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        remat: recompute blocks in the backward pass.
        dtype: dtype of the products; norms and logits are at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...]
    widths: tuple[Size, ...]
    layer_scale: NotNegative = 1e-6
    drop_path: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least the stride of the network, 32. Pixels beyond a multiple of it are
                left out, as in torchvision.
            train: stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": [b, h / 4 / 2^i, w / 4 / 2^i, widths[i]] of every stage, "pre_logits":
            the normalised mean [b, widths[-1]]}.

        Raises:
            ConfigError: for images that are too small, or depths and widths of different length.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        check_images(x, self, "convnext", 4 * 2 ** (len(self.depths) - 1), "stem")
        wide, block = at_least_float32(self.dtype), remat_block(Block, self.remat)
        types = {"kernel_init": KERNEL_INIT, "dtype": self.dtype, "param_dtype": wide, "padding": "VALID"}
        x = Conv(self.widths[0], (4, 4), (4, 4), **types, name="stem")(x.astype(self.dtype))
        x = layer_norm(self.dtype, "stem_norm")(x)
        stages, count, last = [], 0, max(sum(self.depths) - 1, 1)
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if i:
                x = layer_norm(self.dtype, f"down{i}_norm")(x)
                x = Conv(width, (2, 2), (2, 2), **types, name=f"down{i}")(x)
            for j in range(depth):
                rate = self.drop_path * count / last
                x = block(self.layer_scale, rate, self.dtype, name=f"stage{i}_block{j}")(x, train)
                count += 1
            stages.append(x)
        x = layer_norm(wide, "norm")(x.astype(wide).mean((1, 2)))  # [b, widths[-1]]
        logits = head(x, self.num_classes, self.dtype, KERNEL_INIT)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ConvNeXt:
    """A variant of the table with overrides."""
    return from_row(ConvNeXt, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (torchvision's name, transform)}. torchvision's layer scales have two more axes of length 1."""
    names: dict[str, tuple[str, str]] = {}

    def add(ours: str, torch: str, kernel: str = "") -> None:
        entry, how = ("kernel", kernel) if kernel else ("scale", "")
        names[f"params/{ours}/{entry}"] = (f"{torch}.weight", how)
        names[f"params/{ours}/bias"] = (f"{torch}.bias", "")

    add("stem", "features.0.0", "conv"), add("stem_norm", "features.0.1")
    for i, depth in enumerate(VARIANTS[variant]["depths"]):
        if i:
            add(f"down{i}_norm", f"features.{2 * i}.0"), add(f"down{i}", f"features.{2 * i}.1", "conv")
        for j in range(depth):
            ours, torch = f"stage{i}_block{j}", f"features.{2 * i + 1}.{j}"
            add(f"{ours}/depthwise", f"{torch}.block.0", "conv"), add(f"{ours}/norm", f"{torch}.block.2")
            add(f"{ours}/dense0", f"{torch}.block.3", "dense"), add(f"{ours}/dense1", f"{torch}.block.5", "dense")
            names[f"params/{ours}/layer_scale/scale"] = (f"{torch}.layer_scale", "factors")
    add("norm", "classifier.0"), add("head", "classifier.2", "dense")
    return names
