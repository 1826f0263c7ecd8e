"""FC-DenseNet, the hundred-layer Tiramisu: dense blocks on the way down and up, joined as in a U-Net.

A layer is norm - g - conv3x3 - dropout with `growth` maps, and sees all maps before it in its block. On the way down a
block adds its maps to those that came, and norm - g - conv1x1 - dropout - 2x2 maximum halves the image. On the way up a
transposed convolution doubles the new maps of a block alone, as all of them would be too many, beside those of the way
down. A side that 2^blocks does not divide is padded by repeated pixels, which are cut off again.

Reference: Jegou et al. 2017, "The One Hundred Layers Tiramisu", section 3 and tables 1 and 2.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images, head, remat_block
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.pooling import max_pool
from cvdl_jax.nn.residual import Style
from cvdl_jax.nn.upsampling import padded
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Jegou et al. 2017, table 3 (1.5, 3.5 and 9.4 M); counted by hand, and equal to those of the forms for torch
    "fc_densenet56": {
        "input": (360, 480, 3), "num_classes": 11, "depths": (4, 4, 4, 4, 4), "middle": 4, "growth": 12,
        "params": 1_376_795,
    },
    "fc_densenet67": {
        "input": (360, 480, 3), "num_classes": 11, "depths": (5, 5, 5, 5, 5), "middle": 5, "growth": 16,
        "params": 3_463_243,
    },
    "fc_densenet103": {
        "input": (360, 480, 3), "num_classes": 11, "depths": (4, 5, 7, 10, 12), "middle": 15, "growth": 16,
        "params": 9_322_091,
    },
    "fc_densenet_tiny": {
        "input": (16, 16, 3), "num_classes": 3, "depths": (1,), "middle": 1, "growth": 3, "channels": 4, "dropout": 0.0,
        # stem 27 * 4 + 4; layers 2 n + (9 n + 1) * 3 each of n = 4, 7, 10; step down 2 n + n n + n of n = 7;
        # transposed 9 * 3 * 3 + 3; scores 13 * 3 + 3
        "params": 926,
    },
}  # fmt: skip


class Layer(nn.Module):
    """The new maps of one layer."""

    features: int
    side: int
    dropout: float
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics, dropout. Returns: [b, h, w, features]."""
        style = self.style
        conv = Conv(
            self.features, (self.side, self.side), padding="SAME", kernel_init=initializer(style.kernel_init),
            dtype=style.dtype, param_dtype=at_least_float32(style.dtype), name="conv",
        )  # fmt: skip
        return Dropout(self.dropout)(conv(style.activate(x, train, "norm")), train)


class FCDenseNet(nn.Module):
    """Dense blocks down and up.

    Attributes:
        num_classes: number of logits of a pixel.
        depths: number of layers of every block of the way down; those of the way up are its mirror image.
        middle: number of layers of the block between them.
        growth: maps that a layer adds.
        channels: maps of the first convolution.
        dropout: rate behind every layer.
        norm: the normalisation (`nn/norms.py`).
        activation: name of the activation function.
        remat: recompute layers in the backward pass, which otherwise keep all concatenations.
        kernel_init: initialiser of every kernel (`nn/init.py`); the paper's is "he_uniform()", "" is He's normal one.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...]
    middle: Layers
    growth: Size
    channels: Size = 48
    dropout: Share = 0.2
    norm: str = "batch"
    activation: str = "relu"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the maps of every block of the way down, and the new ones of the
            block in the middle}.

        Raises:
            ConfigError: without blocks.
        """
        if not self.depths:
            raise ConfigError("config.model.depths=() needs a number for every block, such as (4, 4, 4, 4, 4)")
        check_images(x, self, "fc_densenet", 1, "stem")
        size, wide, init = x.shape[1:3], at_least_float32(self.dtype), initializer(self.kernel_init)
        types = {"kernel_init": init, "dtype": self.dtype, "param_dtype": wide}
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        layer = remat_block(Layer, self.remat)

        def block(x: jax.Array, depth: int, name: str) -> tuple[jax.Array, jax.Array]:
            """All maps, and the new ones."""
            maps = [x]
            for j in range(depth):
                new = layer(self.growth, 3, self.dropout, style, name=f"{name}_layer{j}")
                maps.append(new(jnp.concatenate(maps, -1), train))
            return jnp.concatenate(maps, -1), jnp.concatenate(maps[1:], -1)

        x = padded(x.astype(self.dtype), 2 ** len(self.depths))
        x, stages = Conv(self.channels, (3, 3), padding="SAME", **types, name="stem")(x), []
        for i, depth in enumerate(self.depths):
            x, _ = block(x, depth, f"down{i}")
            stages.append(x)
            x = layer(x.shape[-1], 1, self.dropout, style, name=f"down{i}_transition")(x, train)
            x = max_pool(x, 2)
        x, new = block(x, self.middle, "middle")
        stages.append(new)
        for i in reversed(range(len(self.depths))):
            double = ConvTranspose(new.shape[-1], (3, 3), (2, 2), **types, name=f"up{i}_double")
            x, new = block(jnp.concatenate([double(new), stages[i]], -1), self.depths[i], f"up{i}")
        logits = head(x, self.num_classes, self.dtype, init)
        return logits[:, : size[0], : size[1]], {"stages": tuple(stages)}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> FCDenseNet:
    """A variant of the table with overrides."""
    return from_row(FCDenseNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
