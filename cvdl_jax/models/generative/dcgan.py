"""DCGAN: a generator of images by up-sampling convolutions, and a discriminator that scores them by strided ones.

A generator is called as `(z [b, latent], train) -> (images, out)`; a discriminator classifies images, so it is called
as every backbone, `(x, train) -> (logits, out)`. With `labels` both are told a class, as a further channel.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, NotNegative, Size
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conditions import LabelChannel, one_hot
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.init import HE_NORMAL
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Radford et al. 2016, "Unsupervised Representation Learning with DCGANs", figure 1
    "dcgan_generator": {
        "input": (100,), "shape": (64, 64, 3), "latent": 100, "widths": (1024, 512, 256, 128), "kernel": 5,
        # projection of 100 to 4x4x1024; kernels 5x5: 1024-512, 512-256, 256-128, 128-3; norms; the last bias:
        # 100 * 16 * 1024 + 25 * (1024 * 512 + 512 * 256 + 256 * 128 + 128 * 3) + 2 * 1920 + 3
        "params": 18_855_043,
    },
    # the same for 28x28 images, with fewer maps and no paper
    "dcgan_generator_28": {
        "input": (64,), "shape": (28, 28, 1), "latent": 64, "widths": (64, 32), "kernel": 4,
        "params": 234_177,  # 64 * 49 * 64 + 16 * (64 * 32 + 32 * 1) + 2 * 96 + 1
    },
    "dcgan_generator_tiny": {
        "input": (6,), "shape": (8, 8, 1), "latent": 6, "widths": (8, 4), "kernel": 4,
        "params": 793,  # 6 * 4 * 8 + 16 * (8 * 4 + 4 * 1) + 2 * 12 + 1
    },
    # Radford et al. 2016, "Unsupervised Representation Learning with DCGANs", figure 1 mirrored
    "dcgan_discriminator": {
        "kind": "backbones", "input": (64, 64, 3), "num_classes": 1, "widths": (128, 256, 512, 1024), "kernel": 5,
        # kernels 5x5: 3-128, 128-256, 256-512, 512-1024; norms; the bias of conv0; the head:
        # 25 * (384 + 2**15 + 2**17 + 2**19) + 2 * 1792 + 128 + 16 * 1024 + 1
        "params": 17_232_897,
    },
    # the same for 28x28 images, with fewer maps and no paper
    "dcgan_discriminator_28": {
        "kind": "backbones", "input": (28, 28, 1), "num_classes": 1, "widths": (32, 64), "kernel": 4,
        "params": 36_577,  # 16 * (32 + 2048) + 2 * 64 + 32 + 49 * 64 + 1
    },
    "dcgan_discriminator_tiny": {
        "kind": "backbones", "input": (8, 8, 1), "num_classes": 1, "widths": (4, 8), "kernel": 4,
        "params": 629,  # 16 * (4 + 32) + 2 * 8 + 4 + 4 * 8 + 1
    },
}  # fmt: skip
NORMAL_002 = nn.initializers.normal(0.02)  # Radford et al. 2016, section 4


class Generator(nn.Module):
    """A dense layer to the smallest image, then one up-sampling by two for each width; batch normalisation and ReLU.

    "transposed" up-samples by a fractionally strided convolution, as in the paper; "nearest" repeats each pixel and
    convolves, which leaves no checkerboard. The last layer has a bias, no normalisation, and ends in tanh.

    Attributes:
        shape: (h, w, c) of the images; 2^len(widths) must divide h and w.
        latent: d, the length of z.
        widths: number of channels of the smallest image and of every image after it but the last.
        kernel: side of the kernels.
        upsample: "transposed" or "nearest".
        labels: classes of the label that it is told, as a further channel of the smallest image; 0 for none.
        embedding: numbers that a label becomes first.
        dtype: dtype of all layers; the images are at least float32.

    Reference: Radford et al. 2016, section 3 and figure 1.
    """

    shape: tuple[int, int, int]
    latent: Size = 64
    widths: tuple[Size, ...] = (64, 32)
    kernel: Size = 4
    upsample: Literal["transposed", "nearest"] = "transposed"
    labels: Counted = 0
    embedding: Size = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, train: bool, label: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent], N(0, 1) by convention.
            train: batch statistics used and updated.
            label: int [b], of a generator that is told one.

        Returns:
            images [b, h, w, c] in -1..1; {"stages": one array [b, h / 2^i, w / 2^i, widths[n - i]] per width}.

        Raises:
            ConfigError: if the image's sides cannot be halved often enough, or z has another length.
        """
        (h, w, c), scale, wide = self.shape, 2 ** len(self.widths), at_least_float32(self.dtype)
        if h % scale or w % scale or not self.widths:
            raise ConfigError(
                f"config.model.generator.widths={self.widths} doubles the image {len(self.widths)} times, at least "
                f"once; images of {h}x{w} pixels must divide by {scale}"
            )
        if z.shape[1:] != (self.latent,):
            raise ConfigError(f"this generator takes z of shape [b, {self.latent}], got {z.shape}")
        x = nn.Dense(
            h // scale * w // scale * self.widths[0], use_bias=False, kernel_init=NORMAL_002, dtype=self.dtype,
            param_dtype=wide, name="project",
        )(z.astype(self.dtype))  # fmt: skip
        x = x.reshape(-1, h // scale, w // scale, self.widths[0])  # [b, h / 2^n, w / 2^n, widths[0]]
        told = None
        if self.labels:
            told = LabelChannel(self.embedding, x.shape[1:3], self.dtype, name="label")(
                one_hot(label, self.labels, len(z), self)
            )
        stages = []
        for i, width in enumerate((*self.widths[1:], c)):
            x = activation("relu")(BatchNorm(dtype=self.dtype, name=f"norm{i}")(x, train))
            stages.append(x)
            x = jnp.concatenate([x, told], -1) if i == 0 and told is not None else x
            x = self._double(x, width, use_bias=i == len(self.widths) - 1, name=f"conv{i}")  # [b, 2h', 2w', width]
        return activation("tanh")(x.astype(wide)), {"stages": tuple(stages)}

    def _double(self, x: jax.Array, width: int, use_bias: bool, name: str) -> jax.Array:
        size, types = (self.kernel, self.kernel), {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        if self.upsample == "transposed":
            return ConvTranspose(width, size, (2, 2), use_bias, NORMAL_002, **types, name=name)(x)
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)  # [b, 2h', 2w', c']
        return Conv(width, size, use_bias=use_bias, kernel_init=NORMAL_002, **types, name=name)(x)


def _image_norm(dtype: Any, name: str) -> nn.LayerNorm:
    """Layer normalisation of a whole image [h, w, c], scale and bias per channel (Gulrajani et al. 2017, section 4)."""
    return nn.LayerNorm(
        epsilon=1e-5, dtype=dtype, param_dtype=at_least_float32(dtype), reduction_axes=(-3, -2, -1), feature_axes=-1,
        use_fast_variance=False, name=name,
    )  # fmt: skip


class Discriminator(nn.Module):
    """Convolutions of stride 2, each followed by normalisation (but the first) and a leaky ReLU; a linear score.

    The score is a logit: there is no sigmoid. A critic whose gradient is penalised row by row must not mix rows, so it
    takes `norm="layer"` or `norm="none"`. Weights start from N(0, 0.02^2) before batch normalisation, which makes their
    scale irrelevant, else from He's normal.

    Attributes:
        num_classes: number of scores, 1 for a discriminator; 0 for the features, without a head.
        widths: number of channels of every convolution; each one halves the image, rounded up.
        kernel: side of the kernels.
        norm: "batch", "layer" (over the whole image) or "none".
        slope: slope of the leaky ReLU for negative inputs.
        labels: classes of the label that it is told, as a further channel of the image; 0 for none.
        embedding: numbers that a label becomes first.
        dtype: dtype of all layers but the last, which is at least float32.

    Reference: Radford et al. 2016, section 3; Gulrajani et al. 2017, "Improved Training of Wasserstein GANs",
    section 4.
    """

    num_classes: int
    widths: tuple[Size, ...] = (32, 64)
    kernel: Size = 4
    norm: str = "batch"
    slope: NotNegative = 0.2
    labels: Counted = 0
    embedding: Size = 8
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, label: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c], in -1..1 by convention.
            train: batch statistics used and updated.
            label: int [b], of a discriminator that is told one.

        Returns:
            logits [b, num_classes]; {"stages": one array [b, h / 2^i, w / 2^i, widths[i - 1]] per convolution,
            "pre_logits": the last one flattened}.

        Raises:
            ConfigError: for an unknown norm, or something that is no image.
        """
        check_images(x, self, "dcgan discriminator", 2, "" if self.labels else "conv0")
        wide, stages = at_least_float32(self.dtype), []
        norms: dict[str, Callable[[int], Callable]] = {
            "batch": lambda i: lambda y: BatchNorm(dtype=self.dtype, name=f"norm{i}")(y, train),
            "layer": lambda i: _image_norm(self.dtype, f"norm{i}"),
            "none": lambda i: lambda y: y,
        }
        if self.norm not in norms:
            raise ConfigError(f"config.model.norm={self.norm!r} is not known; {nearest(self.norm, norms)}")
        init = NORMAL_002 if self.norm == "batch" else HE_NORMAL
        x = x.astype(self.dtype)
        if self.labels:
            channel = LabelChannel(self.embedding, x.shape[1:3], self.dtype, name="label")
            x = jnp.concatenate([x, channel(one_hot(label, self.labels, len(x), self))], -1)
        for i, width in enumerate(self.widths):
            normalised = i > 0 and self.norm != "none"
            x = Conv(
                width, (self.kernel, self.kernel), (2, 2), use_bias=not normalised, kernel_init=init,
                dtype=self.dtype, param_dtype=wide, name=f"conv{i}",
            )(x)  # [b, h / 2, w / 2, width]  # fmt: skip
            x = norms[self.norm](i)(x) if normalised else x
            x = activation(f"leaky_relu(slope={self.slope})")(x)
            stages.append(x)
        x = x.reshape(x.shape[0], -1).astype(wide)  # [b, h / 2^n * w / 2^n * widths[-1]]
        logits = head(x, self.num_classes, self.dtype, init)
        return logits, {"stages": tuple(stages), "pre_logits": x}


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
