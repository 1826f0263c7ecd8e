"""Swin Transformer: attention inside windows, which every second block shifts by half, and merged patches.

    z' = x + W-MSA(LN(x)),   y = z' + MLP(LN(z')),   then the same with shifted windows
    attention = softmax(Q K^T / sqrt(d) + B) V,   B[i, j] a learned number for the offset of pixel i from pixel j

A shift rolls the map, so that a window at the border holds pixels from both ends; those may not attend to each other.
Maps that windows do not divide are padded with zeros at the right and at the bottom, which take part in attention, and
a map of one window is not shifted, both as in torchvision. Between stages four neighbours become one token of twice the
channels.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Layers, Positive, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import pair_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import Attention
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import check_images, head, product_of_rows, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout, DropPath
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Liu et al. 2021, "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", section 3.3 and table
    # 1: 29 M parameters and 4.5 G multiply-adds, 50 M and 8.7 G, 88 M and 15.4 G. torchvision's counts
    "swin_t": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 96, "depths": (2, 2, 6, 2), "heads": (3, 6, 12, 24),
        "drop_path": 0.2, "macs": 4_490_566_656, "params": 28_288_354,
    },
    "swin_s": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 96, "depths": (2, 2, 18, 2), "heads": (3, 6, 12, 24),
        "drop_path": 0.3, "macs": 8_740_875_264, "params": 49_606_258,
    },
    "swin_b": {
        "input": (224, 224, 3), "num_classes": 1000, "width": 128, "depths": (2, 2, 18, 2), "heads": (4, 8, 16, 32),
        "drop_path": 0.5, "macs": 15_430_946_816, "params": 87_768_224,
    },
    "swin_8_16_tiny": {
        "input": (16, 16, 3), "num_classes": 10, "patch_size": 2, "width": 8, "depths": (2, 1), "heads": (2, 4),
        "window": 3, "macs": 224_832, "params": 6_122,
    },
}  # fmt: skip
KERNEL_INIT = nn.initializers.truncated_normal(0.02)
EPSILON = 1e-5  # of the layer norms, as in the release and in torchvision
NEVER = -100.0  # added to the scores of pairs that a shift has brought into one window, as in the release


def offsets(window: int) -> np.ndarray:
    """The row of the table of biases for each pair of pixels of a window, int [window^2, window^2].

    Pixel i at (r, c) and j at (s, t) have row `(r - s + window - 1) (2 window - 1) + (c - t + window - 1)`.
    """
    rows, columns = (index.ravel() for index in np.indices((window, window)))
    down, right = (place[:, None] - place[None] + window - 1 for place in (rows, columns))
    return down * (2 * window - 1) + right


def shift_mask(h: int, w: int, window: int, shifts: tuple[int, int]) -> np.ndarray:
    """What is added to scores in windows of a rolled map: 0 for pixels that were neighbours before, else NEVER.

    Args:
        h: height of the map, a multiple of the window; w: its width.
        w: width.
        window: side of a window.
        shifts: by which rows and columns were rolled; 0 for not at all.

    Returns:
        float [h w / window^2, window^2, window^2].
    """

    def part(size: int, shift: int) -> np.ndarray:
        place = np.arange(size)
        return (place >= size - window).astype(int) + (place >= size - shift) if shift else 0 * place

    parts = 3 * part(h, shifts[0])[:, None] + part(w, shifts[1])[None]  # [h, w]
    parts = parts.reshape(h // window, window, w // window, window).swapaxes(1, 2).reshape(-1, window**2)
    return np.where(parts[:, :, None] == parts[:, None], 0.0, NEVER).astype(np.float32)


class WindowAttention(nn.Module):
    """Self-attention of the pixels in each window of a map.

    Attributes:
        heads: a divisor of the channels.
        window: side of a window in pixels.
        shift: by how many pixels windows are shifted down and to the right.
        dropout: rate on the attention weights.
        dtype: of the products.
    """

    heads: int
    window: int
    shift: int
    dropout: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: dropout. Returns: array like x."""
        (b, h, w, c), m = x.shape, self.window
        x = jnp.pad(x, ((0, 0), (0, -h % m), (0, -w % m), (0, 0)))
        rows, columns = x.shape[1] // m, x.shape[2] // m
        shifts = (self.shift if rows > 1 else 0, self.shift if columns > 1 else 0)
        x = jnp.roll(x, (-shifts[0], -shifts[1]), (1, 2)) if any(shifts) else x
        x = x.reshape(b, rows, m, columns, m, c).swapaxes(2, 3).reshape(-1, m * m, c)  # [b windows, m^2, c]
        shape, wide = ((2 * m - 1) ** 2, self.heads), at_least_float32(self.dtype)
        table = self.param("relative_bias", KERNEL_INIT, shape, wide)
        bias = table[offsets(m)].transpose(2, 0, 1)[None]  # [1, heads, m^2, m^2]
        if any(shifts):
            bias = bias + shift_mask(rows * m, columns * m, m, shifts)[:, None]  # [windows, heads, m^2, m^2]
        attend = Attention(self.heads, self.dropout, False, KERNEL_INIT, self.dtype, name="attention")
        x, _ = attend(x, train, bias)
        x = x.reshape(b, rows, columns, m, m, c).swapaxes(2, 3).reshape(b, rows * m, columns * m, c)
        x = jnp.roll(x, shifts, (1, 2)) if any(shifts) else x
        return x[:, :h, :w]


class Block(nn.Module):
    """Window attention and a perceptron with exact GELU, each behind a layer norm and inside a residual branch."""

    heads: int
    window: int
    shift: int
    mlp_ratio: float
    dropout: float
    attention_dropout: float
    drop_path: float
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, h, w, c]; train: dropout. Returns: array like x."""
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype), "dot_general": product_of_rows}
        types |= {"kernel_init": nn.initializers.xavier_uniform(), "bias_init": nn.initializers.normal(1e-6)}
        y = layer_norm(self.dtype, "norm0", EPSILON)(x)
        attend = WindowAttention(
            self.heads, self.window, self.shift, self.attention_dropout, self.dtype, name="window_attention"
        )
        y = Dropout(self.dropout)(attend(y, train), train)
        x = x + DropPath(self.drop_path)(y, train)
        y = layer_norm(self.dtype, "norm1", EPSILON)(x)
        y = activation("gelu")(nn.Dense(round(self.mlp_ratio * x.shape[-1]), **types, name="dense0")(y))
        y = nn.Dense(x.shape[-1], **types, name="dense1")(Dropout(self.dropout)(y, train))
        return x + DropPath(self.drop_path)(Dropout(self.dropout)(y, train), train)


class PatchMerging(nn.Module):
    """Four neighbours to one token: `LN([x_00, x_10, x_01, x_11]) W` without bias; odd maps get a row of zeros more.

    Attributes:
        dtype: of the product.

    Reference: Liu et al. 2021, section 3.1.
    """

    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x [b, h, w, c]. Returns: [b, ceil(h / 2), ceil(w / 2), 2 c]."""
        x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
        parts = [x[:, i::2, j::2] for j in range(2) for i in range(2)]
        y = layer_norm(self.dtype, "norm", EPSILON)(jnp.concatenate(parts, -1))  # [b, h / 2, w / 2, 4 c]
        types = {"kernel_init": KERNEL_INIT, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        return nn.Dense(2 * x.shape[-1], use_bias=False, **types, dot_general=product_of_rows, name="reduction")(y)


class SwinTransformer(nn.Module):
    """Patches, stages of blocks with merging between them, layer norm, mean over pixels, linear scores.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        width: channels of the first stage; every further one has twice as many.
        depths: number of blocks of every stage.
        heads: attention heads of every stage, divisors of its channels.
        patch_size: side of a patch in pixels.
        window: side of a window in patches.
        mlp_ratio: hidden units of the perceptrons over the channels.
        dropout: rate after the projections and the perceptron's layers.
        attention_dropout: rate on the attention weights.
        drop_path: rate of stochastic depth in the last block; it rises linearly from 0 in the first.
        remat: recompute blocks in the backward pass.
        dtype: dtype of the products; norms, softmax and logits are at least float32.
    """

    num_classes: int
    width: Size
    depths: tuple[Layers, ...]
    heads: tuple[Size, ...]
    patch_size: Size = 4
    window: Size = 7
    mlp_ratio: Positive = 4.0
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    drop_path: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, h, w, c], h and w at least the stride of the network, 32. Pixels beyond a multiple of
                `patch_size` are left out, as in torchvision.
            train: dropout and stochastic depth on.

        Returns:
            logits [b, num_classes]; {"stages": [b, h / p / 2^i, w / p / 2^i, 2^i width] of every stage, "pre_logits":
            the mean of the normalised last one [b, c]}.

        Raises:
            ConfigError: for images that are too small, or depths and heads of different length.
        """
        if len(self.depths) != len(self.heads) or not self.depths:
            raise ConfigError(f"config.model.depths={self.depths} and heads={self.heads} need one entry per stage")
        check_images(x, self, "swin", self.patch_size * 2 ** (len(self.depths) - 1), "patch_embed")
        wide, block, patch = at_least_float32(self.dtype), remat_block(Block, self.remat), (self.patch_size,) * 2
        types = {"dtype": self.dtype, "param_dtype": wide, "padding": "VALID"}
        x = Conv(self.width, patch, patch, **types, name="patch_embed")(x.astype(self.dtype))
        x = Dropout(self.dropout)(layer_norm(self.dtype, "patch_norm", EPSILON)(x), train)
        stages, count, last = [], 0, max(sum(self.depths) - 1, 1)
        for i, (depth, heads) in enumerate(zip(self.depths, self.heads, strict=True)):
            if i:
                x = PatchMerging(self.dtype, name=f"merge{i}")(x)
            for j in range(depth):
                shift, rate = self.window // 2 if j % 2 else 0, self.drop_path * count / last
                sizes = (heads, self.window, shift, self.mlp_ratio, self.dropout, self.attention_dropout, rate)
                x = block(*sizes, self.dtype, name=f"stage{i}_block{j}")(x, train)
                count += 1
            stages.append(x)
        x = layer_norm(self.dtype, "norm", EPSILON)(x).astype(wide).mean((1, 2))  # [b, c]
        logits = head(x, self.num_classes, self.dtype, KERNEL_INIT)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> SwinTransformer:
    """A variant of the table with overrides."""
    return from_row(SwinTransformer, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def torch_names(variant: str) -> dict[str, tuple[str, str]]:
    """{our path: (torchvision's name, transform)}."""
    names: dict[str, tuple[str, str]] = {}

    def add(ours: str, torch: str, how: str = "dense", entry: str = "kernel") -> None:
        names.update(pair_names(f"params/{ours}", torch, how, entry))

    add("patch_embed", "features.0.0", "conv")
    add("patch_norm", "features.0.2", "", "scale")
    for i, depth in enumerate(VARIANTS[variant]["depths"]):
        if i:
            add(f"merge{i}/norm", f"features.{2 * i}.norm", "", "scale")
            names[f"params/merge{i}/reduction/kernel"] = (f"features.{2 * i}.reduction.weight", "dense")
        for j in range(depth):
            ours, torch = f"stage{i}_block{j}", f"features.{2 * i + 1}.{j}"
            add(f"{ours}/norm0", f"{torch}.norm1", "", "scale")
            add(f"{ours}/norm1", f"{torch}.norm2", "", "scale")
            for part in ("qkv", "proj"):
                add(f"{ours}/window_attention/attention/{part}", f"{torch}.attn.{part}")
            table = f"{torch}.attn.relative_position_bias_table"
            names[f"params/{ours}/window_attention/relative_bias"] = (table, "")
            add(f"{ours}/dense0", f"{torch}.mlp.0"), add(f"{ours}/dense1", f"{torch}.mlp.3")
    add("norm", "norm", "", "scale"), add("head", "head")
    return names
