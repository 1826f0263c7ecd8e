"""SNGAN: residual blocks, and a discriminator whose every layer is divided by its largest singular value.

A generator is called as `(z [b, latent], train) -> (images, out)`, a discriminator as every backbone. The vectors of
the power iteration are in "batch_stats": a training step moves each of them once.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.norms import spectral_norm
from cvdl_jax.ops.growing import doubled, halved
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", table 4, for CIFAR-10
    "sngan_generator_32": {
        "input": (128,), "shape": (32, 32, 3), "latent": 128, "width": 256, "blocks": 3,
        # 129 * 4096; 3 * (2 * 590,080 + 65,792 + 2 * 512); 512; 6,915
        "params": 4_276_739,
    },
    "sngan_generator_tiny": {
        "input": (6,), "shape": (8, 8, 1), "latent": 6, "width": 4, "blocks": 1,
        "params": 825,  # 7 * 64; 2 * 148 + 20 + 2 * 8; 8; 37
    },
    # Miyato et al. 2018, table 4
    "sngan_discriminator_32": {
        "kind": "backbones", "input": (32, 32, 3), "num_classes": 1, "width": 128, "halvings": 2, "blocks": 2,
        "params": 1_053_825,  # 3,584 + 147,584 + 512; 2 * 147,584 + 16,512; 2 * 295,168; 129
    },
    "sngan_discriminator_tiny": {
        "kind": "backbones", "input": (8, 8, 1), "num_classes": 1, "width": 4, "halvings": 1, "blocks": 1,
        "params": 497,  # 40 + 148 + 8; 296; 5
    },
}  # fmt: skip
GLOROT = nn.initializers.variance_scaling(1.0, "fan_avg", "uniform")
GLOROT_ROOT_2 = nn.initializers.variance_scaling(2.0, "fan_avg", "uniform")  # gain sqrt(2), inside of blocks


class Generator(nn.Module):
    """A dense layer to the smallest image, residual blocks that double it, batch normalisation, a convolution, tanh.

    Attributes:
        shape: (h, w, c) of the images.
        latent: d, the length of z.
        width: channels of all maps.
        blocks: each doubles the sides.
        dtype: of all layers; the images are at least float32.

    Reference: Miyato et al. 2018, table 4 and figure 9.
    """

    shape: tuple[int, int, int]
    latent: Size = 128
    width: Size = 256
    blocks: Size = 3
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent], N(0, 1) by convention.
            train: batch statistics used and updated.

        Returns:
            images [b, h, w, c] in -1..1; {"stages": one array per block}.

        Raises:
            ConfigError: if the image's sides cannot be halved often enough, or z has another length.
        """
        (h, w, c), scale, wide = self.shape, 2**self.blocks, at_least_float32(self.dtype)
        if h % scale or w % scale:
            raise ConfigError(
                f"config.model.generator.blocks={self.blocks} doubles the image {self.blocks} times; images of {h}x{w} "
                f"pixels must divide by {scale}"
            )
        if z.shape[1:] != (self.latent,):
            raise ConfigError(f"this generator takes z of shape [b, {self.latent}], got {z.shape}")
        types, relu = {"dtype": self.dtype, "param_dtype": wide}, activation("relu")

        def conv(x: jax.Array, name: str, side: int = 3, init: Any = GLOROT_ROOT_2) -> jax.Array:
            return Conv(self.width, (side, side), **types, kernel_init=init, name=name)(x)

        units = h // scale * (w // scale) * self.width
        x = nn.Dense(units, **types, kernel_init=GLOROT, name="project")(z.astype(self.dtype))
        x, stages = x.reshape(-1, h // scale, w // scale, self.width), []
        for i in range(self.blocks):
            y = relu(BatchNorm(dtype=self.dtype, name=f"block{i}_norm0")(x, train))
            y = conv(doubled(y), f"block{i}_conv0")
            y = relu(BatchNorm(dtype=self.dtype, name=f"block{i}_norm1")(y, train))
            x = doubled(conv(x, f"block{i}_project", 1, GLOROT)) + conv(y, f"block{i}_conv1")
            stages.append(x)
        x = relu(BatchNorm(dtype=self.dtype, name="norm")(x, train)).astype(wide)
        x = Conv(c, (3, 3), dtype=wide, param_dtype=wide, kernel_init=GLOROT, name="last")(x)
        return activation("tanh")(x), {"stages": tuple(stages)}


class Discriminator(nn.Module):
    """Residual blocks, of which the first halve the image, sums over all places, and a linear score.

    Attributes:
        num_classes: number of scores, 1 for a discriminator; 0 for the features, without a head.
        width: channels of all maps.
        halvings: blocks that halve the sides.
        blocks: after them.
        dtype: of all layers but the last, which is at least float32.

    Reference: Miyato et al. 2018, table 4 and figure 9.
    """

    num_classes: int
    width: Size = 128
    halvings: Size = 2
    blocks: Size = 2
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c], in -1..1 by convention.
            train: the vectors of the power iteration move.

        Returns:
            logits [b, num_classes]; {"stages": one array per block, "pre_logits": [b, width]}.

        Raises:
            ConfigError: for something that is no image, or cannot be halved often enough.
        """
        check_images(x, self, "sngan discriminator", 2**self.halvings, "block0_conv0")
        if x.shape[1] % 2**self.halvings or x.shape[2] % 2**self.halvings:
            raise ConfigError(
                f"config.model.discriminator.halvings={self.halvings}: images of {x.shape[1]}x{x.shape[2]} pixels must "
                f"divide by {2**self.halvings}"
            )
        wide, relu, stages = at_least_float32(self.dtype), activation("relu"), []
        types = {"dtype": self.dtype, "param_dtype": wide}

        def conv(x: jax.Array, name: str, side: int = 3, init: Any = GLOROT_ROOT_2) -> jax.Array:
            layer = Conv(self.width, (side, side), **types, kernel_init=init, name=name)
            return spectral_norm(layer)(x, update_stats=train)

        x = x.astype(self.dtype)
        for i in range(self.halvings + self.blocks):
            y = conv(x if i == 0 else relu(x), f"block{i}_conv0")
            y = conv(relu(y), f"block{i}_conv1")
            if i == 0:  # of an image the means are taken first
                x = conv(halved(x), "block0_project", 1, GLOROT) + halved(y)
            elif i < self.halvings:
                x = halved(conv(x, f"block{i}_project", 1, GLOROT) + y)
            else:
                x = x + y
            stages.append(x)
        y = relu(x).sum((1, 2)).astype(wide)
        out = {"stages": tuple(stages), "pre_logits": y}
        if not self.num_classes:
            return y, out
        layer = nn.Dense(self.num_classes, dtype=wide, param_dtype=wide, kernel_init=GLOROT, name="head")
        return spectral_norm(layer)(y, update_stats=train), out


def build(
    variant: str,
    num_classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    dtype: Any = jnp.float32,
    **overrides: Any,
) -> Generator | Discriminator:
    """A variant of the table with overrides: a generator of images of `shape`, or a critic of `num_classes` scores."""
    row = VARIANTS[variant]
    if "shape" in row:
        return from_row(Generator, row, overrides, shape=shape, dtype=dtype)
    return from_row(Discriminator, row, overrides, num_classes=num_classes, dtype=dtype)
