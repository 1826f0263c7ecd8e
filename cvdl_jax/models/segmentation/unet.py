"""U-Net: convolutions and maxima down to a few pixels, and up again beside the maps of the way down.

Every step down halves the image and doubles the channels; every step up doubles the image, halves the channels, puts
the map of the same size from the way down beside, and convolves twice. The paper's convolutions are not padded: a
pixel of the result has seen whole windows alone, 388 x 388 of 572 x 572 come out, and maps of the way down are cropped.
There are two ways to the whole image: mirror it outwards first, as the paper's tiles are ("mirror"), or pad ("same").

A network of two views asks what changed between them (a Siamese one): both go down with the same parameters, and the
way up sees the absolute differences of their maps.

Reference: Ronneberger et al. 2015, "U-Net: Convolutional Networks for Biomedical Image Segmentation", figures 1 and 2;
    Daudt et al. 2018, "Fully Convolutional Siamese Networks for Change Detection", section 3, FC-Siam-diff.
"""

from typing import Any, Literal

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
from cvdl_jax.nn.upsampling import centred, padded, resized
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Ronneberger et al. 2015, figure 1: 23 convolutions, one channel in, two classes out
    "unet": {"input": (572, 572, 1), "num_classes": 2, "padding": "valid", "params": 31_030_658},
    # the widths of Daudt et al. 2018, figure 1, four halvings, with two convolutions in every block and differences at
    # the lowest map too
    "unet_siamese": {
        "input": (256, 256, 6), "num_classes": 2, "widths": (16, 32, 64, 128, 128), "views": 2, "norm": "batch",
        # 3x3 9 * (3 * 16 + 16^2 + 16 * 32 + 32^2 + 32 * 64 + 64^2 + 64 * 128 + 3 * 128^2) and 9 * 3 * (128^2 + 64^2 +
        # 32^2 + 16^2), norms 4 * (2 * 240 + 128), 2x2 4 * (128^2 + 128 * 64 + 64 * 32 + 32 * 16) + 240, scores 17 * 2
        "params": 1_286_722,
    },
    "unet_tiny": {
        "input": (16, 16, 3), "num_classes": 3, "widths": (4, 6, 8),
        # 3x3 9 * (3 * 4 + 4 * 4 + 4 * 6 + 6 * 6 + 6 * 8 + 8 * 8 + 12 * 6 + 6 * 6 + 8 * 4 + 4 * 4) + 56 biases, 2x2
        # 4 * (8 * 6 + 6 * 4) + 10, scores 4 * 3 + 3
        "params": 3_573,
    },
}  # fmt: skip


class Block(nn.Module):
    """Convolutions of 3x3 pixels with activations; the border that saw padding is cut off where nothing is padded."""

    width: int
    convolutions: int
    whole: bool
    style: Style = Style()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: batch statistics. Returns: [b, h, w, width], or 2 pixels less a convolution."""
        for i in range(self.convolutions):
            x = self.style.convolution(self.width, 3, 1, f"conv{i}", self.style.activation)(x)
            x = x if self.whole else x[:, 1:-1, 1:-1]
            x = self.style.activate(x, train, f"norm{i}")
        return x


class UNet(nn.Module):
    """A U-Net of any depth.

    Attributes:
        num_classes: number of logits of a pixel.
        widths: channels of every step; as many steps as there are numbers.
        convolutions: of every block.
        views: 1, or 2 for pairs of images, whose channels stand one behind the other; the network sees their
            differences alone.
        padding: "same"; "valid", so that the logits are of the middle of the image; or "mirror", "valid" on an image
            that is mirrored outwards, so that they are of the whole.
        up: "transposed", or "bilinear" and a 2x2 convolution; both have the same parameters.
        norm: normalisation behind every convolution (`nn/norms.py`); the paper has none.
        dropout: rate at the end of the way down.
        activation: name of the activation function.
        remat: recompute blocks in the backward pass.
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's, as in the paper.
        dtype: of all layers but the last, which is at least float32.
    """

    num_classes: int
    widths: tuple[Size, ...] = (64, 128, 256, 512, 1024)
    convolutions: Layers = 2
    views: Literal[1, 2] = 1
    padding: Literal["same", "valid", "mirror"] = "same"
    up: Literal["transposed", "bilinear"] = "transposed"
    norm: str = "none"
    dropout: Share = 0.0
    activation: str = "relu"
    remat: bool = False
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies pixels.

        Args:
            x: float [b, h, w, c]; c is even with two views, the first half the first view.
            train: batch statistics used and updated, dropout on.

        Returns:
            logits [b, h, w, num_classes], of the middle [b, h', w', ...] with "valid"; {"stages": a map of every step
            of the way down, with two views the difference of theirs}.

        Raises:
            ConfigError: for an image of which nothing is left, or whose halves are no whole pixels, with "valid"; an
                odd number of channels with two views.
        """
        if not self.widths:
            raise ConfigError("config.model.widths=() needs a number for every step, such as (64, 128, 256, 512, 1024)")
        check_images(x, self, "unet")
        size = x.shape[1:3]
        x = self._surrounded(self._apart(x.astype(self.dtype)))
        style = Style(self.norm, "before", "plain", self.activation, self.kernel_init, self.dtype)
        block, whole, stages = remat_block(Block, self.remat), self.padding == "same", []
        for i, width in enumerate(self.widths):
            x = max_pool(x, 2) if i else x
            x = block(width, self.convolutions, whole, style, name=f"down{i}")(x, train)
            stages.append(x)
        if self.views == 2:
            stages = [abs(x[0::2] - x[1::2]) for x in stages]
        x = Dropout(self.dropout)(stages[-1], train)
        for i in reversed(range(len(self.widths) - 1)):
            x = self._doubled(x, self.widths[i], f"up{i}_double")
            x = jnp.concatenate([centred(stages[i], x), x], -1)
            x = block(self.widths[i], self.convolutions, whole, style, name=f"up{i}")(x, train)
        logits = head(x, self.num_classes, self.dtype, initializer(self.kernel_init))
        logits = logits if self.padding == "valid" else logits[:, : size[0], : size[1]]
        return logits, {"stages": tuple(stages)}

    def _apart(self, x: jax.Array) -> jax.Array:
        """Two views one after the other in the batch, [2 b, h, w, c / 2], so that both have the same statistics."""
        if self.views == 1:
            return x
        if x.shape[-1] % 2:
            raise ConfigError(
                f"unet with config.model.views=2 takes two images with their channels one behind the other, got "
                f"{x.shape[-1]} channels; choose data with 'image' and 'image_after', such as aerial_pairs"
            )
        x = jnp.stack(jnp.split(x, 2, -1), 1)  # the views of a row stay beside each other, on one device
        return x.reshape(-1, *x.shape[2:])

    def _surrounded(self, x: jax.Array) -> jax.Array:
        steps, size = len(self.widths) - 1, x.shape[1:3]
        if self.padding == "same":
            return padded(x, 2**steps)
        if self.padding == "valid":
            sides = [left_of(n, steps, self.convolutions) for n in size]
            if min(sides) < 1:
                fits = next(n for n in range(max(size), max(size) + 2**16) if left_of(n, steps, self.convolutions) > 0)
                raise ConfigError(
                    f"unet with config.model.padding='valid' cannot halve images of {size[0]}x{size[1]} pixels {steps} "
                    f"times; the next side that it takes is {fits}, or set config.model.padding=mirror"
                )
            return x
        around = []
        for n in size:
            larger = next(m for m in range(n, n + 2**16) if left_of(m, steps, self.convolutions) >= n)
            low = (larger - left_of(larger, steps, self.convolutions)) // 2
            around.append((low, larger - n - low))
        return jnp.pad(x, ((0, 0), *around, (0, 0)), "reflect")

    def _doubled(self, x: jax.Array, width: int, name: str) -> jax.Array:
        wide = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        init = initializer(self.kernel_init)
        if self.up == "transposed":
            return ConvTranspose(width, (2, 2), (2, 2), kernel_init=init, **wide, name=name)(x)
        x = resized(x, (2 * x.shape[1], 2 * x.shape[2]))
        return Conv(width, (2, 2), padding="SAME", kernel_init=init, **wide, name=name)(x)


def left_of(side: int, steps: int, convolutions: int) -> int:
    """Pixels of a side that come out of a U-Net without padding; 0 where a half is no whole pixel or nothing is left.

    Args:
        side: of the image.
        steps: how often it is halved.
        convolutions: of every block, each of which takes 2 pixels.
    """
    for _ in range(steps):
        side -= 2 * convolutions
        if side < 2 or side % 2:
            return 0
        side //= 2
    side -= 2 * convolutions
    for _ in range(steps):
        side = 2 * side - 2 * convolutions
    return max(side, 0)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> UNet:
    """A variant of the table with overrides."""
    return from_row(UNet, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
