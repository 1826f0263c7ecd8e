"""Penalties on the size of parameters and on the gradients of a critic, and how they are added to a loss.

An L2 penalty is written in three ways. Plain gradient descent with weight decay d, `w <- (1 - lr d) w - lr g`, descends

    d / 2 |w|^2            gradient d w             (the weight decay itself)
    lambda |w|^2           gradient 2 lambda w      d = 2 lambda        (`l2`)
    lambda / 2m |w|^2      gradient lambda / m w    d = lambda / m      (`frobenius`, of m examples)

and `as_weight_decay` converts. The caller chooses which arrays are penalised: kernels alone, or biases as well.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.ops.losses.reduction import reduce
from cvdl_jax.ops.value_checks import between

Convention = Literal["decay", "sum", "mean"]


def l2(params: Any) -> jax.Array:
    """Sum of squares, `R(W) = sum_k W_k^2`; it prefers many small weights to a few large ones.

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
        examples: m >= 1, the number that the mean loss is over.

    Returns:
        [], 0 for an empty tree.

    Raises:
        ValueError: for fewer than one example.
    """
    between("examples", examples, 1, float("inf"))
    return l2(params) / (2 * examples)


def l1(params: Any) -> jax.Array:
    """Sum of magnitudes, `R(W) = sum_k |W_k|`, with subgradient 0 at 0; it prefers few non-zero weights.

    Args:
        params: a tree of arrays.

    Returns:
        [], 0 for an empty tree.
    """
    signs = jax.lax.stop_gradient(jax.tree.map(jnp.sign, params))  # the slope of |x| at 0 is 1 in JAX
    pairs = zip(jax.tree.leaves(params), jax.tree.leaves(signs), strict=True)
    return sum((jnp.sum(x * sign) for x, sign in pairs), start=jnp.zeros(()))


def sparsity(params: Any) -> jax.Array:
    """The share of elements that are exactly 0, float32 []; params: a tree of arrays that is not empty."""
    leaves = jax.tree.leaves(params)
    zeros = sum((jnp.sum(x == 0) for x in leaves), start=jnp.zeros((), jnp.int32))
    return zeros / jnp.float32(sum(x.size for x in leaves))


def soft_threshold(x: jax.Array, threshold: jax.Array | float) -> jax.Array:
    """The proximal operator of t |x|, `sign(x) max(|x| - t, 0)`: exactly 0 wherever |x| <= t.

    A step of gradient descent on the loss followed by this, with t the rate times lambda, minimises the loss plus
    lambda |x|_1.

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
    """The weight decay d, whose gradient is d w, that equals an L2 penalty written in another convention.

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


def regularised(
    loss: Callable[..., jax.Array], regulariser: Callable[[Any], jax.Array], strength: float
) -> Callable[..., jax.Array]:
    """The objective `L(W) = (1/N) sum_i L_i(W) + lambda R(W)` for any loss and any regulariser.

    If the optimizer applies the penalty already (`config.optim.weight_decay`), do not add it here as well.

    Args:
        loss: `(params, *args) -> losses [b]`.
        regulariser: `params -> []`, such as `l2`.
        strength: lambda, 0 or more; 0 leaves the mean loss.

    Returns:
        `(params, *args, weights=None, mask=None) -> float []`; weights and mask are those of `reduction.reduce` for
        the losses; they do not scale the penalty.

    Raises:
        ValueError: for a negative strength, or a regulariser that does not return one number.
    """
    between("strength", strength, 0.0, float("inf"))

    def objective(params: Any, *args: Any, weights: Any = None, mask: Any = None) -> jax.Array:
        data = reduce(loss(params, *args), "mean", weights, mask)
        if not strength:
            return data
        penalty = regulariser(params)
        if getattr(penalty, "shape", ()) != ():
            raise ValueError(f"regulariser(params) must be one number, got an array of shape {list(penalty.shape)}")
        return data + strength * penalty

    return objective


def interpolate(real: jax.Array, fake: jax.Array, t: jax.Array) -> jax.Array:
    """`t real + (1 - t) fake` of each row. Args: real, fake [b, ...]; t [b] in 0..1. Returns: [b, ...]."""
    t = t.reshape(-1, *[1] * (real.ndim - 1)).astype(real.dtype)  # [b, 1, ...]
    return t * real + (1 - t) * fake


def real_gradient_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`|grad f(x)|^2 / 2` of each row, at real images ("R1"), where a discriminator that has converged is flat.

    Args:
        critic: scores [b] of x, whose rows it must not mix.
        x: [b, ...].

    Returns:
        [b].

    Reference: Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?", equation 9.
    """
    slopes = jax.grad(lambda x: critic(x).sum())(x).reshape(x.shape[0], -1)  # [b, n]
    return jnp.square(slopes).sum(-1) / 2


def gradient_penalty(critic: Callable[[jax.Array], jax.Array], x: jax.Array) -> jax.Array:
    """`(|grad f(x)| - 1)^2` of each row, which keeps the slope of a critic near 1.

    One backward pass of the sum of all scores gives the gradients of all rows, so the critic must not mix rows.

    Args:
        critic: scores [b] of x.
        x: [b, ...].

    Returns:
        [b].

    Reference: Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", equation 3.
    """
    slopes = jax.grad(lambda x: critic(x).sum())(x).reshape(x.shape[0], -1)  # [b, n]
    norm = jnp.sqrt(jnp.square(slopes).sum(-1) + 1e-12)  # the root of 0 has no gradient
    return jnp.square(norm - 1)
