"""Vision Transformer: an image as a sequence of patches, a class token, learned positions, pre-norm encoder blocks.

z_0 = [class; patches E] + positions
z'_l = MSA(LN(z_{l-1})) + z_{l-1},   z_l = MLP(LN(z'_l)) + z'_l
s = LN(z_L)[0] W
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import SelfAttention
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, head, remat_block
from cvdl_jax.nn.dropout import Dropout, DropPath
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Touvron et al. 2021, "Training data-efficient image transformers", table 1
    "vit_tiny_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 192, "depth": 12, "heads": 3,
        "params": 5_717_416,  # timm's count
    },
    "vit_small_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 384, "depth": 12, "heads": 6,
        "params": 22_050_664,  # timm's count
    },
    # Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", table 1
    "vit_base_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "heads": 12,
        "params": 86_567_656,  # timm's count
    },
    "vit_large_patch16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 1024, "depth": 24, "heads": 16,
        "params": 304_326_632,  # timm's count
    },
    # ViT-Tiny for CIFAR images: 64 patches of 4x4 pixels
    "vit_tiny_patch4_32": {
        "input": (32, 32, 3), "num_classes": 10, "patch_size": 4, "width": 192, "depth": 12, "heads": 3,
        "params": 5_362_762,  # 49 * d + 66 * d + 12 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10, d = 192
    },
    "vit_patch4_16_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "patch_size": 4, "width": 16, "depth": 2, "heads": 2,
        "params": 7_834,  # 49 * d + 18 * d + 2 * (12 * d**2 + 13 * d) + 2 * d + (d + 1) * 10, d = 16
    },
}  # fmt: skip
KERNEL_INIT = nn.initializers.truncated_normal(0.02)


class EncoderBlock(nn.Module):
    """Attention and a two-layer perceptron with exact GELU, each behind a layer norm and inside a residual branch."""

    heads: int
    mlp_ratio: float
    dropout: float
    attention_dropout: float
    drop_path: float
    attention_weights: bool
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array | None]:
        """Args: x [b, n, d]; train: dropout. Returns: tokens [b, n, d] and weights [b, heads, n, n] or None."""
        d = x.shape[-1]
        dense = {"kernel_init": KERNEL_INIT, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        attend = SelfAttention(
            self.heads, self.attention_dropout, self.attention_weights, KERNEL_INIT, self.dtype, name="attention"
        )
        y, weights = attend(layer_norm(self.dtype, "norm0")(x), train)
        x = x + DropPath(self.drop_path)(Dropout(self.dropout)(y, train), train)
        y = nn.Dense(round(self.mlp_ratio * d), **dense, name="dense0")(layer_norm(self.dtype, "norm1")(x))
        y = Dropout(self.dropout)(activation("gelu")(y), train)  # [b, n, mlp_ratio d]
        y = Dropout(self.dropout)(nn.Dense(d, **dense, name="dense1")(y), train)
        return x + DropPath(self.drop_path)(y, train), weights


class ViT(nn.Module):
    """A Vision Transformer that classifies by its class token.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        image_size: pixels, one number or (h, w); the positions are learned for it.
        patch_size: side of a patch in pixels, a divisor of h and w.
        width: d, size of a token.
        depth: number of blocks.
        heads: attention heads, a divisor of d.
        mlp_ratio: hidden units of the perceptron over d.
        dropout: rate after the positions, the projections and the perceptron's layers.
        attention_dropout: rate on the attention weights.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        attention_weights: return the weights of every block (memory of order n^2 each).
        remat: recompute blocks in the backward pass.
        dtype: dtype of the products; norms, softmax and logits are at least float32.
    """

    num_classes: int
    image_size: int | tuple[int, int]
    patch_size: Size
    width: Size
    depth: Layers
    heads: Size
    mlp_ratio: Positive = 4.0
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    attention_weights: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], of `image_size`.
            train: dropout and stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": tokens [b, 1 + n, d] after every block, "tokens": the last ones
            normalised, "pre_logits": the class token [b, d], and "attention": weights [b, heads, 1 + n, 1 + n] of every
            block if `attention_weights`}. Token 0 is the class token, patches follow row by row.

        Raises:
            ConfigError: if the image is not of `image_size`, or the patch does not divide it.
        """
        self._check(x)
        x = self._embed(x.astype(self.dtype))  # [b, 1 + n, d]
        x = Dropout(self.dropout)(x, train)
        block = remat_block(EncoderBlock, self.remat)
        stages, attention = [], []
        for i in range(self.depth):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            x, weights = block(
                self.heads,
                self.mlp_ratio,
                self.dropout,
                self.attention_dropout,
                rate,
                self.attention_weights,
                self.dtype,
                name=f"block{i}",
            )(x, train)
            stages.append(x)
            attention.append(weights)
        x = layer_norm(self.dtype, "norm")(x)
        out = {"stages": tuple(stages), "tokens": x, "pre_logits": x[:, 0]}
        logits = head(x[:, 0], self.num_classes, self.dtype, KERNEL_INIT)
        return logits, {**out, "attention": tuple(attention)} if self.attention_weights else out

    def _embed(self, x: jax.Array) -> jax.Array:
        """Patches, class token and positions: [b, h, w, c] -> [b, 1 + n, d]."""
        wide, patch = at_least_float32(self.dtype), (self.patch_size, self.patch_size)
        types = {"dtype": self.dtype, "param_dtype": wide}
        x = nn.Conv(self.width, patch, patch, padding="VALID", **types, name="patch_embed")(x)  # [b, h / p, w / p, d]
        b, h, w, d = x.shape
        x = x.reshape(b, h * w, d)
        token = self.param("class_token", nn.initializers.normal(1e-6), (1, 1, d), wide).astype(self.dtype)
        positions = self.param("positions", nn.initializers.normal(0.02), (1, 1 + h * w, d), wide).astype(self.dtype)
        return jnp.concatenate([jnp.broadcast_to(token, (b, 1, d)), x], axis=1) + positions

    def _check(self, x: jax.Array) -> None:
        check_images(x, self, "vit", first="patch_embed")
        h, w = x.shape[1:3]
        wanted = self.image_size if isinstance(self.image_size, tuple) else (self.image_size, self.image_size)
        if (h, w) != wanted:
            raise ConfigError(
                f"this vit has positions for images of {wanted[0]}x{wanted[1]} pixels, got {h}x{w}; "
                f"set config.model.image_size={h if h == w else (h, w)} or config.data.image_size={wanted}"
            )
        if self.patch_size < 1 or h % self.patch_size or w % self.patch_size:
            divisors = [p for p in range(1, min(h, w) + 1) if h % p == 0 and w % p == 0]
            raise ConfigError(
                f"config.model.patch_size={self.patch_size} does not divide the image, {h}x{w}; use one of {divisors}"
            )


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> ViT:
    """A variant of the table with overrides; `image_size` is that of the table's input unless given."""
    fields = {"image_size": VARIANTS[variant]["input"][0], **overrides}
    return from_row(ViT, VARIANTS[variant], fields, num_classes=num_classes, dtype=dtype)
