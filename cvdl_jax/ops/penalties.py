"""Penalties on the size of parameters, for `regularised.regularised`: R(W) of any tree of arrays.

An L2 penalty is written in three ways. Plain gradient descent with weight decay d, `w <- (1 - lr d) w - lr g`, descends

    d / 2 |w|^2            gradient d w             (the weight decay itself)
    lambda |w|^2           gradient 2 lambda w      d = 2 lambda        (`l2`)
    lambda / 2m |w|^2      gradient lambda / m w    d = lambda / m      (`frobenius`, of m examples)

and `as_weight_decay` converts. Which arrays are penalised (kernels, or biases as well) is the choice of the caller.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.ops.concrete import between

Convention = Literal["decay", "sum", "mean"]


def l2(params: Any) -> jax.Array:
    """Sum of squares, `R(W) = sum_k W_k^2`; it prefers weights that are spread out.

    Args:
        params: a tree of arrays.

    Returns:
        [], 0 for an empty tree.
    """
    return sum((jnp.sum(jnp.square(x)) for x in jax.tree.leaves(params)), start=jnp.zeros(()))


def frobenius(params: Any, examples: int) -> jax.Array:
    """`R(W) = 1 / (2 m) sum_l |W_l|_F^2`, whose gradient is `W / m`; |W|_F^2 is the sum of the squares of a matrix.

    With strength lambda it makes the cost `J = 1/m sum_i L_i + lambda / (2 m) sum_l |W_l|_F^2`.

    Args:
        params: a tree of arrays, one for each layer.
        examples: m >= 1, those that the mean loss is over.

    Returns:
        [], 0 for an empty tree.

    Raises:
        ValueError: for fewer than one example.
    """
    between("examples", examples, 1, float("inf"))
    return l2(params) / (2 * examples)


def l1(params: Any) -> jax.Array:
    """Sum of magnitudes, `R(W) = sum_k |W_k|`, with subgradient 0 at 0; it prefers few weights.

    Args:
        params: a tree of arrays.

    Returns:
        [], 0 for an empty tree.
    """
    signs = jax.lax.stop_gradient(jax.tree.map(jnp.sign, params))  # JAX has 1 as the slope of |x| at 0
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(signs), strict=True)
    return sum((jnp.sum(x * sign) for x, sign in pairs), start=jnp.zeros(()))


def sparsity(params: Any) -> jax.Array:
    """The share of elements that are exactly 0, float32 []; params: a tree of arrays that is not empty."""
    leaves = jax.tree.leaves(params)
    zeros = sum((jnp.sum(x == 0) for x in leaves), start=jnp.zeros((), jnp.int32))
    return zeros / jnp.float32(sum(x.size for x in leaves))


def soft_threshold(x: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """The proximal operator of t |x|, `sign(x) max(|x| - t, 0)`: exactly 0 wherever |x| <= t.

    A step of descent on the loss followed by this, with t the rate times lambda, descends the loss plus lambda |x|_1.

    Args:
        x: float [...].
        threshold: t, a number of 0 or more.

    Returns:
        An array like x.

    Raises:
        ValueError: for a negative threshold.

    Reference: Daubechies, Defrise and De Mol 2004, "An Iterative Thresholding Algorithm for Linear Inverse Problems",
    equation 1.5; Parikh and Boyd 2014, "Proximal Algorithms", section 6.5.2.
    """
    between("threshold", threshold, 0.0, float("inf"))
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def as_weight_decay(strength: float, convention: Convention, examples: int | None = None) -> float:
    """The weight decay d, of gradient d w, that an L2 penalty written in some convention is.

    Args:
        strength: lambda.
        convention: "decay" `lambda / 2 |w|^2`, "sum" `lambda |w|^2` or "mean" `lambda / (2 m) |w|^2`.
        examples: m, for "mean".

    Raises:
        ValueError: for a negative strength, an unknown convention, or "mean" without examples.
    """
    between("strength", strength, 0.0, float("inf"))
    if convention not in ("decay", "sum", "mean"):
        raise ValueError(f"convention={convention!r} must be 'decay', 'sum' or 'mean'")
    if convention == "mean":
        if examples is None:
            raise ValueError("examples is missing; convention='mean' divides by the number of examples")
        between("examples", examples, 1, float("inf"))
        return strength / examples
    return strength * (2 if convention == "sum" else 1)
