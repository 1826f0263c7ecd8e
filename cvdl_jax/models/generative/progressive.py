"""Progressive GAN: a generator and a discriminator whose resolution grows while they train.

A generator is called as `(z [b, latent], train) -> (images, out)`, a discriminator as every backbone. Both also take
`level`, how far they have grown (`ops/growing.py`); without it they are fully grown. Images have their full size at
every level: at a low one the pixels of the small image are repeated.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.equalised import EqualisedConv, EqualisedDense, EqualisedLinearConv, batch_deviation
from cvdl_jax.ops.growing import doubled, fade, halved, image_weights
from cvdl_jax.ops.normalise import pixel_norm
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation", table 2
    "progressive_generator": {
        "input": (512,), "shape": (1024, 1024, 3), "latent": 512, "widths": (512, 512, 512, 512, 256, 128, 64, 32, 16),
        # dense 513 * 8192; 3x3 kernels: 512-512 7 * 2,359,808; 1,179,904 + 590,080; 295,040 + 147,584; 73,792 + 36,928;
        # 18,464 + 9,248; 4,624 + 2,320; colours 4 * 1,539 + 771 + 387 + 195 + 99 + 51. The paper: 23.1 million
        "params": 23_086_795,
    },
    # the same for 32x32 images, with fewer maps and no paper
    "progressive_generator_32": {
        "input": (64,), "shape": (32, 32, 1), "latent": 64, "widths": (64, 64, 32, 16),
        # dense 65 * 1024; 3x3 kernels 3 * 36,928; 18,464 + 9,248; 4,624 + 2,320; to grey 2 * 65 + 33 + 17
        "params": 212_180,
    },
    "progressive_generator_tiny": {
        "input": (6,), "shape": (8, 8, 1), "latent": 6, "widths": (6, 4),
        "params": 1_382,  # 7 * 96; 330; 220 + 148; 7 + 5
    },
    # Karras et al. 2018, table 2
    "progressive_discriminator": {
        "kind": "backbones", "input": (1024, 1024, 3), "num_classes": 1,
        "widths": (512, 512, 512, 512, 256, 128, 64, 32, 16),
        # 3x3 kernels 7 * 2,359,808 + 1,770,240 + 442,752 + 110,784 + 27,744 + 6,960, 9 * 512 more; dense
        # 8193 * 512; colours 4 * 2,048 + 1,024 + 512 + 256 + 128 + 64; 513. The paper: 23.1 million
        "params": 23_087_249,
    },
    # the same for 32x32 images, with fewer maps and no paper
    "progressive_discriminator_32": {
        "kind": "backbones", "input": (32, 32, 1), "num_classes": 1, "widths": (64, 64, 32, 16),
        # 3x3 kernels 37,504; 2 * 36,928; 9,248 + 18,496; 2,320 + 4,640; dense 1,025 * 64; colours 2 * 128 + 64 + 32; 65
        "params": 212_081,
    },
    "progressive_discriminator_tiny": {
        "kind": "backbones", "input": (8, 8, 1), "num_classes": 1, "widths": (6, 4), "group": 1,
        "params": 1_363,  # 384; 148 + 222; 97 * 6; 12 + 8; 7
    },
}  # fmt: skip
LEAKY = "leaky_relu(slope=0.2)"


def check_size(shape: tuple[int, ...], widths: tuple[int, ...], path: str) -> int:
    """The side of the smallest image, of as many resolutions as there are widths.

    Raises:
        ConfigError: for images that are not square or cannot be halved so often.
    """
    h, w, scale = *shape[:2], 2 ** (len(widths) - 1)
    if not widths or h != w or h % scale or h // scale < 2:
        raise ConfigError(
            f"{path}.widths={widths} are of {len(widths)} resolutions; images of {h}x{w} pixels must be square, and "
            f"divide by {scale} into 2x2 pixels or more; set config.data.image_size=({4 * scale}, {4 * scale})"
        )
    return h // scale


def latent_or_refuse(z: jax.Array, latent: int) -> jax.Array:
    """Z [b, latent]. Raises ConfigError for another length."""
    if z.shape[1:] != (latent,):
        raise ConfigError(f"this generator takes z of shape [b, {latent}], got {z.shape}")
    return z


def mixed(images: list[jax.Array], level: jax.Array | None) -> jax.Array:
    """The images of all resolutions, coarsest first, as one of the finest: by `growing.image_weights`."""
    if level is None:
        return images[-1]
    weights = image_weights(level, len(images)).astype(images[0].dtype)
    out = weights[0] * images[0]
    for k, image in enumerate(images[1:], 1):
        out = doubled(out) + weights[k] * image
    return out


class Generator(nn.Module):
    """A dense layer to the smallest image, then for each width two convolutions, between them up-sampling by repeating.

    Weights have equalised learning rates, features are normalised at each pixel, and each resolution has a 1x1
    convolution to colours, which is the last layer and linear.

    Attributes:
        shape: (h, w, c) of the images.
        latent: d, the length of z, which is normalised to length sqrt(d) first.
        widths: channels at each resolution, from the coarsest; as many resolutions.
        dtype: of all layers; the images are at least float32.

    Reference: Karras et al. 2018, sections 2 and 4, table 2.
    """

    shape: tuple[int, int, int]
    latent: Size = 64
    widths: tuple[Size, ...] = (64, 64, 32, 16)
    dtype: Any = jnp.float32

    grows = True

    @nn.compact
    def __call__(self, z: jax.Array, train: bool, level: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent].
            train: changes nothing.
            level: float [], in 0 ... len(widths) - 1; None for the last.

        Returns:
            images [b, h, w, c], about -1..1 and not bounded; {"stages": one array [b, h', w', width] per width}.

        Raises:
            ConfigError: for images that cannot be halved often enough, or z of another length.
        """
        side = check_size(self.shape, self.widths, "config.model.generator")
        wide, act = at_least_float32(self.dtype), activation(LEAKY)
        types = {"dtype": self.dtype, "param_dtype": wide}
        x = pixel_norm(latent_or_refuse(z, self.latent)).astype(self.dtype)
        x = EqualisedDense(side * side * self.widths[0], 2**0.5 / 4, dtype=self.dtype, name="project")(x)
        x = pixel_norm(act(x.reshape(-1, side, side, self.widths[0])))
        images, stages = [], []
        for k, width in enumerate(self.widths):
            x = doubled(x) if k else x
            for i in range(1 if k == 0 else 2):
                x = pixel_norm(act(EqualisedConv(width, (3, 3), **types, name=f"level{k}_conv{i}")(x)))
            stages.append(x)
            colour = EqualisedLinearConv(self.shape[2], (1, 1), dtype=wide, param_dtype=wide, name=f"level{k}_colour")
            images.append(colour(x.astype(wide)))
        return mixed(images, level), {"stages": tuple(stages)}


class Discriminator(nn.Module):
    """The generator mirrored: at each resolution a 1x1 convolution from colours, two convolutions, then means of 2x2.

    The last resolution gets the deviation of a group of images as one more channel, a convolution and two dense layers.

    Attributes:
        num_classes: number of scores, 1 for a discriminator; 0 for the features, without a head.
        widths: channels at each resolution, from the coarsest.
        group: rows whose deviation is a feature; 1 for none, which is what keeps rows apart.
        dtype: of all layers but the last, which is at least float32.

    Reference: Karras et al. 2018, sections 2 to 4, table 2.
    """

    num_classes: int
    widths: tuple[Size, ...] = (64, 64, 32, 16)
    group: Size = 4
    dtype: Any = jnp.float32

    grows = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, level: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c], in -1..1 by convention.
            train: changes nothing.
            level: float [], in 0 ... len(widths) - 1; None for the last.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h', w', width] per width, from the finest, "pre_logits"}.

        Raises:
            ConfigError: for something that is no image, or cannot be halved often enough.
        """
        last = len(self.widths) - 1
        check_images(x, self, "progressive discriminator", 2, f"level{last}_colour")
        check_size(x.shape[1:], self.widths, "config.model.discriminator")
        wide, act = at_least_float32(self.dtype), activation(LEAKY)
        types = {"dtype": self.dtype, "param_dtype": wide}
        x = x.astype(self.dtype)
        y, stages = None, []
        for k in range(last, -1, -1):
            if y is None or level is not None or self.is_initializing():
                colours = act(EqualisedConv(self.widths[k], (1, 1), **types, name=f"level{k}_colour")(x))
                share = 1.0 if level is None else jnp.clip(level - k, 0, 1)
                y = colours if y is None else fade(jnp.asarray(share), y, colours)
            stages.append(y)
            if k:
                y = act(EqualisedConv(self.widths[k], (3, 3), **types, name=f"level{k}_conv0")(y))
                y = act(EqualisedConv(self.widths[k - 1], (3, 3), **types, name=f"level{k}_conv1")(y))
                y, x = halved(y), halved(x)
        y = batch_deviation(y, self.group)
        y = act(EqualisedConv(self.widths[0], (3, 3), **types, name="level0_conv0")(y))
        y = y.reshape(len(y), -1)
        y = act(EqualisedDense(self.widths[0], dtype=self.dtype, name="level0_dense")(y)).astype(wide)
        out = {"stages": tuple(stages), "pre_logits": y}
        return (EqualisedDense(self.num_classes, 1.0, dtype=wide, name="head")(y) if self.num_classes else y), out


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
