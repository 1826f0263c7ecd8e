"""Fully convolutional networks: VGG with convolutions in the place of its dense layers, and scores enlarged again.

The scores of 1/32 of the image are doubled by transposed convolutions that begin as bilinear interpolation, and added
to scores from the maps of 1/16 (FCN-16s) and 1/8 (FCN-8s); all scores begin with 0. The rest of the way to the image is
one transposed convolution. A side that 32 does not divide is padded by repeated pixels, which are cut off again.

Reference: Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation", section 4 and table 2.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones.vgg import VGG
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.convolution import bilinear_kernel
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.upsampling import padded
from cvdl_jax.ops.precision import at_least_float32

ZEROS = nn.initializers.zeros
VARIANTS = {
    # Long et al. 2015, table 2: 134 M with the classes of PASCAL VOC. VGG-16 without dense layers has 14,714,688, its
    # dense layers as convolutions 119,545,856, scores 4097 * 21, those of pool4 and pool3 513 * 21 and 257 * 21, and
    # the transposed convolutions 21 * 21 times 64^2; 4^2 and 32^2; 4^2 twice and 16^2
    "fcn32s": {"input": (500, 500, 3), "num_classes": 21, "stride": 32, "params": 136_152_917},
    "fcn16s": {"input": (500, 500, 3), "num_classes": 21, "stride": 16, "params": 134_815_994},
    "fcn8s": {"input": (500, 500, 3), "num_classes": 21, "stride": 8, "params": 134_489_759},
    "fcn_tiny": {
        "input": (16, 16, 3), "num_classes": 3, "stride": 4, "depths": (1, 1, 1), "widths": (4, 4, 6), "units": (8, 8),
        "side": 3, "dropout": 0.0,
        # VGG 28 * 4 + 37 * 4 + 37 * 6, 55 * 8 + 9 * 8, scores 9 * 3 + 5 * 3, transposed 9 * (16 + 64)
        "params": 1_756,
    },
}  # fmt: skip


class FCN(nn.Module):
    """Scores of a VGG's maps, from the smallest to that of `stride`, doubled and added.

    Attributes:
        num_classes: number of logits of a pixel.
        stride: pixels of the image for one of the largest map that is scored: 32, 16 or 8 for five stages.
        depths: number of convolutions of every stage.
        widths: channels of every stage.
        units: of the two dense layers that became convolutions.
        side: of the window of the first one.
        activation: name of the activation function.
        norm: normalisation behind every convolution of the stages (`nn/norms.py`).
        dropout: rate behind the former dense layers.
        kernel_init: initialiser of every kernel (`nn/init.py`) but those that are said above; "" for He's.
        dtype: of all layers but those of scores, which are at least float32.
    """

    num_classes: int
    stride: Size
    depths: tuple[Layers, ...] = (2, 2, 3, 3, 3)
    widths: tuple[Size, ...] = (64, 128, 256, 512, 512)
    units: tuple[Size, ...] = (4096, 4096)
    side: Size = 7
    activation: str = "relu"
    norm: str = "none"
    dropout: Share = 0.5
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the map behind every stage of the VGG}.

        Raises:
            ConfigError: for a stride that is none of a stage.
        """
        strides = [2 ** (i + 1) for i in range(len(self.depths))]
        if self.stride not in strides:
            raise ConfigError(f"config.model.stride={self.stride} must be that of a stage, one of {strides}")
        check_images(x, self, "fcn")
        size, g, wide = x.shape[1:3], activation(self.activation), at_least_float32(self.dtype)
        vgg = VGG(
            0, self.depths, self.widths, (), 1, activation=self.activation, norm=self.norm,
            kernel_init=self.kernel_init, dtype=self.dtype, name="backbone",
        )  # fmt: skip
        _, out = vgg(padded(x, strides[-1]), train)
        stages = out["stages"]
        types = {
            "dtype": self.dtype,
            "param_dtype": wide,
            "kernel_init": initializer(self.kernel_init, self.activation),
        }
        x = stages[-1]
        for i, units in enumerate(self.units):
            side = self.side if i == 0 else 1
            x = g(Conv(units, (side, side), padding="SAME", **types, name=f"dense{i}")(x))
            x = Dropout(self.dropout)(x, train)
        scores = head(x, self.num_classes, self.dtype, ZEROS)  # He's would begin with noise of deviation 2
        for stride, stage in zip(reversed(strides[:-1]), reversed(stages[:-1]), strict=True):
            if stride < self.stride:
                break
            scores = self._enlarged(scores, 2, f"double{stride}")
            scores = scores + head(stage, self.num_classes, self.dtype, ZEROS, name=f"score{stride}")
        return self._enlarged(scores, self.stride, "enlarge")[:, : size[0], : size[1]], {"stages": stages}

    def _enlarged(self, scores: jax.Array, factor: int, name: str) -> jax.Array:
        types = {"dtype": scores.dtype, "param_dtype": scores.dtype, "kernel_init": bilinear_kernel}
        side = 2 * factor
        return ConvTranspose(self.num_classes, (side, side), (factor, factor), False, **types, name=name)(scores)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> FCN:
    """A variant of the table with overrides."""
    return from_row(FCN, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
