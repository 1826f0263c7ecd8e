"""Recurrent translation: an encoder and a decoder of gated recurrent units, with attention or without.

Without attention, all that the decoder knows of the source is a vector of fixed size, the encoder's last state; the
source is read backwards, so that its first words are near the first ones of the translation. With additive attention,
the decoder sees the states of an encoder that reads in both directions, in shares that depend on its own state h':

    c_t = sum_j a_tj z_j,   a_t = softmax_j(v^T tanh(W h_{t-1} + U z_j)),   h_t = GRU([E[y_{t-1}], c_t], h_{t-1})
    scores_t = W_o tanh(W_r [h_t, c_t, E[y_{t-1}]])

`transformer.py` says what a model of this contract offers. Padding of the source changes nothing.

Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", appendix A (a
layer of tanh stands for its maxout); without attention: Sutskever et al. 2014, "Sequence to Sequence Learning with
Neural Networks", sections 2 and 3.3, with the cells of Cho et al. 2014.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.embedding import Embedding
from cvdl_jax.nn.recurrent import Recurrent, gru
from cvdl_jax.ops import tokens
from cvdl_jax.ops.attention import masked_softmax, visible
from cvdl_jax.ops.precision import at_least_float32

# A GRU of u units on d inputs has G(d) = 3 u (d + u + 1) + u parameters.
VARIANTS = {
    # Bahdanau et al. 2015, section 4.2 and appendix A.2: 1,000 units, vectors of 620, 30,000 words
    "seq2seq_attention": {
        "input": (32,), "source_symbols": 30_000, "target_symbols": 30_000, "attention": True,
        # 2 * 30,000 * 620 + 2 G(620) + 3,000 * 621 + 9,000,000 + 1,000 + 3,000,000 + 1,000 + 1,001,000 + 3,621 * 620
        # + 621 * 30,000
        "params": 82_669_020,
    },
    # Sutskever et al. 2014, section 3.4: 4 layers of 1,000 units, vectors of 1,000, 160,000 and 80,000 words
    "seq2seq_plain": {
        "input": (32,), "source_symbols": 160_000, "target_symbols": 80_000, "attention": False, "width": 1000,
        "layers": 4,
        # 240,000 * 1,000 + 8 G(1,000) + 1,001 * 80,000; the paper's 384 M are of LSTMs
        "params": 368_112_000,
    },
    "seq2seq_attention_tiny": {
        "input": (6,), "source_symbols": 19, "target_symbols": 17, "attention": True, "width": 6, "units": 8,
        "layers": 2,
        # 36 * 6 + 2 (G(6) + G(16)) + 24 * 7 + 24 * 24 + 8 + 24 * 8 + 8 + G(8) + 2 * 72 + 31 * 6 + 7 * 17
        "params": 3_985,
    },
    "seq2seq_plain_tiny": {
        "input": (6,), "source_symbols": 19, "target_symbols": 17, "attention": False, "width": 6, "units": 8,
        "layers": 2,
        "params": 1_937,  # 36 * 6 + 2 (G(6) + G(8)) + 9 * 17
    },
}  # fmt: skip
Memory = dict[str, Any]
Carry = dict[str, jax.Array]  # {"layer0": [b, u], ...}


class AttentiveGRU(nn.Module):
    """A layer of gated recurrent units that attends to other states before each step, by additive scores.

    Attributes:
        units: u, size of the state.
        dtype: of the products; the state and the softmax are at least float32.
    """

    units: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, h: jax.Array, states: jax.Array, keys: jax.Array, length: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Reads a sequence.

        Args:
            x: [b, t, d].
            h: the state before it [b, u].
            states: z, those that are attended [b, s, e].
            keys: `U z` [b, s, u].
            length: int [b], how many of them there are.

        Returns:
            The states after each input [b, t, u], what was attended before each [b, t, e], and in which shares
            [b, t, s].
        """
        u, wide, lecun = self.units, at_least_float32(self.dtype), nn.initializers.lecun_normal()
        x = nn.Dense(3 * u, dtype=self.dtype, param_dtype=wide, name="input")(x)  # [b, t, 3 u]

        def kernel(name: str, rows: int, columns: int, init: Any = lecun) -> jax.Array:
            return self.param(name, init, (rows, columns), wide).astype(self.dtype)

        of_query, of_context = kernel("query_kernel", u, u), kernel("context_kernel", states.shape[-1], 3 * u)
        recurrent = kernel("recurrent_kernel", u, 3 * u, nn.initializers.orthogonal())
        bias = jnp.pad(self.param("recurrent_bias", nn.initializers.zeros, (u,), wide), (2 * u, 0))[None]
        score = self.param("score_kernel", lecun, (u, 1), wide)
        mask = visible(1, states.shape[1], lengths=length)[:, 0, 0]  # [b, s]

        def step(h: jax.Array, x: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
            known = h.astype(self.dtype)
            asked = jnp.tanh((known @ of_query)[:, None] + keys).astype(wide)  # [b, s, u]
            weights = masked_softmax((asked @ score)[..., 0], mask)
            context = jnp.einsum("bs,bse->be", weights.astype(self.dtype), states)
            inputs = (x + context @ of_context).astype(wide)
            h = gru(inputs, (known @ recurrent).astype(wide) + bias, {"h": h})["h"]
            return h, (h, context, weights)

        _, through_time = jax.lax.scan(step, h, jnp.swapaxes(x, 0, 1))
        return tuple(jnp.swapaxes(y, 0, 1) for y in through_time)


class Seq2Seq(nn.Module):
    """Scores of the next symbol of a translation.

    Attributes:
        source_symbols: of the language that is read.
        target_symbols: of the language that is written.
        attention: the first layer of the decoder attends to the encoder's states, which are then of both directions.
        width: d, size of the vectors of symbols.
        units: u, of every layer and direction.
        layers: of the encoder, and of the decoder.
        dropout: rate on the vectors of symbols and on what the scores are made of.
        dtype: of the products; states, softmax and scores are at least float32.
    """

    source_symbols: int
    target_symbols: int
    attention: bool = True
    width: Size = 620
    units: Size = 1000
    layers: Layers = 1
    dropout: Share = 0.0
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The layers of both sides."""
        wide = at_least_float32(self.dtype)
        types = {"dtype": self.dtype, "param_dtype": wide}

        def layers(name: str, first: int = 0) -> list[Recurrent]:
            numbers = range(first, self.layers)
            return [Recurrent("gru", self.units, dtype=self.dtype, name=f"{name}{i}") for i in numbers]

        normal = nn.initializers.normal(0.1)
        self.source_embedding = Embedding(self.source_symbols, self.width, normal, self.dtype)
        self.target_embedding = Embedding(self.target_symbols, self.width, normal, self.dtype)
        self.backwards = layers("encoder_backwards")
        self.decoder = layers("decoder", int(self.attention))
        if self.attention:
            self.forwards = layers("encoder_forwards")
            self.key = nn.Dense(self.units, use_bias=False, **types)
            self.first = [nn.Dense(self.units, **types, name=f"first{i}") for i in range(self.layers)]
            self.attend = AttentiveGRU(self.units, self.dtype, name="decoder0")
            self.readout = nn.Dense(self.width, **types)
        self.drop = Dropout(self.dropout)
        self.head = nn.Dense(self.target_symbols, dtype=wide, param_dtype=wide)

    def encode(self, source: jax.Array, train: bool) -> Memory:
        """Reads the source.

        Args:
            source: int [b, s], padded.
            train: dropout.

        Returns:
            {"carry": the decoder's first states}; with attention also {"states": [b, s, 2 u], "keys": [b, s, u],
            "length": int32 [b]}. An empty source is a state of zeros.
        """
        length = tokens.lengths(source)
        x = self.drop(self.source_embedding(source), train)
        carry = {}
        for i in range(self.layers):
            states, _ = self.backwards[i](tokens.turned(x, length))  # [b, s, u], in the order of reading
            last = jnp.take_along_axis(states, jnp.maximum(length - 1, 0)[:, None, None], 1)[:, 0]  # [b, u]
            last = jnp.where(length[:, None] > 0, last, 0)
            carry[f"layer{i}"] = jnp.tanh(self.first[i](last)).astype(last.dtype) if self.attention else last
            both = [self.forwards[i](x)[0]] if self.attention else []
            x = jnp.concatenate([*both, tokens.turned(states, length)], -1).astype(self.dtype)
        attended = {"states": x, "keys": self.key(x), "length": length} if self.attention else {}
        return {"carry": carry, **attended}

    def start(self, memory: Memory, length: int) -> Carry:
        """The decoder's first states; `length` does not matter."""
        return memory["carry"]

    def decode(
        self, symbols: jax.Array, memory: Memory, train: bool, carry: Carry | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the next symbols of a translation.

        Args:
            symbols: int [b, t], what comes before them: BEGIN first.
            memory: of `encode`.
            train: dropout.
            carry: after the symbols before; of `start` by default.

        Returns:
            Scores [b, t, target_symbols]; {"carry", "attention"?, "pre_logits": [b, t, u], with attention [b, t, d]}.
        """
        carry, new = memory["carry"] if carry is None else carry, {}
        x = y = self.drop(self.target_embedding(symbols), train)  # [b, t, d]
        out: dict[str, Any] = {}
        if self.attention:
            attended = (memory["states"], memory["keys"], memory["length"])
            y, context, out["attention"] = self.attend(x, carry["layer0"], *attended)
            new["layer0"] = y[:, -1]
        for i, layer in enumerate(self.decoder, int(self.attention)):
            y, after = layer(y, {"h": carry[f"layer{i}"]})
            new[f"layer{i}"] = after["h"]
        if self.attention:
            y = jnp.tanh(self.readout(jnp.concatenate([y, context.astype(y.dtype), x.astype(y.dtype)], -1)))
        y = self.drop(y, train)
        return self.head(y), {**out, "carry": new, "pre_logits": y}

    def __call__(self, source: jax.Array, symbols: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Reads a source and the symbols of its translation: `decode` of `encode`."""
        return self.decode(symbols, self.encode(source, train), train)


def build(
    variant: str,
    source_symbols: int,
    target_symbols: int,
    dtype: Any = jnp.float32,
    remat: bool = False,
    **overrides: Any,
) -> Seq2Seq:
    """A variant of the table with overrides.

    Raises:
        ConfigError: for `remat`, which is not possible here.
    """
    if remat:
        raise ConfigError(f"{variant} has no blocks to rematerialise; set config.remat=False")
    symbols = {"source_symbols": source_symbols, "target_symbols": target_symbols}
    return from_row(Seq2Seq, VARIANTS[variant], overrides, dtype=dtype, **symbols)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """A source and the symbols of a translation, int32 [1, s] and [1, s]."""
    symbols = jnp.ones((1, *row["input"]), jnp.int32)
    return symbols, symbols
