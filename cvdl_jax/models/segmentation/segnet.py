"""SegNet: the convolutions of VGG-16, and the same way back, where maxima return to the pixels that they came from.

Every 2x2 maximum of the encoder remembers its place. The decoder puts values there among zeros, and convolutions fill
the rest: borders stay where they were, and no map of the encoder has to be kept. A side that the stride of the last
stage does not divide is padded by repeated pixels, which are cut off again.

Reference: Badrinarayanan et al. 2017, "SegNet: A Deep Convolutional Encoder-Decoder Architecture", section 3.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.residual import Style
from cvdl_jax.nn.upsampling import padded
from cvdl_jax.ops.pooling import max_pool, max_unpool
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Badrinarayanan et al. 2017: 29.45 M with 11 classes, and biases that the norms take away again. 13 convolutions of
    # VGG-16 14,710,464, their mirror image 14,708,736, norms 2 * 7,936, scores 9 * 64 * 11 + 11
    "segnet": {"input": (360, 480, 3), "num_classes": 11, "params": 29_441_419},
    "segnet_tiny": {
        "input": (16, 16, 3), "num_classes": 3, "depths": (1, 2), "widths": (4, 6),
        # 9 * (3 * 4 + 4 * 6 + 6 * 6 + 6 * 6 + 6 * 4) + norms 2 * (4 + 6 + 6 + 6 + 4), scores 36 * 3 + 3
        "params": 1_351,
    },
}  # fmt: skip


class SegNet(nn.Module):
    """An encoder and its mirror image, joined by the places of the maxima.

    Attributes:
        num_classes: number of logits of a pixel.
        depths: number of convolutions of every stage; the decoder's last one of all gives the logits.
        widths: channels of every stage.
        norm: normalisation behind every convolution but the last (`nn/norms.py`).
        activation: name of the activation function.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    depths: tuple[Layers, ...] = (2, 2, 3, 3, 3)
    widths: tuple[Size, ...] = (64, 128, 256, 512, 512)
    norm: str = "batch"
    activation: str = "relu"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            logits [b, h, w, num_classes]; {"stages": the map behind the maximum of every stage}.

        Raises:
            ConfigError: for depths and widths of different length.
        """
        if len(self.depths) != len(self.widths) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and widths={self.widths} need one entry per stage")
        check_images(x, self, "segnet")
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)

        def convolved(x: jax.Array, features: int, name: str) -> jax.Array:
            x = style.convolution(features, 3, 1, f"{name}_conv", self.activation)(x)
            return style.activate(x, train, f"{name}_norm")

        size, places, stages = x.shape[1:3], [], []
        x = padded(x.astype(self.dtype), 2 ** len(self.depths))
        for i, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for j in range(depth):
                x = convolved(x, width, f"down{i}_{j}")
            x, place = max_pool(x, 2, return_indices=True)
            places.append(place)
            stages.append(x)
        for i in reversed(range(len(self.depths))):
            x = max_unpool(x, places[i], 2)
            for j in reversed(range(self.depths[i])):
                if i or j:  # the first convolution of the encoder has the logits as its mirror image
                    x = convolved(x, self.widths[i] if j else self.widths[i - 1], f"up{i}_{j}")
        wide = at_least_float32(self.dtype)
        init = initializer(self.kernel_init)
        last = Conv(self.num_classes, (3, 3), kernel_init=init, dtype=wide, param_dtype=wide, name="head")
        return last(x.astype(wide))[:, : size[0], : size[1]], {"stages": tuple(stages)}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> SegNet:
    """A variant of the table with overrides."""
    return from_row(SegNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
