"""Captions of images: a convolutional network sees, an LSTM writes, and attention looks at one part after the other.

The first state of the LSTM is a function of the mean of a stage of the backbone. With `attention="soft"` each step also
reads a mean of the grid's places, weighted by how much the state asks for them; with "none" the first state is all that
it knows of the image.

    e_ti = v' tanh(W_a a_i + W_h h_{t-1}),   alpha_t = softmax(e_t),   z_t = beta_t sum_i alpha_ti a_i
    h_t = LSTM([E y_{t-1}, z_t], h_{t-1}),   logits = L_o (E y_{t-1} + L_h h_t + L_z z_t)

with a gate beta_t = sigmoid(w' h_{t-1} + b) and a matrix E of the words' vectors.

Reference: Xu et al. 2015, "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention", equations 1
to 7, section 4.2 and 4.2.1; without attention Vinyals et al. 2015, "Show and Tell", which gives the image as the first
input instead.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Counted, NotNegative, Share, Size
from cvdl_jax.data import captions
from cvdl_jax.models.criterion import with_backbone
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.necks import chosen_stages
from cvdl_jax.nn.recurrent import lstm
from cvdl_jax.ops import decoding
from cvdl_jax.ops.attention import masked_softmax
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # sizes of ours, for drawn scenes of 64 pixels: a grid of 8x8, attention and state as in the paper, smaller
    "captioner": {
        "input": (64, 64, 3), "words": 40, "tokens": 15, "level": 2, "backbone": {
            "name": "convnet", "channels": (32, 64, 128), "units": (), "norm": "batch"
        },
        # convolutions 27 * 32 + 288 * 64 + 576 * 128 and norms 2 * 224; first state 2 * 129 * 128; attention 129 * 64 +
        # 128 * 64 + 64 + 129; words 40 * 64; LSTM 512 * (64 + 128 + 128 + 1); output 129 * 64 + 128 * 64 + 65 * 40
        "params": 329_097,
    },
    "captioner_tiny": {
        "input": (16, 16, 3), "words": 12, "tokens": 5, "level": 1, "embedding": 4, "units": 6, "asked": 5,
        "backbone": {"name": "resnet8_tiny"},
        # ResNet-8 without its head 4,836; its second stage has 8 channels: 2 * 9 * 6; 9 * 5 + 6 * 5 + 5 + 7; 12 * 4;
        # 24 * (4 + 8 + 6 + 1); 7 * 4 + 8 * 4 + 5 * 12
        "params": 5_655,
    },
}  # fmt: skip
Carry = dict[str, jax.Array]


class FirstState(nn.Module):
    """The state before the first word, and what is attended to."""

    units: int
    attention: str
    asked: int
    dtype: Any

    @nn.compact
    def __call__(self, grid: jax.Array) -> Carry:
        """Args: grid [b, n, d]. Returns: {"h", "c": [b, units]}, with attention {"grid", "keys": [b, n, asked]}."""
        wide = at_least_float32(self.dtype)
        mean = grid.mean(1, dtype=wide)  # [b, d]
        first = {
            name: jnp.tanh(nn.Dense(self.units, dtype=wide, param_dtype=wide, name=f"first_{name}")(mean))
            for name in ("h", "c")
        }
        if self.attention == "none":
            return first
        keys = nn.Dense(self.asked, dtype=self.dtype, param_dtype=wide, name="keys")(grid)
        return {**first, "grid": grid, "keys": keys}


class Writer(nn.Module):
    """The LSTM with its attention, on the words before; see the module's formulas."""

    words: int
    embedding: int
    units: int
    attention: str
    asked: int
    dropout: float
    dtype: Any

    @nn.compact
    def __call__(self, tokens: jax.Array, carry: Carry, train: bool) -> tuple[jax.Array, Carry, jax.Array]:
        """Args: tokens int [b, t]; carry as `FirstState` gives it. Returns: logits, the carry, alpha [b, t, n or 0]."""
        wide, soft = at_least_float32(self.dtype), self.attention == "soft"
        how = {"dtype": self.dtype, "param_dtype": wide}
        y = nn.Embed(self.words, self.embedding, **how, name="embedding")(tokens)  # [b, t, e]
        y = Dropout(self.dropout)(y, train)
        products = nn.Dense(4 * self.units, bias_init=_open, **how, name="input")(y)
        lecun = nn.initializers.lecun_normal()
        u = self.param("recurrent_kernel", nn.initializers.orthogonal(), (self.units, 4 * self.units), wide)
        fixed = {name: x for name, x in carry.items() if name not in ("h", "c")}
        if soft:
            d = carry["grid"].shape[-1]
            ask = self.param("ask_kernel", lecun, (self.units, self.asked), wide)
            score = self.param("score_kernel", lecun, (self.asked, 1), wide)
            gate = self.param("gate", lecun, (self.units, 1), wide), self.param("gate_bias", _zeros, (1,), wide)
            context = self.param("context_kernel", lecun, (d, 4 * self.units), wide).astype(self.dtype)

        def step(state: Carry, x: jax.Array) -> tuple[Carry, tuple[jax.Array, ...]]:
            h, read = state["h"], ()
            x = x.astype(h.dtype)
            if soft:
                hidden = jnp.tanh(fixed["keys"].astype(wide) + (h @ ask)[:, None])  # [b, n, asked]
                alpha = masked_softmax((hidden @ score)[..., 0])  # [b, n]
                z = jnp.einsum("bn,bnd->bd", alpha.astype(self.dtype), fixed["grid"])
                z = jax.nn.sigmoid(h @ gate[0] + gate[1][None]).astype(self.dtype) * z
                x, read = x + (z @ context).astype(h.dtype), (z, alpha)
            new = lstm(x, (h.astype(self.dtype) @ u.astype(self.dtype)).astype(h.dtype), state)
            return new, (new["h"], *read)

        start = {name: carry[name] for name in ("h", "c")}
        last, outputs = jax.lax.scan(step, start, jnp.swapaxes(products, 0, 1))
        h, *read = (jnp.swapaxes(x, 0, 1) for x in outputs)  # [b, t, units], [b, t, d], [b, t, n]
        h = Dropout(self.dropout)(h, train).astype(self.dtype)
        deep = y + nn.Dense(self.embedding, **how, name="of_state")(h)
        if soft:
            deep = deep + nn.Dense(self.embedding, use_bias=False, **how, name="of_context")(read[0])
        deep = Dropout(self.dropout)(deep, train)
        logits = nn.Dense(self.words, dtype=wide, param_dtype=wide, name="head")(deep)
        alpha = read[1] if soft else jnp.zeros((*tokens.shape, 0), wide)
        return logits, {**fixed, **last}, alpha


_zeros = nn.initializers.zeros_init()


def _open(key: jax.Array, shape: tuple[int], dtype: Any) -> jax.Array:
    """Zeros, but 1 for the forget gate."""
    return jnp.zeros(shape, dtype).at[shape[0] // 4 : shape[0] // 2].set(1)


class Captioner(nn.Module):
    """Scores of the next word of a caption, given an image and the words before.

    Attributes:
        words: size of the vocabulary.
        backbone: made from `config.model.backbone`, the name of a variant or a section with its `name`.
        level: the stage of the backbone that is the grid.
        attention: "soft", or "none": the image is the first state alone.
        embedding: size of the vectors of words.
        units: of the LSTM.
        asked: units in which the state is compared with the grid.
        dropout: rate on the words' vectors, the states and the layer before the scores.
        remat: recompute blocks of the backbone in the backward pass.
        dtype: of the matrix products; states, attention and scores are at least float32.
    """

    words: int
    backbone: nn.Module
    level: Counted = 2
    attention: Literal["soft", "none"] = "soft"
    embedding: Size = 64
    units: Size = 128
    asked: Size = 64
    dropout: Share = 0.0
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """What gives the first state, and what writes."""
        self.first = FirstState(self.units, self.attention, self.asked, self.dtype)
        self.writer = Writer(
            self.words, self.embedding, self.units, self.attention, self.asked, self.dropout, self.dtype
        )

    def look(self, image: jax.Array, train: bool) -> Carry:
        """The state before the first word.

        Args:
            image: float [b, h, w, c].
            train: batch statistics used and updated.

        Returns:
            {"h", "c": [b, units]}; with attention also {"grid" [b, n, d], "keys" [b, n, asked]}, n = rows times columns
            of the stage, row by row.
        """
        check_images(image, self, "captioner")
        (stage,) = chosen_stages(self.backbone(image, train)[1].get("stages", ()), (self.level,))
        return self.first(stage.reshape(stage.shape[0], -1, stage.shape[-1]))

    def read(self, tokens: jax.Array, carry: Carry, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Reads words, each the right one whatever was predicted (teacher forcing), or one that was written.

        Args:
            tokens: int [b, t], from the begin of a caption or from where it stopped.
            carry: the state, from `look` or of the words before.
            train: dropout on.

        Returns:
            logits [b, t, words] of the word after each; {"carry", "attention": alpha [b, t, n], n = 0 without}.
        """
        logits, carry, alpha = self.writer(tokens, carry, train)
        return logits, {"carry": carry, "attention": alpha}

    def __call__(self, image: jax.Array, tokens: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """`read` of a caption from its begin. Args: image float [b, h, w, c]; tokens int [b, t]; train."""
        return self.read(tokens, self.look(image, train), train)


class Decode(NamedTuple):
    """How captions are written, the arguments of `config.decode`."""

    beams: Size = 3  # captions that are followed at once
    length_penalty: NotNegative = 0.0  # 0 for the most probable caption; more favours longer ones


def write(decode: Decode, read: Callable, carry: Carry, length: int) -> tuple[jax.Array, jax.Array]:
    """Captions of the network's own, each word fed back: by the most probable word, and the best of several beams.

    Args:
        decode: of the beams, see `ops/decoding.py`.
        read: `(tokens int [n, 1], carry) -> (logits [n, 1, words], {"carry"})`.
        carry: the state before the first word, of b rows.
        length: words of a caption at most, its end among them.

    Returns:
        int32 [b, length] both, without begin.
    """

    def advance(carry: Carry, symbols: jax.Array) -> tuple[jax.Array, Carry]:
        logits, out = read(symbols[:, None], carry)
        return logits[:, 0], out["carry"]

    how = len(carry["h"]), length, captions.BEGIN, captions.END
    best, _ = decoding.beam_search(advance, carry, *how, *decode)
    return decoding.greedy(advance, carry, *how)[0], best[:, 0]


def sentence(ids: Any, reference: bool = False) -> list[int]:
    """The words of ids up to the end, without begin and padding.

    Args:
        ids: int [t].
        reference: of a right caption; an unknown word of it is -1, which nobody writes.
    """
    row = np.asarray(ids).tolist()
    row = row[: row.index(captions.END)] if captions.END in row else row
    kept = [i for i in row if i not in (captions.BEGIN, captions.PADDING)]
    return [-1 if reference and i == captions.UNKNOWN else i for i in kept]


def sentences(references: Any) -> list[list[list[int]]]:
    """The right captions of each image, int [n, k, t], without the rows that are padding throughout."""
    return [[sentence(row, True) for row in several[captions.real(several)]] for several in np.asarray(references)]


def build(variant: str, words: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any) -> Captioner:
    """A variant of the table with overrides."""
    row = {key: value for key, value in VARIANTS[variant].items() if key != "tokens"}
    return from_row(Captioner, row, with_backbone(row, overrides, dtype, remat), words=words, dtype=dtype, remat=remat)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """An image, and the words of a caption."""
    return jnp.zeros((1, *row["input"])), jnp.zeros((1, row["tokens"]), jnp.int32)
