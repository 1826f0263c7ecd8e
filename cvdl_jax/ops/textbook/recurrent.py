"""A vanilla recurrent network and back-propagation through time, written out. No automatic differentiation in here.

    forward       z_t = x_t W_ih + h_{t-1} W_hh + b,   h_t = g(z_t)          t = 1 ... T
    joined        z_t = [x_t, h_{t-1}] W + b,          W = [W_ih; W_hh]      the same numbers with one matrix
    backward      dh_t = (of the cost at t) + dz_{t+1} W_hh'                 dz_t = dh_t g'(z_t)
                  dW_ih = sum_t x_t' dz_t,   dW_hh = sum_t h_{t-1}' dz_t,    db = sum_t dz_t
    Jacobian      dh_t / dh_k = product over i = k+1 ... t of W_hh diag(g'(z_i))

d stands for the derivative of the cost. Unrolled, dh_k is the sum over t >= k of the cost's derivative at t times
dh_t / dh_k. The norm of this product, not a bound of g' alone, says whether gradients vanish or explode: g' of ReLU is
0 or 1, and gradients through it explode where the matrices W_hh enlarge them. Rows are examples, and the weights stand
on the right, as in `nn/recurrent.py`.

Reference: Werbos 1990, "Backpropagation Through Time: What It Does and How to Do It"; Pascanu et al. 2013, "On the
Difficulty of Training Recurrent Neural Networks", equations 3 to 5.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Function = Callable[[jax.Array], jax.Array]


class Weights(NamedTuple):
    """Parameters of a vanilla cell, or their gradients."""

    ih: jax.Array  # [d, u]
    hh: jax.Array  # [u, u]
    b: jax.Array  # [u]


class Unrolled(NamedTuple):
    """What the forward pass keeps for the backward pass."""

    x: jax.Array  # [t, b, d]
    before: jax.Array  # [t, b, u], the state before each input
    z: jax.Array  # [t, b, u]


def joined(weights: Weights) -> jax.Array:
    """The two matrices as one, `W = [W_ih; W_hh]` [d + u, u]."""
    return jnp.concatenate([weights.ih, weights.hh])


def cell(weights: Weights, x: jax.Array, h: jax.Array) -> jax.Array:
    """The input z of one step with separate matrices. Args: x float [b, d]; h [b, u]. Returns: [b, u]."""
    return x @ weights.ih + h @ weights.hh + weights.b[None]


def joined_cell(w: jax.Array, b: jax.Array, x: jax.Array, h: jax.Array) -> jax.Array:
    """The input z of one step with one matrix. Args: w [d + u, u]; b [u]; x float [b, d]; h [b, u]. Returns: [b, u]."""
    return jnp.concatenate([x, h], -1) @ w + b[None]


def forward(weights: Weights, x: jax.Array, h: jax.Array, g: Function) -> tuple[jax.Array, Unrolled]:
    """The states after each input.

    Args:
        weights: of the cell.
        x: float [t, b, d].
        h: the state before the first input, [b, u].
        g: activation function.

    Returns:
        (states [t, b, u], what the backward pass needs).
    """
    before, z = [], []
    for x_t in x:
        before.append(h)
        z.append(cell(weights, x_t, h))
        h = g(z[-1])
    return jnp.stack([*before[1:], h]), Unrolled(x, jnp.stack(before), jnp.stack(z))


def backward(
    weights: Weights, unrolled: Unrolled, dh: jax.Array, derivative: Function, cut: int = 0
) -> tuple[Weights, jax.Array, jax.Array]:
    """Back-propagation through time.

    Args:
        weights: of the cell.
        unrolled: of the forward pass.
        dh: the cost's own derivative by each state, float [t, b, u].
        derivative: g', a function of z.
        cut: truncated back-propagation: a gradient does not cross the border before inputs 0, cut, 2 cut ...; 0 for
            none. The states themselves do.

    Returns:
        (the gradients of the weights, those of the inputs [t, b, d], dz of each step [t, b, u]).
    """
    later, steps = jnp.zeros_like(dh[0]), []
    for t in reversed(range(len(dh))):
        if cut and (t + 1) % cut == 0:
            later = jnp.zeros_like(later)
        steps.append((dh[t] + later) * derivative(unrolled.z[t]))
        later = steps[-1] @ weights.hh.T
    dz = jnp.stack(steps[::-1])  # [t, b, u]
    ih = sum(x.T @ d for x, d in zip(unrolled.x, dz, strict=True))
    hh = sum(h.T @ d for h, d in zip(unrolled.before, dz, strict=True))
    return Weights(ih, hh, dz.sum((0, 1))), dz @ weights.ih.T, dz


def jacobian(weights: Weights, z: jax.Array, derivative: Function) -> jax.Array:
    """dh_t / dh_k of each example.

    Args:
        weights: of the cell.
        z: of steps k + 1 ... t, float [t - k, b, u]; the identity for none.
        derivative: g'.

    Returns:
        [b, u, u], the derivative of component j of h_t by component i of h_k at [i, j].
    """
    product = jnp.broadcast_to(jnp.eye(z.shape[-1], dtype=z.dtype), (z.shape[1], z.shape[-1], z.shape[-1]))
    for z_i in z:
        product = product @ (weights.hh[None] * derivative(z_i)[:, None])  # [b, u, u]
    return product
