"""Networks from image to image: a residual generator, and a discriminator that scores patches.

The generator halves the image twice, goes through residual blocks, and doubles it twice. The discriminator is a
convolutional network that ends before any pooling: each of its scores has seen one patch of the image, 70x70 pixels in
the papers, and says whether that patch is real. Both are called as `(x [b, h, w, c], train) -> (result, out)`. The
U-Net that others use as a generator is `models/segmentation/unet.py`.

Reference: Johnson et al. 2016, "Perceptual Losses for Real-Time Style Transfer", supplementary; Zhu et al. 2017,
    "Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks", appendix 7.2; Isola et al. 2017,
    "Image-to-Image Translation with Conditional Adversarial Networks", section 6.1.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, NotNegative, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, remat_block
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.init import initializer
from cvdl_jax.nn.norms import keeps_bias, normaliser
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Zhu et al. 2017, appendix 7.2: c7s1-64, d128, d256, 9 R256, u128, u64, c7s1-3 for images of 256 pixels; 11,378,179
    # in the usual public form, whose normalisations have no scale (5,248) and whose convolutions have biases
    "cyclegan_generator": {
        "input": (256, 256, 3), "out_channels": 3,
        # 7x7 9,408 + 9,411; 3x3 2 * 9 * (64 * 128 + 128 * 256) + 18 * 9 * 256^2; norms 2 * 5,248
        "params": 11_383_427,
    },
    # the same with 6 R256, for images of 128 pixels
    "cyclegan_generator_128": {
        "input": (128, 128, 3), "out_channels": 3, "blocks": 6,
        "params": 7_841_411,  # 6 * (9 * 256^2 + 512) less
    },
    # for images of 64 pixels on small machines, and no paper
    "translator_small": {
        "input": (64, 64, 3), "out_channels": 3, "width": 24, "blocks": 4, "kernel": 4,
        # 7x7 3,528 + 3,531; 4x4 2 * 16 * (24 * 48 + 48 * 96); 3x3 8 * 9 * 96^2; norms 2 * (2 * 72 + 9 * 96)
        "params": 856_947,
    },
    "translator_tiny": {
        "input": (8, 8, 3), "out_channels": 3, "width": 4, "blocks": 1, "stem": 3, "kernel": 4,
        # 3x3 108 + 111; 4x4 2 * 16 * (4 * 8 + 8 * 16); 3x3 2 * 9 * 16^2; norms 2 * (2 * 12 + 3 * 16)
        "params": 10_091,
    },
    # Isola et al. 2017, section 6.1.2: C64-C128-C256-C512, patches of 70 pixels; 2,764,737 in the usual public form
    "patch_discriminator": {
        "input": (256, 256, 3), "widths": (64, 128, 256, 512),
        # 4x4 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 65; norms 2 * 896
        "params": 2_765_633,
    },
    # patches of 34 pixels, for images of 64
    "patch_discriminator_34": {
        "input": (64, 64, 3), "widths": (32, 64, 128),
        "params": 167_841,  # 4x4 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128) + 33; norms 2 * 192
    },
    "patch_discriminator_tiny": {
        "input": (8, 8, 3), "widths": (4, 8),
        "params": 853,  # 4x4 16 * (3 * 4 + 4 * 8 + 8) + 5; norms 2 * 8
    },
}  # fmt: skip


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions of a mirrored image, each with its norm, and a way around both."""

    width: int
    norm: str
    kernel_init: str
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, width]; train: batch statistics. Returns: like x."""
        kind, norm = normaliser(self.norm, self.dtype)
        y = x
        for i in range(2):
            y = Conv(
                self.width, (3, 3), padding="VALID", use_bias=keeps_bias(kind, "before"), dtype=self.dtype,
                param_dtype=at_least_float32(self.dtype), kernel_init=initializer(self.kernel_init), name=f"conv{i}",
            )(mirrored(y, 1))  # fmt: skip
            y = norm(y, train, f"norm{i}")
            y = y if i else activation("relu")(y)
        return x + y


class Translator(nn.Module):
    """Down, through residual blocks, and up again.

    Attributes:
        out_channels: of the result.
        width: of the first convolution; twice and four times as many after it is halved.
        blocks: residual ones at a quarter of the size.
        stem: side of the kernels of the first and the last convolution, an odd number.
        kernel: side of the kernels that halve and double; 4 leaves no checkerboard, since strides divide it.
        norm: normalisation (`nn/norms.py`).
        last: "tanh" for images in -1..1, or "none".
        kernel_init: initialiser of every kernel (`nn/init.py`); the papers' are N(0, 0.02^2).
        remat: recompute blocks in the backward pass.
        dtype: of all layers but the last, which is at least float32.
    """

    out_channels: int
    width: Size = 64
    blocks: Layers = 9
    stem: Literal[1, 3, 5, 7, 9] = 7
    kernel: Literal[3, 4] = 3
    norm: str = "instance"
    last: Literal["tanh", "none"] = "tanh"
    kernel_init: str = "normal(std=0.02)"
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Translates.

        Args:
            x: float [b, h, w, c], sides divisible by 4, images in -1..1 by convention.
            train: batch statistics, for a norm that has them.

        Returns:
            [b, h, w, out_channels]; {"code": [b, h / 4, w / 4, 4 width]}.

        Raises:
            ConfigError: for sides that cannot be halved twice.
        """
        check_images(x, self, "translator", 8, "first")
        if x.shape[1] % 4 or x.shape[2] % 4:
            raise ConfigError(
                f"a translator halves its images twice, {x.shape[1]}x{x.shape[2]} pixels do not divide by 4; set "
                f"config.data.image_size=({4 * max(x.shape[1] // 4, 2)}, {4 * max(x.shape[2] // 4, 2)})"
            )
        wide, init = at_least_float32(self.dtype), initializer(self.kernel_init)
        types = {"dtype": self.dtype, "param_dtype": wide, "kernel_init": init}
        kind, norm = normaliser(self.norm, self.dtype)
        bias, g, side = keeps_bias(kind, "before"), activation("relu"), (self.kernel, self.kernel)
        ends, edge = (self.stem, self.stem), self.stem // 2
        x = Conv(self.width, ends, padding="VALID", use_bias=bias, **types, name="first")(mirrored(x, edge))
        x = g(norm(x.astype(self.dtype), train, "first_norm"))
        for i in (2, 4):
            x = Conv(i * self.width, side, (2, 2), ((1, 1), (1, 1)), use_bias=bias, **types, name=f"half{i}")(x)
            x = g(norm(x, train, f"half{i}_norm"))
        block = remat_block(ResidualBlock, self.remat)
        for i in range(self.blocks):
            x = block(4 * self.width, self.norm, self.kernel_init, self.dtype, name=f"block{i}")(x, train)
        code = x
        for i in (2, 1):
            x = ConvTranspose(i * self.width, side, (2, 2), use_bias=bias, **types, name=f"double{i}")(x)
            x = g(norm(x, train, f"double{i}_norm"))
        types["dtype"] = wide
        x = Conv(self.out_channels, ends, padding="VALID", **types, name="last")(mirrored(x.astype(wide), edge))
        return (activation("tanh")(x) if self.last == "tanh" else x), {"code": code}


class PatchDiscriminator(nn.Module):
    """Strided convolutions, then two of stride 1, the last of which gives a score for every patch.

    Attributes:
        widths: of the convolutions; all but the last halve the image, the first has no norm.
        norm: normalisation (`nn/norms.py`).
        slope: of the negative side of the activation.
        kernel_init: initialiser of every kernel (`nn/init.py`); the papers' are N(0, 0.02^2).
        dtype: of all layers but the last, which is at least float32.
    """

    widths: tuple[Size, ...]
    norm: str = "instance"
    slope: NotNegative = 0.2
    kernel_init: str = "normal(std=0.02)"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores patches.

        Args:
            x: float [b, h, w, c].
            train: batch statistics, for a norm that has them.

        Returns:
            scores [b, h', w', 1], one for each patch; {"stages": the maps}.
        """
        check_images(x, self, "patch_discriminator", 2 ** (len(self.widths) - 1) * 3 - 1, "conv0")
        wide, init = at_least_float32(self.dtype), initializer(self.kernel_init)
        kind, norm = normaliser(self.norm, self.dtype)
        stages = []
        x = x.astype(self.dtype)
        for i, width in enumerate(self.widths):
            stride = 1 if i and i == len(self.widths) - 1 else 2
            x = Conv(
                width, (4, 4), (stride, stride), ((1, 1), (1, 1)), use_bias=not i or keeps_bias(kind, "before"),
                dtype=self.dtype, param_dtype=wide, kernel_init=init, name=f"conv{i}",
            )(x)  # fmt: skip
            x = activation(f"leaky_relu(slope={self.slope})")(norm(x, train, f"norm{i}") if i else x)
            stages.append(x)
        last = Conv(1, (4, 4), padding=((1, 1), (1, 1)), dtype=wide, param_dtype=wide, kernel_init=init, name="scores")
        return last(x.astype(wide)), {"stages": tuple(stages)}


def mirrored(x: jax.Array, pixels: int) -> jax.Array:
    """The image with so many pixels mirrored outwards on every side, as in the papers: zeros would be seen as edges."""
    return jnp.pad(x, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), "reflect")


def build(
    variant: str, out_channels: int | None = None, dtype: Any = jnp.float32, **overrides: Any
) -> Translator | PatchDiscriminator:
    """A variant of the table with overrides; a generator of so many channels, or a discriminator."""
    row = VARIANTS[variant]
    if "widths" in row:
        return from_row(PatchDiscriminator, row, overrides, dtype=dtype)
    return from_row(Translator, row, overrides, out_channels=out_channels, dtype=dtype)
