"""Dilated convolutions see much of an image without making it smaller: a VGG front end and the context module.

The front end is VGG without its last two maxima; what came behind them is dilated by 2 and 4 instead, and scores every
8 x 8 pixels. The context module refines the scores by convolutions with growing dilation, and begins as the identity.
Bilinear interpolation gives the pixels between. A side that 8 does not divide is padded by repeated pixels, which are
cut off again. (The paper mirrors the image outwards and pads no convolution.)

Reference: Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions", sections 3 and 4, table 1.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.models.backbones.vgg import VGG
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.convolution import ContextModule, identity_kernel
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.upsampling import padded, resized
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # VGG-16 without dense layers 14,714,688, these as convolutions 119,545,856, scores 4097 c; the context module
    # seven times (9 c + 1) c and (c + 1) c. Yu and Koltun 2016: 134 M; section 4, PASCAL VOC; section 5.1, CamVid
    "dilated_frontend": {"input": (500, 500, 3), "num_classes": 21, "context": (), "params": 134_346_581},
    "dilated8": {"input": (480, 640, 3), "num_classes": 11, "params": 134_313_443},
    # Appendix B: two layers more for the larger images of Cityscapes
    "dilated10": {
        "input": (512, 512, 3), "num_classes": 19, "context": (1, 1, 2, 4, 8, 16, 32, 64, 1), "params": 134_368_179,
    },
    "dilated_tiny": {
        "input": (32, 32, 3), "num_classes": 3, "depths": (1, 1, 1), "widths": (4, 4, 6), "units": (8, 8), "side": 3,
        "stride": 2, "dropout": 0.0, "context": (1, 2),
        # VGG 28 * 4 + 37 * 4 + 37 * 6, 55 * 8 + 9 * 8, scores 9 * 3, context 28 * 3 * 2 and 4 * 3
        "params": 1_201,
    },
}  # fmt: skip


class Dilated(nn.Module):
    """The front end, the context module and interpolation.

    Attributes:
        num_classes: number of logits of a pixel.
        context: dilations of the context module's 3x3 convolutions; () for the front end alone.
        stride: pixels of the image for one that is scored.
        depths: number of convolutions of every stage.
        widths: channels of every stage.
        units: of the two dense layers that became convolutions.
        side: of the window of the first one.
        activation: name of the activation function.
        norm: normalisation behind every convolution of the stages (`nn/norms.py`).
        dropout: rate behind the former dense layers.
        kernel_init: initialiser of the front end's kernels (`nn/init.py`); "" for He's.
        dtype: of all layers but scores and context, which are at least float32.
    """

    num_classes: int
    context: tuple[Size, ...] = (1, 1, 2, 4, 8, 16, 1)
    stride: Size = 8
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
            x: float [b, h, w, c], h and w at least 2^stages.
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the map of every stage, "frontend": the front end's logits}.

        Raises:
            ConfigError: for images that are too small.
        """
        check_images(x, self, "the dilated network", 2 ** len(self.depths))
        size, g, wide = x.shape[1:3], activation(self.activation), at_least_float32(self.dtype)
        vgg = VGG(
            0, self.depths, self.widths, (), 1, output_stride=self.stride, activation=self.activation, norm=self.norm,
            kernel_init=self.kernel_init, dtype=self.dtype, name="backbone",
        )  # fmt: skip
        _, out = vgg(padded(x, self.stride), train)
        x, init = out["stages"][-1], initializer(self.kernel_init, self.activation)
        dilation = max(2 ** len(self.depths) // self.stride, 1)
        for i, units in enumerate(self.units):
            side, apart = (self.side, dilation) if i == 0 else (1, 1)
            conv = Conv(
                units, (side, side), padding="SAME", kernel_dilation=(apart, apart), kernel_init=init, dtype=self.dtype,
                param_dtype=wide, name=f"dense{i}",
            )  # fmt: skip
            x = Dropout(self.dropout)(g(conv(x)), train)
        x = frontend = head(x, self.num_classes, self.dtype, initializer(self.kernel_init), name="score")
        if self.context:
            types = {"kernel_init": identity_kernel, "dtype": wide, "param_dtype": wide}
            x = ContextModule(self.context, activation=self.activation, **types, name="context")(x)
            x = head(x, self.num_classes, wide, identity_kernel)
        h, w = x.shape[1:3]
        logits = resized(x, (h * self.stride, w * self.stride))[:, : size[0], : size[1]]
        return logits, {"stages": out["stages"], "frontend": frontend}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> Dilated:
    """A variant of the table with overrides."""
    return from_row(Dilated, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
