"""The encoder-decoder Transformer: an encoder that sees all of the source, a decoder that sees it and its own past.

    z = E[source] sqrt(d) + P,  encoder blocks: attention to all of z, perceptron
    y = E[BEGIN, target] sqrt(d) + P,  decoder blocks: attention to what came before, to the encoder's z, perceptron
    scores = y E^T

What every model of this contract offers (`seq2seq.py` has the other family). Its context is `source_symbols` and
`target_symbols`, the numbers of symbols; ids are those of `ops/tokens.py`.

encode(source int [b, s], train) -> memory, a dict of arrays with b rows
decode(symbols int [b, t], memory, train, carry=None) -> (scores of the next symbols [b, t, target_symbols], out);
    without a carry, the symbols are the first ones. out: {"carry": the state after them, if there was one or the model
    is recurrent; "attention": [b, t, s], shares of the source, where the model has them}
start(memory, length) -> the carry before the first of `length` symbols; every array of it has b rows
__call__(source, symbols, train): encode, then decode

Reference: Vaswani et al. 2017, "Attention Is All You Need".
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
from cvdl_jax.ops import tokens
from cvdl_jax.ops.positions import sinusoidal
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Vaswani et al. 2017, "Attention Is All You Need", table 3: 65 M and 213 M with a shared vocabulary of "about
    # 37000" symbols. With width d and f hidden units an attention has 4 (d^2 + d) parameters, a perceptron 2 d f + f +
    # d, a norm 2 d; an encoder's block has one attention and two norms, a decoder's two and three.
    "transformer_base": {
        "input": (32,), "source_symbols": 37_000, "target_symbols": 37_000,
        # 37,000 * 512 + 6 * (3 * 1,050,624 + 2 * 2,099,712 + 5 * 1,024)
        "params": 63_082_496,
    },
    "transformer_big": {
        "input": (32,), "source_symbols": 37_000, "target_symbols": 37_000, "width": 1024, "hidden": 4096, "heads": 16,
        "dropout": 0.3,
        # 37,000 * 1,024 + 6 * (3 * 4,198,400 + 2 * 8,393,728 + 5 * 2,048)
        "params": 214_245_376,
    },
    "transformer_tiny": {
        "input": (6,), "source_symbols": 19, "target_symbols": 19, "width": 8, "hidden": 16, "heads": 2, "depth": 2,
        "params": 3_160,  # 19 * 8 + 2 * (3 * 288 + 2 * 280 + 5 * 16)
    },
}  # fmt: skip
Memory = dict[str, jax.Array]
Carry = dict[str, Any]


class Transformer(nn.Module):
    """Scores of the next symbol of a translation.

    Attributes:
        source_symbols: of the language that is read.
        target_symbols: of the language that is written.
        width: d, size of a token.
        hidden: units of the perceptrons.
        heads: of attention, a divisor of d.
        depth: blocks of the encoder, and of the decoder.
        dropout: rate on the sum of vectors and positions, and of each part of a block.
        attention_dropout: rate on the attention weights.
        norm_first: pre-norm, with a norm behind the last block, in place of the paper's post-norm, which needs a
            warm-up.
        shared: one table of vectors for source, target and scores; else there are two tables and a linear layer of
            scores. The languages then have one vocabulary.
        attention_weights: return "attention", how the last block attends to the source, the mean of its heads.
        remat: recompute blocks in the backward pass.
        dtype: of the products; norms, softmax and scores are at least float32.
    """

    source_symbols: int
    target_symbols: int
    width: Size = 512
    hidden: Size = 2048
    heads: Size = 8
    depth: Layers = 6
    dropout: Share = 0.1
    attention_dropout: Share = 0.0
    norm_first: bool = False
    shared: bool = True
    attention_weights: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The tables, and the blocks of both sides."""
        if self.shared and self.source_symbols != self.target_symbols:
            raise ConfigError(
                f"config.model.shared=True needs one vocabulary, and there are {self.source_symbols} and "
                f"{self.target_symbols} symbols; set config.model.shared=False"
            )
        if self.width % self.heads:
            raise ConfigError(f"config.model.heads={self.heads} must divide config.model.width={self.width}")
        normal = nn.initializers.normal(self.width**-0.5)  # times sqrt(d), components of variance 1

        def table(symbols: int, name: str) -> Embedding:
            return Embedding(symbols, self.width, normal, self.dtype, name=name)

        if self.shared:
            self.source_table = self.target_table = table(self.target_symbols, "embedding")
        else:
            self.source_table = table(self.source_symbols, "source_embedding")
            self.target_table = table(self.target_symbols, "target_embedding")
            wide = at_least_float32(self.dtype)
            self.head = nn.Dense(self.target_symbols, dtype=wide, param_dtype=wide)
        block = remat_block(Block, self.remat)
        how: dict[str, Any] = {
            "dropout": self.dropout, "attention_dropout": self.attention_dropout, "dtype": self.dtype,
            "norm_first": self.norm_first, "activation": "relu", "kernel_init": nn.initializers.xavier_uniform(),
        }  # fmt: skip
        size = (self.heads, self.hidden)
        self.encoder = [block(*size, **how, name=f"encoder{i}") for i in range(self.depth)]
        how |= {"cross": True, "causal": True}
        weights = [self.attention_weights and i == self.depth - 1 for i in range(self.depth)]
        self.decoder = [block(*size, **how, attention_weights=w, name=f"decoder{i}") for i, w in enumerate(weights)]
        if self.norm_first:
            self.norms = [layer_norm(self.dtype, f"{side}_norm") for side in ("encoder", "decoder")]
        self.drop = Dropout(self.dropout)

    def encode(self, source: jax.Array, train: bool) -> Memory:
        """Reads the source.

        Args:
            source: int [b, s], padded.
            train: dropout.

        Returns:
            {"states": [b, s, d], "length": int32 [b]}; states of padding mean nothing, and nobody attends to them.
        """
        length = tokens.lengths(source)
        positions = sinusoidal(source.shape[1], self.width)[None].astype(self.dtype)
        x = self.drop(self.source_table(source) * self.width**0.5 + positions, train)
        for block in self.encoder:
            x, _ = block(x, train, Given(lengths=length))
        return {"states": self.norms[0](x) if self.norm_first else x, "length": length}

    def start(self, memory: Memory, length: int) -> Carry:
        """Empty caches of keys and values, for sequences of at most `length` symbols."""
        rows, channels = len(memory["length"]), self.width // self.heads
        caches = {f"decoder{i}": zero_carry(rows, length, self.heads, channels, self.dtype) for i in range(self.depth)}
        return {"place": jnp.zeros(rows, jnp.int32), **caches}

    def decode(
        self, symbols: jax.Array, memory: Memory, train: bool, carry: Carry | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the next symbols of a translation.

        Args:
            symbols: int [b, t], what comes before them: BEGIN first.
            memory: of `encode`.
            train: dropout.
            carry: of the symbols before, which only a part is read of at a time; of `start`.

        Returns:
            Scores [b, t, target_symbols]; {"carry"?, "attention"?, "pre_logits": [b, t, d]}.
        """
        b, t = symbols.shape
        place = jnp.zeros(b, jnp.int32) if carry is None else carry["place"]
        longest = t if carry is None else carry["decoder0"]["key"].shape[1]
        places = place[:, None] + jnp.arange(t)[None]  # [b, t]
        positions = jnp.take(sinusoidal(longest, self.width), places, axis=0, mode="fill").astype(self.dtype)
        x = self.drop(self.target_table(symbols) * self.width**0.5 + positions, train)
        given = Given(context=memory["states"], context_lengths=memory["length"])
        out: dict[str, Any] = {}
        if carry is not None:
            out["carry"], given = {"place": place + t}, given._replace(place=place)
        for i, block in enumerate(self.decoder):
            name = f"decoder{i}"
            x, of_block = block(x, train, given if carry is None else given._replace(carry=carry[name]))
            if carry is not None:
                out["carry"][name] = of_block["carry"]
        if self.attention_weights:
            out["attention"] = of_block["cross_weights"].mean(1)  # [b, t, s]
        out["pre_logits"] = x = self.norms[1](x) if self.norm_first else x
        return (self.target_table.scores if self.shared else self.head)(x), out

    def __call__(self, source: jax.Array, symbols: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Reads a source and the symbols of its translation: `decode` of `encode`."""
        return self.decode(symbols, self.encode(source, train), train)


def build(
    variant: str, source_symbols: int, target_symbols: int, dtype: Any = jnp.float32, **overrides: Any
) -> Transformer:
    """A variant of the table with overrides."""
    symbols = {"source_symbols": source_symbols, "target_symbols": target_symbols}
    return from_row(Transformer, VARIANTS[variant], overrides, dtype=dtype, **symbols)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """A source and the symbols of a translation, int32 [1, s] and [1, s]."""
    symbols = jnp.ones((1, *row["input"]), jnp.int32)
    return symbols, symbols
