"""Decoder-only Transformer: causal pre-norm blocks on symbols and their places, and scores by the symbols' vectors.

    x = E[symbols] + P,  x <- x + attention(LN(x)),  x <- x + perceptron(LN(x)),  scores = LN(x) E^T

It sees at most `context` symbols. Without a carry, a call reads a text from its beginning. With one, it goes on: the
carry holds keys and values of what came before. Where they are full, the model forgets all but the newer half of its
context, which it reads again as if the text began there, and goes on from the middle; so a text may be of any length,
and each symbol is predicted from at least half a context. `data/text.py:evaluation_windows` does the same.

Reference: Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.attention import zero_carry
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.embedding import Embedding
from cvdl_jax.nn.transformer import Block, Given
from cvdl_jax.ops.precision import at_least_float32

# v d + c d + L (12 d^2 + 13 d) + 2 d parameters, of v symbols, a context c, width d and depth L
VARIANTS = {
    # Radford et al. 2019, table 2, which prints 117 M, 345 M, 762 M and 1,542 M; these are the counts of the weights
    # that were published
    "gpt2": {
        "input": (16,), "num_classes": 50_257, "context": 1024, "width": 768, "heads": 12, "depth": 12,
        "dropout": 0.1, "attention_dropout": 0.1, "params": 124_439_808,
    },
    "gpt2_medium": {
        "input": (16,), "num_classes": 50_257, "context": 1024, "width": 1024, "heads": 16, "depth": 24,
        "dropout": 0.1, "attention_dropout": 0.1, "params": 354_823_168,
    },
    "gpt2_large": {
        "input": (16,), "num_classes": 50_257, "context": 1024, "width": 1280, "heads": 20, "depth": 36,
        "dropout": 0.1, "attention_dropout": 0.1, "params": 774_030_080,
    },
    "gpt2_xl": {
        "input": (16,), "num_classes": 50_257, "context": 1024, "width": 1600, "heads": 25, "depth": 48,
        "dropout": 0.1, "attention_dropout": 0.1, "params": 1_557_611_200,
    },
    # small ones by the names of Karpathy's minGPT, for characters
    "gpt_micro": {
        "input": (16,), "num_classes": 65, "context": 256, "width": 128, "heads": 4, "depth": 4,
        "params": 834_432,
    },
    "gpt_mini": {
        "input": (16,), "num_classes": 65, "context": 256, "width": 192, "heads": 6, "depth": 6,
        "params": 2_731_200,
    },
    "gpt_tiny": {
        "input": (8,), "num_classes": 13, "context": 8, "width": 8, "heads": 2, "depth": 2,
        "params": 1_928,
    },
}  # fmt: skip
Carry = dict[str, Any]


class GPT(nn.Module):
    """Scores of the next symbol after each symbol of a sequence.

    Attributes:
        num_classes: v, number of symbols.
        context: the most symbols that it sees.
        width: d, size of a token.
        heads: of attention, a divisor of d.
        depth: number of blocks, whose perceptrons have 4 d hidden units.
        dropout: rate on the first tokens, and of each part of a block.
        attention_dropout: rate on the attention weights; above 0 they are written to memory in training.
        rotary: positions turn queries and keys; else there is a learned vector for each place.
        remat: recompute blocks in the backward pass.
        dtype: of the products; norms, softmax and scores are at least float32.
    """

    num_classes: int
    context: Size
    width: Size
    heads: Size
    depth: Layers
    dropout: Share = 0.0
    attention_dropout: Share = 0.0
    rotary: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The tables and the blocks."""
        if self.width % self.heads:
            raise ConfigError(f"config.model.heads={self.heads} must divide config.model.width={self.width}")
        self.embedding = Embedding(self.num_classes, self.width, dtype=self.dtype)
        if not self.rotary:
            shape, wide = (self.context, self.width), at_least_float32(self.dtype)
            self.positions = self.param("positions", nn.initializers.normal(0.02), shape, wide)
        block = remat_block(Block, self.remat)
        how = {"dtype": self.dtype, "causal": True, "rotary": self.rotary, "activation": "gelu_tanh", "epsilon": 1e-5}
        how |= {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        self.blocks = [block(self.heads, 4 * self.width, **how, name=f"block{i}") for i in range(self.depth)]
        self.norm = layer_norm(self.dtype, epsilon=1e-5)
        self.drop = Dropout(self.dropout)

    def zero_carry(self, rows: int) -> Carry:
        """The state before the first symbol: empty keys and values, and which symbols they are of."""
        channels = self.width // self.heads
        caches = {
            f"block{i}": zero_carry(rows, self.context, self.heads, channels, self.dtype) for i in range(self.depth)
        }
        symbols = jnp.zeros((rows, self.context), jnp.int32)
        return {"symbols": symbols, "place": jnp.zeros(rows, jnp.int32), **caches}

    def __call__(self, symbols: jax.Array, train: bool, carry: Carry | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Reads symbols and predicts the next ones.

        Args:
            symbols: int [b, t], t at most `context`; -1 is "no symbol", a vector of zeros.
            train: dropout on.
            carry: the state after what came before; by default the symbols are the first ones.

        Returns:
            logits [b, t, num_classes]; {"pre_logits": [b, t, d], "carry": the state after the last symbol, if there was
            one}.

        Raises:
            ConfigError: for more symbols than the model sees.
        """
        t = symbols.shape[1]
        if t > self.context:
            raise ConfigError(
                f"config.model.context={self.context} symbols are the most that this model sees, got {t}; set it to "
                f"{t} or read shorter sequences, such as config.streams.length={self.context}"
            )
        out: dict[str, Any] = {}
        if carry is not None:
            carry = self._with_room(carry, t)
        x, new = self._read(symbols, train, carry)
        if carry is not None:
            out["carry"] = new
        out["pre_logits"] = x = self.norm(x)
        return self.embedding.scores(x), out

    def _read(self, symbols: jax.Array, train: bool, carry: Carry | None) -> tuple[jax.Array, Carry]:
        """The blocks' tokens [b, t, d], and the carry with these symbols; there must be room for them."""
        b, t = symbols.shape
        place = jnp.zeros(b, jnp.int32) if carry is None else carry["place"]
        places = place[:, None] + jnp.arange(t)[None]  # [b, t]
        x = self.embedding(symbols)
        if not self.rotary:
            x = x + jnp.take(self.positions, places, axis=0, mode="fill").astype(self.dtype)
        x = self.drop(x, train)
        new: Carry = {}
        if carry is not None:
            kept = jax.vmap(lambda row, more, at: jax.lax.dynamic_update_slice(row, more, (at,)))
            new = {"symbols": kept(carry["symbols"], symbols.astype(jnp.int32), place), "place": place + t}
        for i, block in enumerate(self.blocks):
            name = f"block{i}"
            x, of_block = block(x, train, Given() if carry is None else Given(carry=carry[name], place=place))
            if carry is not None:
                new[name] = of_block["carry"]
        return x, new

    def _with_room(self, carry: Carry, t: int) -> Carry:
        """A carry that has room for t symbols more: rows without it keep the newer half of the context at most."""
        keep = min(self.context // 2, self.context - t)
        full = carry["place"] + t > self.context  # [b]

        def again(module: "GPT", carry: Carry) -> Carry:
            rows = len(full)
            first = jnp.maximum(carry["place"] - keep, 0)
            window = jnp.take_along_axis(carry["symbols"], first[:, None] + jnp.arange(keep)[None], 1)  # [b, keep]
            fresh = module.zero_carry(rows)
            if keep:
                fresh = module._read(window, False, fresh)[1]
            return jax.tree.map(lambda a, b: jnp.where(full.reshape(rows, *(1,) * (a.ndim - 1)), a, b), fresh, carry)

        return nn.cond(full.any(), again, lambda module, carry: carry, self, carry)


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> GPT:
    """A variant of the table with overrides."""
    return from_row(GPT, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array]:
    """Some symbols, int32 [1, t]."""
    return (jnp.zeros((1, *row["input"]), jnp.int32),)
