"""Attention as array functions: which values a query takes, and in what shares.

    y_i = sum_j w_ij v_j,   w_i = softmax_j(score(q_i, k_j))

The score is a dot product, a scaled one, or additive. A mask is true where a key may be attended. A query that may
attend to nothing has weights and a result of zero, where a softmax would be 0 / 0.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.ops.precision import at_least_float32


def masked_softmax(scores: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Softmax over the last axis among the keys that may be attended; a row of zeros where there are none.

    Args:
        scores: float [..., n, m].
        mask: bool, of a shape that has as many axes as the scores and can be broadcast to theirs; None for all keys.

    Returns:
        [..., n, m] in the scores' dtype; rows sum to one, or are zero.
    """
    if mask is None:
        return jax.nn.softmax(scores, axis=-1)
    shares = jax.nn.softmax(jnp.where(mask, scores, jnp.finfo(scores.dtype).min), axis=-1)
    return jnp.where(mask, shares, 0)


def self_attention(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Attention without parameters: every input is query, key and value, `w_ij = softmax_j(x_i . x_j)`.

    Args:
        x: float [..., n, d].

    Returns:
        [..., n, d]; weights [..., n, n].
    """
    return scaled_dot_product(x, x, x, scale=1.0)


def scaled_dot_product(
    q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, scale: float | None = None
) -> tuple[jax.Array, jax.Array]:
    """`softmax(Q K^T / sqrt(c)) V`.

    Components of q and k that are independent, of mean 0 and variance 1, have dot products of variance c; the scale
    makes it 1, so that the softmax does not begin where its gradient vanishes.

    Args:
        q: queries [..., n, c].
        k: keys [..., m, c].
        v: values [..., m, e].
        mask: bool, broadcast to [..., n, m], of as many axes; None for all keys.
        scale: factor of the dot products, `1 / sqrt(c)` by default; 1 for the attention that is not scaled.

    Returns:
        [..., n, e]; weights [..., n, m], at least float32.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", equation 1 and footnote 4.
    """
    wide = at_least_float32(q.dtype)
    scores = jnp.einsum("...nc,...mc->...nm", q, k, preferred_element_type=wide)
    weights = masked_softmax(scores * (q.shape[-1] ** -0.5 if scale is None else scale), mask)
    return jnp.einsum("...nm,...me->...ne", weights.astype(v.dtype), v), weights


def additive_scores(q: jax.Array, k: jax.Array, w_q: jax.Array, w_k: jax.Array, v: jax.Array) -> jax.Array:
    """`v^T tanh(W_q q_i + W_k k_j)`, the scores of a small network in the place of a dot product.

    Args:
        q: queries [..., n, c].
        k: keys [..., m, e].
        w_q: [c, u].
        w_k: [e, u].
        v: [u].

    Returns:
        Scores [..., n, m], before the softmax.

    Reference: Bahdanau et al. 2015, "Neural Machine Translation by Jointly Learning to Align and Translate", appendix
        A.1.2.
    """
    hidden = jnp.tanh((q @ w_q)[..., :, None, :] + (k @ w_k)[..., None, :, :])  # [..., n, m, u]
    return hidden @ v


def visible(
    queries: int,
    keys: int,
    *,
    causal: bool = False,
    lengths: jax.Array | None = None,
    place: jax.Array | None = None,
) -> jax.Array | None:
    """The mask of keys that a query may attend to.

    Args:
        queries: n.
        keys: m.
        causal: query i, which stands at place i, attends to keys 0 to i.
        lengths: int [b], how many keys of each row are there; the rest is padding.
        place: int [b], where the first query of each row stands among the keys; 0 by default.

    Returns:
        bool [b or 1, 1, n or 1, m], or None if all keys are seen.
    """
    key = jnp.arange(keys)[None, None, None]  # [1, 1, 1, m]
    mask = None
    if causal:
        at = jnp.arange(queries)[None, None, :, None]  # [1, 1, n, 1]
        mask = key <= (at if place is None else at + place[:, None, None, None])
    if lengths is None:
        return mask
    there = key < lengths[:, None, None, None]  # [b, 1, 1, m]
    return there if mask is None else mask & there
