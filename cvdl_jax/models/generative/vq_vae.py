"""VQ-VAE: an image as a small map of code words, each the nearest of a learned codebook.

    z = encode(x),  k = argmin_k |z - e_k|,  logits = decode(e_k);  the gradient passes from e_k to z unchanged

Like an autoencoder (`autoencoder.py`) it has `encode` and `decode`; its code is the map of words as one vector.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # van den Oord et al. 2017, "Neural Discrete Representation Learning", section 4.1: two convolutions of stride 2,
    # two residual blocks of 3x3 and 1x1, 256 hidden units, 512 words of 64 numbers
    "vq_vae_cifar10": {
        "input": (32, 32, 3), "image_shape": (32, 32, 3), "channels": (256, 256), "blocks": 2, "words": 512, "size": 64,
        # 4x4 kernels 12,544 + 1,048,832; blocks 4 * (590,080 + 65,792); to words 16,448 and from 16,640; 512 * 64;
        # back 1,048,832 + 12,291
        "params": 4_811_843,
    },
    "vq_vae_28": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "channels": (32, 64), "blocks": 1, "words": 64, "size": 16,
        # 544 + 32,832; 2 * (36,928 + 4,160); 1,040 and 1,088; 64 * 16; 32,800 + 513
        "params": 152_017,
    },
    "vq_vae_tiny": {
        "input": (8, 8, 1), "image_shape": (8, 8, 1), "channels": (4, 8), "blocks": 1, "words": 6, "size": 3,
        # 68 + 520; 2 * (584 + 72); 27 and 32; 6 * 3; 516 + 65
        "params": 2_558,
    },
}  # fmt: skip


class VQVAE(nn.Module):
    """Convolutions of stride 2 and residual blocks to a map of words, and the same the other way round.

    Attributes:
        image_shape: (h, w, c); 2^len(channels) must divide h and w.
        channels: of the convolutions, 4x4 with stride 2.
        blocks: residual blocks on either side of the code.
        words: of the codebook.
        size: d, numbers of a word.
        dtype: of the products; words and logits are at least float32.

    Reference: van den Oord et al. 2017, section 3.
    """

    image_shape: tuple[int, int, int]
    channels: tuple[Size, ...] = (256, 256)
    blocks: Counted = 2
    words: Size = 512
    size: Size = 64
    dtype: Any = jnp.float32

    variational = False  # as `Autoencoder` has it: its codes are no samples
    num_classes = 0

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the map of words. Raises ConfigError where the image cannot be halved often enough."""
        (h, w, _), scale = self.image_shape, 2 ** len(self.channels)
        if not self.channels or h % scale or w % scale:
            raise ConfigError(
                f"config.model.channels={self.channels} halves the image {len(self.channels)} times, at least once; "
                f"images of {h}x{w} pixels must divide by {scale}"
            )
        return h // scale, w // scale

    @property
    def latent(self) -> int:
        """Numbers of a code: those of all its words."""
        return math.prod(self.grid) * self.size

    def setup(self):
        """The layers of both halves and the codebook."""
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        wide = {"dtype": types["param_dtype"], "param_dtype": types["param_dtype"]}
        width, up = self.channels[-1], (*self.channels[-2::-1], self.image_shape[2])
        self.down = [Conv(n, (4, 4), (2, 2), **types, name=f"down{i}") for i, n in enumerate(self.channels)]
        self.up = [ConvTranspose(n, (4, 4), (2, 2), **types, name=f"up{i}") for i, n in enumerate(up)]
        for side in ("encoder", "decoder"):
            layers = [
                (
                    Conv(width, (3, 3), **types, name=f"{side}{i}_conv0"),
                    Conv(width, (1, 1), **types, name=f"{side}{i}_conv1"),
                )
                for i in range(self.blocks)
            ]
            setattr(self, f"{side}_blocks", layers)
        self.to_words, self.from_words = (nn.Dense(n, **wide, name=name) for n, name in (
            (self.size, "to_words"), (width, "from_words")))  # fmt: skip
        uniform = nn.initializers.uniform(2 / self.words)
        self.codebook = self.param("codebook", lambda *a: uniform(*a) - 1 / self.words, (self.words, self.size),
                                   types["param_dtype"])  # fmt: skip

    def encode(self, x: jax.Array, label: None = None) -> tuple[jax.Array, None]:
        """The code before it is made of words, [b, latent].

        Args:
            x: float [b, h, w, c].
            label: none; there is no conditional form.
        """
        check_images(x, self, "vq_vae", first="down0")
        if x.shape[1:] != self.image_shape:
            raise ConfigError(f"this autoencoder is for images of shape {self.image_shape}, got {x.shape[1:]}")
        y = x.astype(self.dtype)
        for layer in self.down:
            y = activation("relu")(layer(y))
        y = self.to_words(_residual(y, self.encoder_blocks))  # [b, h', w', d]
        return y.reshape(len(y), -1), None

    def nearest(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The words of a code z [b, latent]: their numbers int [b, h' w'], and the code of them [b, latent]."""
        rows = z.reshape(-1, self.size)
        far = (self.codebook**2).sum(1)[None] - 2 * rows @ self.codebook.T  # and |z|^2, which is the same for all
        chosen = jnp.argmin(far, 1)
        return chosen.reshape(len(z), -1), self.codebook[chosen].reshape(z.shape)

    def decode(self, z: jax.Array, train: bool, label: None = None) -> jax.Array:
        """Logits of pixels [b, h, w, c].

        Args:
            z: codes [b, latent], of words or of something between.
            train: changes nothing.
            label: none.
        """
        if z.shape[1:] != (self.latent,):
            raise ConfigError(f"this autoencoder takes codes [b, {self.latent}], got {z.shape}")
        y = self.from_words(z.reshape(len(z), *self.grid, self.size)).astype(self.dtype)
        y = _residual(y, self.decoder_blocks)
        for layer in self.up:
            y = layer(activation("relu")(y))
        return y.astype(at_least_float32(self.dtype))

    def __call__(
        self, x: jax.Array, train: bool, noise: None = None, label: None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Images there and back.

        Args:
            x: float [b, h, w, c].
            train: changes nothing.
            noise: none.
            label: none.

        Returns:
            Logits of pixels [b, h, w, c]; {"code": of words [b, latent], "words": their numbers int [b, h' w'],
            "to_words": the code before it was made of words minus the words, with the gradient of the code, and
            "of_words": the other way round, with the gradient of the codebook, both [b, latent]}.
        """
        z, _ = self.encode(x)
        words, code = self.nearest(z)
        passed = z + lax.stop_gradient(code - z)  # the words, with the gradient of z
        gaps = {"to_words": z - lax.stop_gradient(code), "of_words": code - lax.stop_gradient(z)}
        return self.decode(passed, train), {"code": lax.stop_gradient(code), "words": words, **gaps}


def _residual(y: jax.Array, blocks: list[tuple[nn.Module, nn.Module]]) -> jax.Array:
    """`y + conv1x1(relu(conv3x3(relu(y))))` for each block."""
    for first, second in blocks:
        y = y + second(activation("relu")(first(activation("relu")(y))))
    return y


def build(variant: str, image_shape: tuple[int, int, int], dtype: Any = jnp.float32, **overrides: Any) -> VQVAE:
    """A variant of the table with overrides, for images of `image_shape`."""
    return from_row(VQVAE, VARIANTS[variant], overrides, image_shape=image_shape, dtype=dtype)
