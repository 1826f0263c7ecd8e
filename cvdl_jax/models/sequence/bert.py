"""BERT: a Transformer encoder that reads a text in both directions, its pre-training's two heads, and a classifier.

x_0 = LN(words[token] + positions[place] + segments[segment])
x_l = LN(y + MLP(y)),  y = LN(x_{l-1} + attention(x_{l-1}))                 post-norm blocks
pooled = tanh(x_L[0] W + b)                                                  of the token [CLS]

`Pretraining` adds scores of the masked tokens, by the word embeddings once more, and whether the second sentence
follows the first; `Classifier` adds scores of classes. Their other parameters have the encoder's names, so that a
classifier begins with what pre-training learned (`config.init_from`). Unlike the first implementation, a block drops
units after the activation of its perceptron, too.

Reference: Devlin et al. 2019, "BERT: Pre-training of Deep Bidirectional Transformers", sections 3 and A.2.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.torch_names import NameMap, dense_names, pair_names
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import head, remat_block
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.transformer import KERNEL_INIT, Block, Given
from cvdl_jax.ops.precision import at_least_float32
from cvdl_jax.ops.value_checks import check_concrete

EPSILON = 1e-12  # of every norm
VARIANTS = {
    # Devlin et al. 2019, section 3: 110 M and 340 M parameters; counts of the encoder with its pooler
    "bert_base_uncased": {
        "input": (512,), "vocabulary": 30522, "width": 768, "depth": 12, "heads": 12, "hidden": 3072,
        "params": 109_482_240,
    },
    "bert_large_uncased": {
        "input": (512,), "vocabulary": 30522, "width": 1024, "depth": 24, "heads": 16, "hidden": 4096,
        "params": 335_141_888,
    },
    # Turc et al. 2019, "Well-Read Students Learn Better", table 1, without heads of pre-training: L=4, H=256; L=4,
    # H=512; L=8, H=512. Per block 12 H^2 + 13 H, besides (30522 + 512 + 2 + 2) H and H^2 + H of the pooler
    "bert_mini": {
        "input": (512,), "vocabulary": 30522, "width": 256, "depth": 4, "heads": 4, "hidden": 1024,
        "params": 11_170_560,
    },
    "bert_small": {
        "input": (512,), "vocabulary": 30522, "width": 512, "depth": 4, "heads": 8, "hidden": 2048,
        "params": 28_763_648,
    },
    "bert_medium": {
        "input": (512,), "vocabulary": 30522, "width": 512, "depth": 8, "heads": 8, "hidden": 2048,
        "params": 41_373_184,
    },
    "bert_tiny": {  # ours, not that of Turc et al.
        "input": (16,), "vocabulary": 50, "width": 16, "depth": 2, "heads": 2, "hidden": 32, "positions": 16,
        "params": 5_840,  # (50 + 16 + 2 + 2) 16 + 2 (4 (16^2 + 16) + 2 16 32 + 32 + 16 + 4 16) + 16^2 + 16
    },
}  # fmt: skip


def check_tokens(tokens: jax.Array, vocabulary: int, positions: int) -> None:
    """Refuses rows of tokens that a model has no place for.

    Args:
        tokens: int [b, t].
        vocabulary: its size.
        positions: how many tokens the model knows places for.

    Raises:
        ConfigError: for other things than rows of whole numbers, or rows that are too long.
        ValueError: for numbers outside the vocabulary, where they can be read.
    """
    if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
        raise ConfigError(
            f"the model reads tokens, whole numbers [b, t], got {tokens.dtype}{list(tokens.shape)}; set "
            "config.data.text, such as config.data.text.length=128"
        )
    if tokens.shape[1] > positions:
        raise ConfigError(
            f"texts of {tokens.shape[1]} tokens are longer than the model's {positions} positions; set "
            f"config.data.text.length={positions} or less, or config.model.positions={tokens.shape[1]} to train anew"
        )
    check_concrete("tokens", tokens, lambda x: (x >= 0) & (x < vocabulary), f"a piece, from 0 to {vocabulary - 1}")


class Bert(nn.Module):
    """The encoder, with the pooled first token.

    Attributes:
        vocabulary: number of pieces.
        width: d.
        depth: number of blocks.
        heads: of attention, a divisor of d.
        hidden: units of the blocks' perceptrons.
        positions: the longest text, in tokens.
        segments: kinds of segments.
        dropout: rate after the embeddings and in the blocks.
        attention_dropout: rate on the attention weights.
        attention_weights: also return the attention weights.
        remat: recompute blocks in the backward pass.
        dtype: of the products; norms, softmax and parameters are at least float32.
    """

    vocabulary: int
    width: Size = 768
    depth: Layers = 12
    heads: Size = 12
    hidden: Size = 3072
    positions: Size = 512
    segments: Size = 2
    dropout: Share = 0.1
    attention_dropout: Share = 0.1
    attention_weights: bool = False
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, tokens: jax.Array, segments: jax.Array, lengths: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Reads texts.

        Args:
            tokens: int [b, t], pieces, then padding; the first is [CLS].
            segments: int [b, t].
            lengths: int [b], how many tokens are no padding.
            train: dropout on.

        Returns:
            pooled [b, d]; {"stages": tokens [b, t, d] after every block, "tokens": the last ones, "attention": weights
            [b, heads, t, t] of every block if `attention_weights`}. What stands in the places of padding means nothing.

        Raises:
            ConfigError: for rows that are no tokens, or longer than `positions`.
            ValueError: for numbers outside the vocabulary, where they can be read.
        """
        check_tokens(tokens, self.vocabulary, self.positions)
        wide = at_least_float32(self.dtype)
        table = {"embedding_init": KERNEL_INIT, "dtype": wide, "param_dtype": wide}
        places = jnp.arange(tokens.shape[1])[None]
        x = nn.Embed(self.vocabulary, self.width, **table, name="words")(tokens)  # [b, t, d]
        x = x + nn.Embed(self.positions, self.width, **table, name="positions")(places)
        x = x + nn.Embed(self.segments, self.width, **table, name="segments")(segments)
        x = Dropout(self.dropout)(layer_norm(self.dtype, "norm", EPSILON)(x), train)
        block, given = remat_block(Block, self.remat), Given(lengths=lengths)
        rates = {"dropout": self.dropout, "attention_dropout": self.attention_dropout}
        how = {"norm_first": False, "packed": False, "epsilon": EPSILON, "attention_weights": self.attention_weights}
        stages, attention = [], []
        for i in range(self.depth):
            layer = block(self.heads, self.hidden, **rates, **how, dtype=self.dtype, name=f"block{i}")
            x, out = layer(x, train, given)
            stages.append(x)
            attention.append(out.get("weights"))
        pooled = nn.Dense(self.width, dtype=self.dtype, param_dtype=wide, kernel_init=KERNEL_INIT, name="pooler")
        out = {"stages": tuple(stages), "tokens": x} | (
            {"attention": tuple(attention)} if attention[0] is not None else {}
        )
        return jnp.tanh(pooled(x[:, 0])), out

    def likeness(self, x: jax.Array) -> jax.Array:
        """The products of x [..., d] with the embedding of every word: [..., vocabulary], at least float32."""
        table = self.get_variable("params", "words")["embedding"]
        return jnp.einsum("...d,vd->...v", x.astype(table.dtype), table)


class Pretraining(nn.Module):
    """Scores of masked words and of whether the second sentence follows; the encoder's parameters are beside them.

    Attributes:
        encoder: a `Bert`.
    """

    encoder: Bert

    def __post_init__(self):
        super().__post_init__()
        if not isinstance(self.encoder, Bert):
            raise ConfigError(
                "config.model.name is a model of texts without BERT's pre-training; choose a BERT, such as bert_mini"
            )

    def setup(self):  # noqa: D102
        nn.share_scope(self, self.encoder)

    @nn.compact
    def __call__(
        self, tokens: jax.Array, segments: jax.Array, lengths: jax.Array, places: jax.Array, train: bool
    ) -> tuple[tuple[jax.Array, jax.Array], dict[str, Any]]:
        """Reads texts with masks.

        Args:
            tokens: int [b, t].
            segments: int [b, t].
            lengths: int [b].
            places: int [b, m], of the tokens that are to be told.
            train: dropout on.

        Returns:
            (scores of every piece for each place [b, m, vocabulary], scores of "of another document" and of "next"
            [b, 2]); what the encoder returns besides.
        """
        pooled, out = self.encoder(tokens, segments, lengths, train)
        dtype, wide = self.encoder.dtype, at_least_float32(self.encoder.dtype)
        x = jnp.take_along_axis(out["tokens"], places[:, :, None], axis=1)  # [b, m, d]
        dense = nn.Dense(x.shape[-1], dtype=dtype, param_dtype=wide, kernel_init=KERNEL_INIT, name="masked_dense")
        x = layer_norm(wide, "masked_norm", EPSILON)(activation("gelu")(dense(x)))
        bias = self.param("masked_bias", nn.initializers.zeros, (self.encoder.vocabulary,), wide)
        return (self.encoder.likeness(x) + bias[None, None], head(pooled, 2, dtype, KERNEL_INIT, name="next")), out


class Classifier(nn.Module):
    """Scores of classes of whole texts, a linear layer on what any encoder of texts returns first.

    Attributes:
        encoder: a model `(tokens, segments, lengths, train) -> (pooled [b, d], out)`.
        num_classes: number of scores.
        dropout: rate on the pooled features.
    """

    encoder: nn.Module
    num_classes: int
    dropout: Share = 0.1

    def setup(self):  # noqa: D102
        nn.share_scope(self, self.encoder)

    @nn.compact
    def __call__(
        self, tokens: jax.Array, segments: jax.Array, lengths: jax.Array, train: bool
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Reads texts. Args: as the encoder. Returns: scores [b, num_classes]; what it has; "pre_logits"."""
        pooled, out = self.encoder(tokens, segments, lengths, train)
        x = Dropout(self.dropout, name="head_dropout")(pooled, train)
        return head(x, self.num_classes, self.encoder.dtype, KERNEL_INIT), {**out, "pre_logits": pooled}


def build(variant: str, vocabulary: int, dtype: Any = jnp.float32, **overrides: Any) -> Bert:
    """A variant of the table with overrides."""
    return from_row(Bert, VARIANTS[variant], overrides, vocabulary=vocabulary, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One text without padding: tokens and segments int32 [1, t], lengths [1]."""
    zeros = jnp.zeros((1, *row["input"]), jnp.int32)
    return zeros, zeros, jnp.full((1,), zeros.shape[1], jnp.int32)


def torch_names(variant: str) -> NameMap:
    """{our path: (name, transform)} of transformers' `BertForPreTraining`, heads included."""
    names = {
        f"{ours}/embedding": (f"bert.embeddings.{theirs}_embeddings.weight", "")
        for ours, theirs in (("words", "word"), ("positions", "position"), ("segments", "token_type"))
    }
    names |= pair_names("norm", "bert.embeddings.LayerNorm", "", "scale")
    for i in range(VARIANTS[variant]["depth"]):
        ours, theirs = f"block{i}", f"bert.encoder.layer.{i}"
        for part in ("query", "key", "value"):
            names |= dense_names(f"{ours}/attention/{part}", f"{theirs}.attention.self.{part}")
        names |= dense_names(f"{ours}/attention/proj", f"{theirs}.attention.output.dense")
        names |= pair_names(f"{ours}/norm0", f"{theirs}.attention.output.LayerNorm", "", "scale")
        names |= dense_names(f"{ours}/dense0", f"{theirs}.intermediate.dense")
        names |= dense_names(f"{ours}/dense1", f"{theirs}.output.dense")
        names |= pair_names(f"{ours}/norm1", f"{theirs}.output.LayerNorm", "", "scale")
    names |= dense_names("pooler", "bert.pooler.dense")
    names |= dense_names("masked_dense", "cls.predictions.transform.dense")
    names |= pair_names("masked_norm", "cls.predictions.transform.LayerNorm", "", "scale")
    names |= {"masked_bias": ("cls.predictions.bias", "")}
    names |= dense_names("next", "cls.seq_relationship")
    return {f"params/{ours}": theirs for ours, theirs in names.items()}


def renamed(name: str) -> str:
    """The name of `torch_names` for that of another file: of `BertModel`, or with TensorFlow's names of norms."""
    name = name if name.startswith(("bert.", "cls.")) else f"bert.{name}"
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
