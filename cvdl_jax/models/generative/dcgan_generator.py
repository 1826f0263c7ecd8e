"""The generator of DCGAN: from a latent vector to an image by up-sampling and convolutions.

A generator is no image model, so the index of `models/` does not list it: `(z [b, latent], train) -> (image, out)`.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Radford et al. 2016, "Unsupervised Representation Learning with DCGANs", figure 1
    "dcgan_generator": {"output": (64, 64, 3), "latent": 100, "widths": (1024, 512, 256, 128), "kernel": 5},
    # the same for 28x28 images, with fewer maps and no paper
    "dcgan_generator_28": {"output": (28, 28, 1), "latent": 64, "widths": (64, 32), "kernel": 4},
    "dcgan_generator_tiny": {"output": (8, 8, 1), "latent": 6, "widths": (8, 4), "kernel": 4},
}
NORMAL_002 = nn.initializers.normal(0.02)  # Radford et al. 2016, section 4


class Generator(nn.Module):
    """A dense layer to the smallest image, then one up-sampling by two for each width; batch normalisation and ReLU.

    "transposed" up-samples by a fractionally strided convolution, as in the paper; "nearest" repeats each pixel and
    convolves, which leaves no checkerboard. The last layer has a bias, no normalisation, and ends in tanh.

    Attributes:
        shape: (h, w, c) of the images; 2^len(widths) must divide h and w.
        latent: d, the length of z.
        widths: channels of the smallest image and of each one after it but the last.
        kernel: side of the kernels.
        upsample: "transposed" or "nearest".
        dtype: of all layers; the images are at least float32.

    Reference: Radford et al. 2016, section 3 and figure 1.
    """

    shape: tuple[int, int, int]
    latent: int = 64
    widths: tuple[int, ...] = (64, 32)
    kernel: int = 4
    upsample: Literal["transposed", "nearest"] = "transposed"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent], N(0, 1) by convention.
            train: batch statistics used and updated.

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
        stages = []
        for i, width in enumerate((*self.widths[1:], c)):
            x = activation("relu")(BatchNorm(dtype=self.dtype, name=f"norm{i}")(x, train))
            stages.append(x)
            x = self._double(x, width, use_bias=i == len(self.widths) - 1, name=f"conv{i}")  # [b, 2h', 2w', width]
        return activation("tanh")(x.astype(wide)), {"stages": tuple(stages)}

    def _double(self, x: jax.Array, width: int, use_bias: bool, name: str) -> jax.Array:
        size, types = (self.kernel, self.kernel), {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        if self.upsample == "transposed":
            return ConvTranspose(width, size, (2, 2), use_bias, NORMAL_002, **types, name=name)(x)
        x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)  # [b, 2h', 2w', c']
        return Conv(width, size, use_bias=use_bias, kernel_init=NORMAL_002, **types, name=name)(x)


def build(name: str, shape: tuple[int, int, int], dtype: Any = jnp.float32, **overrides: Any) -> Generator:
    """A variant of the table for images of `shape`, with overrides, checked.

    Raises:
        ConfigError: for an unknown variant or field, or a value of another type.
    """
    if name not in VARIANTS:
        raise ConfigError(f"config.model.generator.name={name!r} is not a generator; {nearest(name, VARIANTS)}")
    fields = {key: value for key, value in VARIANTS[name].items() if key != "output"}
    return configs.call(
        Generator, {**fields, **overrides}, "config.model.generator", shape=tuple(shape), dtype=jnp.dtype(dtype),
        parent=None, name=None,
    )  # fmt: skip
