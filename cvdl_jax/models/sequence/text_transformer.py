"""A small Transformer that reads a text: token and position embeddings, an encoder, the mean of the tokens.

x_0 = words[token] + positions[place],   x_l = block(x_{l-1}),   pooled = mean of x_L over the tokens that are there

As BERT it is called with tokens, segments and lengths; it has no segments. Blocks are pre-norm with a norm at the end,
or post-norm as Vaswani et al. 2017 have them.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.sequence import bert
from cvdl_jax.nn.common import remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.token_norm import token_norm
from cvdl_jax.nn.transformer import KERNEL_INIT, Block, Given
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # ours
    "text_transformer": {
        "input": (128,), "vocabulary": 320, "width": 64, "depth": 2, "heads": 4, "hidden": 128, "positions": 128,
        "params": 95_744,  # (320 + 128) 64 + 2 (4 (64^2 + 64) + 2 64 128 + 128 + 64 + 4 64) + 2 64
    },
    "text_transformer_tiny": {
        "input": (16,), "vocabulary": 50, "width": 8, "depth": 1, "heads": 2, "hidden": 16, "positions": 16,
        "params": 1_144,  # (50 + 16) 8 + 4 (8^2 + 8) + 2 8 16 + 16 + 8 + 4 8 + 2 8
    },
}  # fmt: skip


class TextTransformer(nn.Module):
    """Features of a text.

    Attributes:
        vocabulary: number of pieces.
        width: d.
        depth: number of blocks.
        heads: of attention, a divisor of d.
        hidden: units of the blocks' perceptrons.
        positions: the longest text, in tokens.
        norm: of the blocks: layer normalisation, or batch normalisation over the tokens that are there.
        norm_first: pre-norm, else post-norm.
        pool: the mean of the tokens, or the first of them, [CLS].
        dropout: rate after the embeddings and in the blocks.
        remat: recompute blocks in the backward pass.
        dtype: of the products; norms, softmax and parameters are at least float32.
    """

    vocabulary: int
    width: Size = 64
    depth: Layers = 2
    heads: Size = 4
    hidden: Size = 128
    positions: Size = 128
    norm: Literal["layer", "batch"] = "layer"
    norm_first: bool = True
    pool: Literal["mean", "token"] = "mean"
    dropout: Share = 0.1
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: jax.Array, segments: jax.Array, lengths: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Reads texts.

        Args:
            tokens: int [b, t], pieces, then padding.
            segments: int [b, t], not looked at.
            lengths: int [b], how many tokens are no padding.
            train: dropout on, statistics of the batch.

        Returns:
            pooled [b, d], zeros for an empty text; {"stages": tokens [b, t, d] after every block, "tokens": the last
            ones, normalised where blocks are pre-norm}. What stands in the places of padding means nothing.

        Raises:
            ConfigError: for rows that are no tokens, or longer than `positions`.
            ValueError: for numbers outside the vocabulary, where they can be read.
        """
        bert.check_tokens(tokens, self.vocabulary, self.positions)
        wide = at_least_float32(self.dtype)
        table = {"embedding_init": KERNEL_INIT, "dtype": self.dtype, "param_dtype": wide}
        places = jnp.arange(tokens.shape[1])[None]
        x = nn.Embed(self.vocabulary, self.width, **table, name="words")(tokens)  # [b, t, d]
        x = x + nn.Embed(self.positions, self.width, **table, name="positions")(places)
        x = Dropout(self.dropout)(x, train)
        block, given, stages = remat_block(Block, self.remat), Given(lengths=lengths), []
        how = {"dropout": self.dropout, "norm_first": self.norm_first, "norm": self.norm, "dtype": self.dtype}
        for i in range(self.depth):
            x, _ = block(self.heads, self.hidden, **how, name=f"block{i}")(x, train, given)
            stages.append(x)
        if self.norm_first:
            x = token_norm(self.norm, self.dtype, "norm")(x, lengths, train)
        out = {"stages": tuple(stages), "tokens": x}
        if self.pool == "token":
            return x[:, 0].astype(wide), out
        real = (places < lengths[:, None])[..., None]  # [b, t, 1]
        return jnp.where(real, x.astype(wide), 0).sum(1) / jnp.maximum(lengths, 1)[:, None], out


def build(variant: str, vocabulary: int, dtype: Any = jnp.float32, **overrides: Any) -> TextTransformer:
    """A variant of the table with overrides."""
    return from_row(TextTransformer, VARIANTS[variant], overrides, vocabulary=vocabulary, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One text without padding: tokens and segments int32 [1, t], lengths [1]."""
    return bert.example(row)
