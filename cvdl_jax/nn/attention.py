"""Multi-head attention: of tokens to themselves, to what came before them, or to those of another sequence.

On GPUs it is cuDNN's fused attention, which never writes the [b, h, n, m] scores to memory, wherever nothing needs
them: in half precision, without returned weights, dropout on them, a mask of pairs, a cache, or a bias (with which
cuDNN cannot train an odd number of tokens, such as the 49 of a window). What is causal, or has lengths, is fused.
Everywhere else the scores are written in at least float32.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import backend
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import observe
from cvdl_jax.nn.common import product_of_rows
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.attention import masked_softmax, visible
from cvdl_jax.ops.positions import rotate
from cvdl_jax.ops.precision import at_least_float32

LARGEST_HEAD = 128  # channels of a head that cuDNN takes from compute capability 8.0 on
Carry = dict[str, jax.Array]  # {"key", "value": [b, length, h, d / h]}


class Attention(nn.Module):
    """`Concat(head_1 .. head_h) W_o`, `head_i = softmax(Q_i K_i^T / sqrt(d / h) + B_i) V_i`.

    Attributes:
        heads: h, a divisor of d.
        dropout: rate on the attention weights.
        return_weights: also return the weights; they cost memory of order n m.
        kernel_init: of all projections; biases start at zero.
        dtype: of the products; the softmax is at least float32.
        packed: Q, K and V of a sequence that attends to itself are one product, "qkv"; else there are three, "query",
            "key" and "value", as there are wherever queries, keys and values are made of different inputs.
        causal: a token attends to itself and to those before it.
        rotary: queries and keys are turned by their places (`ops/positions.py:rotate`).

    Reference: Vaswani et al. 2017, "Attention Is All You Need", equation 1 and section 3.2.2.
    """

    heads: int
    dropout: float = 0.0
    return_weights: bool = False
    kernel_init: Any = nn.initializers.xavier_uniform()
    dtype: Any = jnp.float32
    packed: bool = True
    causal: bool = False
    rotary: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool,
        bias: jax.Array | None = None,
        *,
        context: jax.Array | None = None,
        values: jax.Array | None = None,
        mask: jax.Array | None = None,
        lengths: jax.Array | None = None,
        carry: Carry | None = None,
        place: jax.Array | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Attends.

        Args:
            x: tokens that ask [b, n, d].
            train: whether weights are dropped.
            bias: B, added to the scores before the softmax, [k, h or 1, n, m] with k a divisor of b: row i of x gets
                bias i modulo k. What must not be attended has a large negative one.
            context: tokens of which keys are made [b, m, e]; x by default.
            values: tokens of which values are made [b, m, e]; the context by default.
            mask: bool [b or 1, h or 1, n or 1, m], true where a query may attend to a key. A query that may attend to
                none gets zeros, and so the bias of the last projection.
            lengths: int [b], how many of each row's keys are there; the keys after them are padding.
            carry: keys and values of the tokens before x, of `zero_carry`; x is written behind them.
            place: int [b], how many tokens came before; 0 by default. A place beyond the carry's length is the caller's
                fault, and gives NaN.

        Returns:
            tokens [b, n, d]; {"weights": those before dropout [b, h, n, m], rows summing to one or zero, if asked for,
            "carry": with x added, if there was one}.

        Raises:
            ConfigError: if h does not divide d.
            ValueError: for a bias or mask of another shape, or arguments that exclude one another.
        """
        b, n, d = x.shape
        if d % self.heads:
            raise ConfigError(f"config.model.heads={self.heads} must divide the width {d} of the tokens")
        if (self.causal or self.rotary or carry is not None) and context is not None and context.shape[1] != n:
            raise ValueError("tokens of another sequence have no places among those that ask: it cannot be causal")
        wide = at_least_float32(self.dtype)
        q, k, v = self._heads(x, context, values)
        if self.rotary:
            places = jnp.arange(n)[None] + (0 if place is None else place[:, None])
            q, k = rotate(q, places), rotate(k, places)
        out: dict[str, Any] = {}
        if carry is not None:
            place = jnp.zeros(b, jnp.int32) if place is None else place
            carry = {"key": _written(carry["key"], k, place), "value": _written(carry["value"], v, place)}
            k, v = carry["key"].astype(self.dtype), carry["value"].astype(self.dtype)
            lengths = place + n if lengths is None else lengths
            out["carry"] = carry
        needs_weights = self.return_weights or bias is not None or mask is not None or carry is not None
        needs_weights |= (train and self.dropout > 0) or observe.inside()
        if not needs_weights and fuses(self.dtype, d // self.heads):
            how = {} if lengths is None else {"key_value_seq_lengths": lengths}
            how |= {"is_causal": True} if self.causal else {}
            y = jax.nn.dot_product_attention(q, k, v, implementation="cudnn", **how)
            y = y if lengths is None else jnp.where((lengths > 0)[:, None, None, None], y, 0)
        else:
            scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=wide)  # [b, h, n, m]
            scores = scores * (d // self.heads) ** -0.5
            scores = scores if bias is None else _add_bias(scores, bias)
            seen = visible(n, k.shape[1], causal=self.causal, lengths=lengths, place=place)
            weights = masked_softmax(scores, _both(seen, mask, scores.shape))
            if observe.inside():
                self.sow(observe.COLLECTION, "weights", weights)
            dropped = Dropout(self.dropout)(weights, train).astype(self.dtype)
            y = jnp.einsum("bhqk,bkhd->bqhd", dropped, v)
            out |= {"weights": weights} if self.return_weights else {}
        return self._dense(d, "proj")(y.reshape(b, n, d)), out

    def _dense(self, features: int, name: str) -> nn.Dense:
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype), "kernel_init": self.kernel_init}
        return nn.Dense(features, **types, dot_general=product_of_rows, name=name)

    def _heads(
        self, x: jax.Array, context: jax.Array | None, values: jax.Array | None
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Queries [b, n, h, d / h], keys and values [b, m, h, d / h]."""
        b, _, d = x.shape
        shape = (self.heads, d // self.heads)
        if self.packed and context is None and values is None:
            qkv = self._dense(3 * d, "qkv")(x).reshape(b, -1, 3, *shape)
            return qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        context = x if context is None else context
        inputs = {"query": x, "key": context, "value": context if values is None else values}
        q, k, v = (self._dense(d, name)(tokens).reshape(b, -1, *shape) for name, tokens in inputs.items())
        return q, k, v


def zero_carry(rows: int, length: int, heads: int, channels: int, dtype: Any = jnp.float32) -> Carry:
    """The keys and values of a sequence of which nothing has been read yet.

    Args:
        rows: b, sequences.
        length: the longest that they become, in tokens.
        heads: h.
        channels: of one head.
        dtype: of the computation; they are kept in it.

    Returns:
        {"key", "value": zeros [b, length, h, channels]}.
    """
    return {name: jnp.zeros((rows, length, heads, channels), dtype) for name in ("key", "value")}


def _written(kept: jax.Array, new: jax.Array, place: jax.Array) -> jax.Array:
    """`kept` [b, length, h, c] with `new` [b, n, h, c] from each row's place on; NaN where it does not fit."""
    write = jax.vmap(lambda row, tokens, at: jax.lax.dynamic_update_slice(row, tokens, (at, 0, 0)))
    fits = place + new.shape[1] <= kept.shape[1]  # [b]; an update beyond the end would be moved forward silently
    new = jnp.where(fits[:, None, None, None], new.astype(kept.dtype), jnp.nan)
    return write(kept, new, place)


def _both(seen: jax.Array | None, mask: jax.Array | None, shape: tuple[int, ...]) -> jax.Array | None:
    """Where both masks are true; refuses a mask that is not of the scores' shape [b, h, n, m], or 1 in an axis."""
    if mask is None:
        return seen
    if mask.ndim != 4 or any(m not in (1, s) for m, s in zip(mask.shape, shape, strict=True)):
        b, h, n, m = shape
        raise ValueError(f"a mask of attention must be [{b} or 1, {h} or 1, {n} or 1, {m}], got {mask.shape}")
    return mask if seen is None else mask & seen


def fuses(dtype: Any, channels: int) -> bool:
    """Whether attention is cuDNN's here: on a GPU that has it, in half precision, for heads of a size that it takes.

    Args:
        dtype: of queries, keys and values.
        channels: of one head.
    """
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    here = backend() == jax.default_backend() == "gpu"  # else it is compiled for another machine than this one
    if not here or not half or channels % 8 or channels > LARGEST_HEAD:
        return False
    capability = getattr(jax.local_devices(backend="gpu")[0], "compute_capability", "0")
    try:
        return float(capability) >= 8.0
    except ValueError:  # AMD's are called "gfx90a"
        return False


def _add_bias(scores: jax.Array, bias: jax.Array) -> jax.Array:
    """Scores [b, h, n, m] plus a bias [k, h or 1, n, m] for row i modulo k."""
    (b, h, n, m), (k, heads, *places) = scores.shape, bias.shape
    if b % k or heads not in (1, h) or places != [n, m]:
        raise ValueError(f"a bias of attention must be [k, {h} or 1, {n}, {m}], k a divisor of {b}; got {bias.shape}")
    grouped = scores.reshape(b // k, k, h, n, m) + bias.astype(scores.dtype)[None]
    return grouped.reshape(b, h, n, m)
