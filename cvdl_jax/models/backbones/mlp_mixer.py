"""MLP-Mixer: patches whose values are mixed by perceptrons alone, in turn over all places and over all channels.

    u = x + (W_2 gelu(W_1 LN(x)^T))^T      over the n places, the same for every channel
    y = u + W_4 gelu(W_3 LN(u))            over the d channels, the same for every place

The scores are a linear map of the normalised tokens' mean. There are no positions, because every place has weights of
its own, which also fixes the size of the image. The head begins small instead of at the paper's zero, with which the
first step would teach nothing else.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import pair_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, check_patches, head, product_of_rows, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout, DropPath
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Tolstikhin et al. 2021, "MLP-Mixer: An all-MLP Architecture for Vision", table 1: 19 M, 18 M, 60 M, 59 M, 206 M,
    # 207 M and 431 M parameters. timm's names and counts; timm has no H/14
    "mixer_s32_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 512, "depth": 8, "token_units": 256,
        "channel_units": 2048, "macs": 1_002_426_368, "params": 19_104_624,
    },
    "mixer_s16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 512, "depth": 8, "token_units": 256,
        "channel_units": 2048, "macs": 3_776_958_464, "params": 18_528_264,
    },
    "mixer_b32_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 768, "depth": 12, "token_units": 384,
        "channel_units": 3072, "macs": 3_237_722_112, "params": 60_293_428,
    },
    "mixer_b16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 768, "depth": 12, "token_units": 384,
        "channel_units": 3072, "macs": 12_601_767_936, "params": 59_880_472,
    },
    "mixer_l32_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 32, "width": 1024, "depth": 24, "token_units": 512,
        "channel_units": 4096, "macs": 11_253_293_056, "params": 206_939_264,
    },
    "mixer_l16_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 16, "width": 1024, "depth": 24, "token_units": 512,
        "channel_units": 4096, "macs": 44_547_678_208, "params": 208_196_168,
    },
    "mixer_h14_224": {
        "input": (224, 224, 3), "num_classes": 1000, "patch_size": 14, "width": 1280, "depth": 32, "token_units": 640,
        "channel_units": 5120, "macs": 120_989_911_040, "params": 432_350_952,
    },
    "mixer_4_16_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "patch_size": 4, "width": 16, "depth": 2, "token_units": 8,
        "channel_units": 32, "macs": 53_408, "params": 3_818,
    },
}  # fmt: skip


class Perceptron(nn.Module):
    """Two dense layers with exact GELU between them, back to the size of the input."""

    units: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [..., d]; train: dropout. Returns: array like x."""
        types = {
            "kernel_init": nn.initializers.xavier_uniform(), "bias_init": nn.initializers.normal(1e-6),
            "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype), "dot_general": product_of_rows,
        }  # fmt: skip
        y = Dropout(self.dropout)(activation("gelu")(nn.Dense(self.units, **types, name="dense0")(x)), train)
        return Dropout(self.dropout)(nn.Dense(x.shape[-1], **types, name="dense1")(y), train)


class Block(nn.Module):
    """A perceptron over places and one over channels, each behind a layer norm and inside a residual branch."""

    token_units: int
    channel_units: int
    dropout: float
    drop_path: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, n, d]; train: dropout. Returns: array like x."""
        y = jnp.swapaxes(layer_norm(self.dtype, "norm0")(x), 1, 2)  # [b, d, n]
        y = Perceptron(self.token_units, self.dropout, self.dtype, name="tokens")(y, train)
        x = x + DropPath(self.drop_path)(jnp.swapaxes(y, 1, 2), train)
        y = layer_norm(self.dtype, "norm1")(x)
        y = Perceptron(self.channel_units, self.dropout, self.dtype, name="channels")(y, train)
        return x + DropPath(self.drop_path)(y, train)


class MLPMixer(nn.Module):
    """Patches, mixing blocks, layer norm, mean over places, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        image_size: pixels, one number or (h, w); the perceptrons over places are made for it.
        patch_size: side of a patch in pixels, a divisor of h and w.
        width: d, channels of a token.
        depth: number of blocks.
        token_units: hidden units of the perceptrons over places, D_S of the paper.
        channel_units: hidden units of the perceptrons over channels, D_C of the paper.
        dropout: rate inside the perceptrons.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        remat: recompute blocks in the backward pass.
        dtype: dtype of the products; norms and logits are at least float32.
    """

    num_classes: int
    image_size: int | tuple[int, int]
    patch_size: Size
    width: Size
    depth: Layers
    token_units: Size
    channel_units: Size
    dropout: Share = 0.0
    drop_path: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], of `image_size`.
            train: dropout and stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": (the last block's tokens as a map [b, h / p, w / p, d],), "tokens":
            normalised [b, n, d], patches row by row, "pre_logits": their mean [b, d]}.

        Raises:
            ConfigError: if the image is not of `image_size`, or the patch does not divide it.
        """
        check_images(x, self, "mlp_mixer", first="patch_embed")
        check_patches(x, "mlp_mixer", "weights", self.image_size, self.patch_size)
        wide, patch = at_least_float32(self.dtype), (self.patch_size, self.patch_size)
        types = {"dtype": self.dtype, "param_dtype": wide}
        embed = Conv(self.width, patch, patch, padding="VALID", **types, name="patch_embed")
        grid = embed(x.astype(self.dtype))  # [b, h / p, w / p, d]
        x = grid.reshape(grid.shape[0], -1, self.width)  # [b, n, d]
        block = remat_block(Block, self.remat)
        for i in range(self.depth):
            rate = self.drop_path * i / max(self.depth - 1, 1)
            layer = block(self.token_units, self.channel_units, self.dropout, rate, self.dtype, name=f"block{i}")
            x = layer(x, train)
        stage = x.reshape(grid.shape)
        x = layer_norm(self.dtype, "norm")(x)
        mean = x.astype(wide).mean(1)  # [b, d]
        logits = head(mean, self.num_classes, self.dtype, nn.initializers.truncated_normal(0.02))
        return logits, {"stages": (stage,), "tokens": x, "pre_logits": mean}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> MLPMixer:
    """A variant of the table with overrides; `image_size` is that of the table's input unless given."""
    fields = {"image_size": VARIANTS[variant]["input"][0], **overrides}
    return from_row(MLPMixer, VARIANTS[variant], fields, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (timm's name, transform)}."""
    names: dict[str, tuple[str, str]] = {}

    def add(ours: str, torch: str, how: str = "dense", entry: str = "kernel") -> None:
        names.update(pair_names(f"params/{ours}", torch, how, entry))

    add("patch_embed", "stem.proj", "conv")
    for i in range(VARIANTS[variant]["depth"]):
        for j, part in enumerate(("tokens", "channels")):
            add(f"block{i}/norm{j}", f"blocks.{i}.norm{j + 1}", "", "scale")
            for k in range(2):
                add(f"block{i}/{part}/dense{k}", f"blocks.{i}.mlp_{part}.fc{k + 1}")
    add("norm", "norm", "", "scale")
    add("head", "head")
    return names
