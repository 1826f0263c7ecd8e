"""DenseNet: every layer of a block sees the maps of all earlier layers of the same block, x_l = H_l([x_0 .. x_{l-1}]).

H is norm - g - conv3x3 with `growth` maps; with a bottleneck (B) norm - g - conv1x1 with four times as many stands
before it. Between blocks a transition, norm - g - conv1x1 - 2x2 mean, halves the image and keeps a share of the maps
(compression, C). A block is not connected to other blocks but through its transition.

For large images the stem is a 7x7 convolution with stride 2 and a maximum, for CIFAR a 3x3 convolution.

Reference: Huang et al. 2017, "Densely Connected Convolutional Networks", equation 2, section 3 and tables 1 and 2.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size, UpToOne
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, conv_names, dense_names, norm_names
from cvdl_jax.nn.common import check_images, head, remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.nn.residual import Style
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Huang et al. 2017, table 1; torchvision's names and counts
    "densenet121": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (6, 12, 24, 16), "growth": 32, "channels": 64,
        "macs": 2_834_161_664, "params": 7_978_856,
    },
    "densenet169": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (6, 12, 32, 32), "growth": 32, "channels": 64,
        "macs": 3_359_843_328, "params": 14_149_480,
    },
    "densenet201": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (6, 12, 48, 32), "growth": 32, "channels": 64,
        "macs": 4_291_365_888, "params": 20_013_928,
    },
    "densenet161": {
        "input": (224, 224, 3), "num_classes": 1000, "depths": (6, 12, 36, 24), "growth": 48, "channels": 96,
        "macs": 7_727_907_072, "params": 28_681_000,
    },
    # Huang et al. 2017, table 2: without bottleneck and compression, 16 maps first
    "densenet40_12": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (12, 12, 12), "growth": 12, "channels": 16, "stem": "cifar",
        "bottleneck": False, "compression": 1.0, "macs": 264_812_928, "params": 1_019_722,
    },  # 1.0 M
    "densenet100_12": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (32, 32, 32), "growth": 12, "channels": 16, "stem": "cifar",
        "bottleneck": False, "compression": 1.0, "macs": 1_769_516_448, "params": 6_979_642,
    },  # 7.0 M
    # Huang et al. 2017, table 2: DenseNet-BC, twice the growth of maps first
    "densenet_bc100_12": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (16, 16, 16), "growth": 12, "channels": 24, "stem": "cifar",
        "macs": 287_929_692, "params": 769_162,
    },  # 0.8 M
    "densenet_bc190_40": {
        "input": (32, 32, 3), "num_classes": 10, "depths": (31, 31, 31), "growth": 40, "channels": 80, "stem": "cifar",
        "macs": 9_301_945_740, "params": 25_624_430,
    },  # 25.6 M
    "densenet_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "depths": (1, 2), "growth": 4, "channels": 6, "stem": "cifar",
        "macs": 314_498, "params": 2_582,
    },
}  # fmt: skip


class DenseLayer(nn.Module):
    """H of one layer: the new maps."""

    growth: int
    bottleneck: bool
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics, dropout. Returns: [b, h, w, growth]."""
        g = self.style.activation
        if self.bottleneck:
            x = self.style.convolution(4 * self.growth, 1, 1, "conv0", g)(self.style.activate(x, train, "norm0"))
        x = self.style.convolution(self.growth, 3, 1, "conv1")(self.style.activate(x, train, "norm1"))
        return Dropout(self.dropout)(x, train)


class DenseNet(nn.Module):
    """Dense blocks with transitions between them, a last normalisation, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        depths: number of layers of every block.
        growth: k, maps that a layer adds.
        channels: maps of the stem.
        stem: "imagenet" (7x7 with stride 2, then a 3x3 maximum with stride 2) or "cifar" (3x3).
        bottleneck: a 1x1 convolution to 4 k maps in front of every 3x3.
        compression: share of the maps that a transition keeps, in (0, 1].
        dropout: rate behind every layer; the paper's is 0.2 without augmentation.
        activation: name of the activation function.
        norm: the normalisation (`nn/norms.py`).
        remat: recompute layers in the backward pass, which otherwise keep all concatenations.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: dtype of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...]
    growth: Size
    channels: Size
    stem: Literal["imagenet", "cifar"] = "imagenet"
    bottleneck: bool = True
    compression: UpToOne = 0.5
    dropout: Share = 0.0
    activation: str = "relu"
    norm: str = "batch"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least 2^(blocks - 1), four times that with the stem of "imagenet".
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, num_classes]; {"stages": the maps of every block, of the last one normalised, "pre_logits":
            [b, c]}.

        Raises:
            ConfigError: for images that are too small.
        """
        if not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} needs one entry per block, such as (6, 12, 24, 16)")
        large = self.stem == "imagenet"
        check_images(x, self, "densenet", 2 ** (len(self.depths) - 1) * (4 if large else 1), "stem")
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        x = style.convolution(self.channels, 7 if large else 3, 2 if large else 1, "stem")(x.astype(self.dtype))
        if large:
            x = style.activate(x, train, "stem_norm")
            x = max_pool(x, 3, 2, 1)  # [b, h / 4, w / 4, channels]
        layer, stages = remat_block(DenseLayer, self.remat), []
        for i, depth in enumerate(self.depths):
            if i > 0:
                kept = max(int(x.shape[-1] * self.compression), 1)
                x = style.convolution(kept, 1, 1, f"transition{i}_conv")(
                    style.activate(x, train, f"transition{i}_norm")
                )
                x = nn.avg_pool(x, (2, 2), (2, 2))
            for j in range(depth):
                new = layer(self.growth, self.bottleneck, self.dropout, style, name=f"block{i}_layer{j}")(x, train)
                x = jnp.concatenate([x, new], -1)
            stages.append(x)
        stages[-1] = x = style.activate(x, train, "norm")
        x = x.astype(at_least_float32(self.dtype)).mean((1, 2))  # [b, c]
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> DenseNet:
    """A variant of the table with overrides."""
    return from_row(DenseNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> NameMap:
    """{our path: (torchvision's name, transform)} of the forms for large images."""
    names = conv_names("stem", "features.conv0", bias=False) | norm_names("stem_norm", "features.norm0")
    for i, depth in enumerate(VARIANTS[variant]["depths"]):
        for j in range(depth):
            ours, theirs = f"block{i}_layer{j}", f"features.denseblock{i + 1}.denselayer{j + 1}"
            for k in range(2):
                names |= norm_names(f"{ours}/norm{k}", f"{theirs}.norm{k + 1}")
                names |= conv_names(f"{ours}/conv{k}", f"{theirs}.conv{k + 1}", bias=False)
        if i > 0:
            names |= norm_names(f"transition{i}_norm", f"features.transition{i}.norm")
            names |= conv_names(f"transition{i}_conv", f"features.transition{i}.conv", bias=False)
    return names | norm_names("norm", "features.norm5") | dense_names("head", "classifier")
