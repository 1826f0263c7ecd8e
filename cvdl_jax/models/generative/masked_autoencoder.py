"""Masked autoencoder: a Transformer encodes a few patches of an image, a small one guesses the pixels of the others.

    z = Encoder([class; E x_p + position_p] of visible patches p),    y = W Decoder(D z and mask tokens + positions)

The encoder's parts have the names of `backbones/vit.py` with `sincos`, under "encoder".
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Positive, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, remat_block
from cvdl_jax.nn.transformer import KERNEL_INIT, Block
from cvdl_jax.ops.positions import sincos
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 4 and appendix A.1: a decoder of 8
    # blocks of 512. Their program counts 111,907,840 and 329,541,888 with fixed positions, 197 (width + 512), which are
    # no parameters here.
    "mae_vit_base_patch16": {
        "input": (224, 224, 3), "image_shape": (224, 224, 3), "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16, "params": 111_655_680,
    },
    "mae_vit_large_patch16": {
        "input": (224, 224, 3), "image_shape": (224, 224, 3), "patch_size": 16, "width": 1024, "depth": 24, "heads": 16,
        "decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16, "params": 329_239_296,
    },
    # our size for CIFAR: encoder 49 * d + d + 4 * (12 * d**2 + 13 * d) + 2 * d, d = 128; decoder
    # (d + 1) * e + e + 2 * (12 * e**2 + 13 * e) + 2 * e + (e + 1) * 48, e = 64
    "mae_patch4_32": {
        "input": (32, 32, 3), "image_shape": (32, 32, 3), "patch_size": 4, "width": 128, "depth": 4, "heads": 4,
        "decoder_width": 64, "decoder_depth": 2, "decoder_heads": 4, "params": 911_280,
    },
    "mae_tiny": {
        "input": (16, 16, 3), "image_shape": (16, 16, 3), "patch_size": 4, "width": 16, "depth": 1, "heads": 2,
        "decoder_width": 8, "decoder_depth": 1, "decoder_heads": 2, "params": 5_576,  # 4,112 and 1,464
    },
}  # fmt: skip


def patches_of(images: jax.Array, size: int) -> jax.Array:
    """Images [b, h, w, c] in patches, row by row: [b, h w / size^2, size^2 c]."""
    b, h, w, c = images.shape
    x = images.reshape(b, h // size, size, w // size, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, (h // size) * (w // size), size * size * c)


def images_of(patches: jax.Array, shape: tuple[int, int, int], size: int) -> jax.Array:
    """The images [b, *shape] whose `patches_of` these are."""
    h, w, c = shape
    x = patches.reshape(len(patches), h // size, w // size, size, size, c)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(len(patches), h, w, c)


class Encoder(nn.Module):
    """A pre-norm Transformer of the class token and of the patches that it is given; see `MaskedAutoencoder`."""

    patch_size: int
    width: int
    depth: int
    heads: int
    mlp_ratio: float
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, visible: jax.Array | None = None) -> jax.Array:
        """Args: x [b, h, w, c]; visible int [b, v], None for all patches. Returns: normalised tokens [b, 1 + v, d]."""
        check_images(x, self, "masked autoencoder", self.patch_size, "patch_embed")
        wide, patch = at_least_float32(self.dtype), (self.patch_size, self.patch_size)
        types = {"dtype": self.dtype, "param_dtype": wide}
        x = nn.Conv(self.width, patch, patch, padding="VALID", **types, name="patch_embed")(x.astype(self.dtype))
        b, h, w, d = x.shape
        x = x.reshape(b, h * w, d) + sincos((h, w), d).astype(self.dtype)[None]
        if visible is not None:  # before the blocks, which never see the others
            x = jnp.take_along_axis(x, visible[..., None], 1)  # [b, v, d]
        token = self.param("class_token", nn.initializers.normal(0.02), (1, 1, d), wide).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, d)), x], 1)
        x = _blocks(x, train, self.depth, self.heads, round(self.mlp_ratio * d), self.remat, self.dtype)
        return layer_norm(self.dtype, "norm")(x)


def _blocks(x: jax.Array, train: bool, depth: int, heads: int, hidden: int, remat: bool, dtype: Any) -> jax.Array:
    for i in range(depth):
        x, _ = remat_block(Block, remat)(heads, hidden, dtype=dtype, name=f"block{i}")(x, train)
    return x


class Decoder(nn.Module):
    """Guesses the pixels of all patches from the tokens of some; see `MaskedAutoencoder`."""

    width: int
    depth: int
    heads: int
    mlp_ratio: float
    outputs: int
    remat: bool
    dtype: Any

    @nn.compact
    def __call__(self, tokens: jax.Array, train: bool, grid: tuple[int, int], visible: jax.Array | None) -> jax.Array:
        """Args: tokens [b, 1 + v, d]; grid of all patches; visible int [b, v]. Returns: [b, n, outputs]."""
        wide, n, d = at_least_float32(self.dtype), grid[0] * grid[1], self.width
        types = {"dtype": self.dtype, "param_dtype": wide, "kernel_init": KERNEL_INIT}
        x = nn.Dense(d, **types, name="embed")(tokens)
        mask = self.param("mask_token", nn.initializers.normal(0.02), (1, 1, d), wide).astype(self.dtype)
        patches = x[:, 1:]
        if visible is not None:
            hidden = jnp.broadcast_to(mask, (len(x), n, d))
            patches = jax.vmap(lambda all_of, rows, at: all_of.at[at].set(rows))(hidden, patches, visible)
        x = jnp.concatenate([x[:, :1], patches + sincos(grid, d).astype(self.dtype)[None]], 1)  # [b, 1 + n, d]
        x = _blocks(x, train, self.depth, self.heads, round(self.mlp_ratio * d), self.remat, self.dtype)
        x = layer_norm(self.dtype, "norm")(x)
        return nn.Dense(self.outputs, **{**types, "dtype": wide}, name="pixels")(x[:, 1:])


class MaskedAutoencoder(nn.Module):
    """An encoder of visible patches, and a decoder of all.

    Attributes:
        image_shape: (h, w, c).
        patch_size: side of a patch in pixels, a divisor of h and w.
        width: d, size of a token of the encoder.
        depth: number of its blocks.
        heads: its attention heads, a divisor of d.
        decoder_width: size of a token of the decoder.
        decoder_depth: number of its blocks.
        decoder_heads: its attention heads.
        mlp_ratio: hidden units of the perceptrons over the width, of both.
        remat: recompute blocks in the backward pass.
        dtype: of the products; norms, softmax and the guesses are at least float32.

    Reference: He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners", section 3.
    """

    image_shape: tuple[int, int, int]
    patch_size: Size
    width: Size
    depth: Layers
    heads: Size
    decoder_width: Size
    decoder_depth: Layers
    decoder_heads: Size
    mlp_ratio: Positive = 4.0
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        """Makes both halves."""
        how = (self.mlp_ratio, self.remat, self.dtype)
        self.encoder = Encoder(self.patch_size, self.width, self.depth, self.heads, *how)
        outputs = self.patch_size**2 * self.image_shape[2]
        small = (self.decoder_width, self.decoder_depth, self.decoder_heads, self.mlp_ratio, outputs)
        self.decoder = Decoder(*small, self.remat, self.dtype)

    @property
    def grid(self) -> tuple[int, int]:
        """Patches in a column and in a row. Raises ConfigError where the patch does not divide the image."""
        h, w, _ = self.image_shape
        p = self.patch_size
        if h % p or w % p:
            raise ConfigError(f"config.model.patch_size={p} does not divide the image, {h}x{w}")
        return h // p, w // p

    def __call__(
        self, x: jax.Array, train: bool, visible: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Guesses pixels.

        Args:
            x: float [b, h, w, c].
            train: of the blocks.
            visible: int [b, v], the patches that the encoder sees, row by row; None for all.

        Returns:
            guesses of all patches [b, n, p^2 c]; {"tokens": of the encoder, normalised [b, 1 + v, d], the class token
            first, "pre_logits": the mean of those of patches [b, d]}.
        """
        if x.shape[1:] != tuple(self.image_shape):
            raise ConfigError(f"a masked autoencoder for images {self.image_shape} got {x.shape[1:]}")
        grid = self.grid
        tokens = self.encoder(x, train, visible)
        features = tokens[:, 1:].astype(at_least_float32(self.dtype)).mean(1)
        return self.decoder(tokens, train, grid, visible), {"tokens": tokens, "pre_logits": features}

    def encode(self, x: jax.Array, train: bool = False) -> jax.Array:
        """The features of whole images, the mean of the tokens of patches: [b, h, w, c] -> [b, d]."""
        return self.encoder(x, train)[:, 1:].astype(at_least_float32(self.dtype)).mean(1)


def build(
    variant: str, image_shape: tuple[int, int, int], dtype: Any = jnp.float32, **overrides: Any
) -> MaskedAutoencoder:
    """A variant of the table with overrides, for images of `image_shape`."""
    return from_row(MaskedAutoencoder, VARIANTS[variant], overrides, image_shape=image_shape, dtype=dtype)
