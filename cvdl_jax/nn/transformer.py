"""The block of all Transformers: attention, attention to another sequence where there is one, and a perceptron.

Behind the norm (pre-norm): `x + f(LN(x))` for each part f; before it (post-norm, as first published): `LN(x + f(x))`.
An encoder's block attends to all tokens; a decoder's is causal, and with `cross` attends to the encoder's tokens, too.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import Attention, Carry
from cvdl_jax.nn.batch_norm import layer_norm
from cvdl_jax.nn.common import product_of_rows
from cvdl_jax.nn.dropout import Dropout, DropPath
from cvdl_jax.nn.layer_scale import LayerScale
from cvdl_jax.nn.norms import normaliser
from cvdl_jax.nn.token_norm import token_norm
from cvdl_jax.ops.precision import at_least_float32

KERNEL_INIT = nn.initializers.truncated_normal(0.02)


class Given(NamedTuple):
    """What a block is given besides its tokens [b, n, d]; None for what is not there.

    Attributes:
        mask: bool [b or 1, h or 1, n or 1, n], true where a token may attend to another.
        lengths: int [b], how many of each row's tokens are there; the rest is padding at the end.
        bias: added to the scores, [k, h or 1, n, n].
        positions: added to the tokens where queries and keys are made of them [b or 1, n, d], not where values are.
        context: tokens of the other sequence [b, m, e], for a block with `cross`.
        context_mask: bool [b or 1, h or 1, n or 1, m].
        context_lengths: int [b].
        context_positions: added to the context where keys are made of it [b or 1, m, e].
        carry: keys and values of what came before (`nn/attention.py:zero_carry`).
        place: int [b], how many tokens came before.
    """

    mask: jax.Array | None = None
    lengths: jax.Array | None = None
    bias: jax.Array | None = None
    positions: jax.Array | None = None
    context: jax.Array | None = None
    context_mask: jax.Array | None = None
    context_lengths: jax.Array | None = None
    context_positions: jax.Array | None = None
    carry: Carry | None = None
    place: jax.Array | None = None


class Block(nn.Module):
    """A block of an encoder or a decoder, each of its parts inside a residual branch.

    Attributes:
        heads: of attention, a divisor of d.
        hidden: units of the perceptron.
        dropout: rate after attention, after the perceptron's activation and after the perceptron.
        attention_dropout: rate on the attention weights.
        drop_path: rate at which a whole branch of an example is dropped.
        attention_weights: also return them.
        dtype: of the products; norms and softmax are at least float32.
        layer_scale: first value of the factors of every branch; 0 for none.
        gated: between the perceptron's layers is `silu(a) b` of the halves [a, b] of the first, in place of the
            activation.
        norm_first: pre-norm, else post-norm.
        cross: a second attention, to `given.context`.
        causal: no token attends to a later one.
        packed: queries, keys and values of self-attention are one product.
        rotary: positions are those of `ops/positions.py:rotate`.
        activation: of the perceptron, by its name in a config.
        epsilon: of the layer norms.
        norm: "layer", or another norm by its name in a config. With lengths it is "layer" or "batch", which then has
            statistics of the tokens that are there (`nn/token_norm.py`).
        kernel_init: of the matrices.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", figure 1 (post-norm); Xiong et al. 2020, "On Layer
        Normalization in the Transformer Architecture", figure 1 (pre-norm).
    """

    heads: int
    hidden: int
    dropout: float = 0.0
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    attention_weights: bool = False
    dtype: Any = jnp.float32
    layer_scale: float = 0.0
    gated: bool = False
    norm_first: bool = True
    cross: bool = False
    causal: bool = False
    packed: bool = True
    rotary: bool = False
    activation: str = "gelu"
    epsilon: float = 1e-6
    norm: str = "layer"
    kernel_init: Any = KERNEL_INIT

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, given: Given = Given()) -> tuple[jax.Array, dict[str, Any]]:  # noqa: B008
        """Transforms tokens.

        Args:
            x: [b, n, d].
            train: dropout.
            given: masks, positions, the other sequence, what came before.

        Returns:
            tokens [b, n, d]; {"weights": [b, h, n, n] and "cross_weights": [b, h, n, m] if asked for, "carry": keys and
            values with these tokens, if there was one}.

        Raises:
            ValueError: for a context without `cross`, or `cross` without a context.
        """
        if self.cross != (given.context is not None):
            raise ValueError("a block with `cross` takes the tokens of another sequence, one without takes none")
        how = (self.heads, self.attention_dropout, self.attention_weights, self.kernel_init, self.dtype)

        def attend(y: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
            layer = Attention(*how, self.packed, self.causal, self.rotary, name="attention")
            rest = {"mask": given.mask, "lengths": given.lengths, "carry": given.carry, "place": given.place}
            if given.positions is None:
                return layer(y, train, given.bias, **rest)
            asked = y + given.positions.astype(y.dtype)
            return layer(asked, train, given.bias, context=asked, values=y, **rest)

        def look(y: jax.Array) -> tuple[jax.Array, dict[str, Any]]:
            context = given.context.astype(self.dtype)
            asked = y if given.positions is None else y + given.positions.astype(y.dtype)
            keys = context
            if given.context_positions is not None:
                keys = context + given.context_positions.astype(self.dtype)
            rest = {"mask": given.context_mask, "lengths": given.context_lengths}
            return Attention(*how, name="cross")(asked, train, context=keys, values=context, **rest)

        parts = [("norm0", attend), ("norm1", lambda y: (self._perceptron(y, train), {}))]
        parts[1:1] = [("norm_cross", look)] if self.cross else []
        outs = []
        for i, (norm, part) in enumerate(parts):
            y, out = part(self._norm(x, train, norm, given.lengths) if self.norm_first else x)
            y = Dropout(self.dropout)(y, train)
            if self.layer_scale:
                y = LayerScale(self.layer_scale, self.dtype, name=f"scale{i}")(y)
            x = x + DropPath(self.drop_path)(y, train)
            x = x if self.norm_first else self._norm(x, train, norm, given.lengths)
            outs.append(out)
        crossed = {"cross_weights": outs[1]["weights"]} if self.cross and self.attention_weights else {}
        return x, outs[0] | crossed

    def _norm(self, x: jax.Array, train: bool, name: str, lengths: jax.Array | None) -> jax.Array:
        if self.norm == "layer":
            return layer_norm(self.dtype, name, self.epsilon)(x)
        if lengths is not None:
            return token_norm(self.norm, self.dtype, name)(x, lengths, train)
        return normaliser(self.norm, self.dtype)[1](x, train, name)

    def _perceptron(self, y: jax.Array, train: bool) -> jax.Array:
        """Two layers for every token on its own: [b, n, d] -> [b, n, hidden] -> [b, n, d]."""
        dense = {"kernel_init": self.kernel_init, "dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        dense["dot_general"] = product_of_rows
        d = y.shape[-1]
        y = nn.Dense(self.hidden * (2 if self.gated else 1), **dense, name="dense0")(y)
        if self.gated:
            a, b = jnp.split(y, 2, -1)
            y = activation("silu")(a) * b
        else:
            y = activation(self.activation)(y)
        return nn.Dense(d, **dense, name="dense1")(Dropout(self.dropout)(y, train))
