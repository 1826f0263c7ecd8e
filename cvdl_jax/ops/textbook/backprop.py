"""Back-propagation written out, layer by layer, for a multi-layer perceptron. No automatic differentiation in here.

    forward      z[l] = a[l-1] W[l]' + b[l],   a[l] = g(z[l])         a[0] = x [b, n0], W[l] [n[l], n[l-1]], b[l] [n[l]]
    backward     dz[l] = da[l] g'(z[l])                               the gradient from above times the local derivative
                 dW[l] = dz[l]' a[l-1],  db[l] = sum over rows of dz[l],  da[l-1] = dz[l] W[l]

d stands for the derivative of the cost. Rows are examples; W has the layout of `torch.nn.Linear`, `y = x W' + b`.

Reference: Rumelhart et al. 1986, "Learning Representations by Back-propagating Errors", equations 4 to 7.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

Function = Callable[[jax.Array], jax.Array]


class Dense(NamedTuple):
    """Parameters of a fully connected layer, or their gradients."""

    w: jax.Array  # [n_out, n_in]
    b: jax.Array | None = None  # [n_out]


class Cache(NamedTuple):
    """The values of a layer that the forward pass keeps for the backward pass."""

    x: jax.Array  # [b, n_in], the activations of the layer before
    z: jax.Array  # [b, n_out]
    a: jax.Array  # [b, n_out]


def neuron(x: jax.Array, w: jax.Array, b: jax.Array, g: Function) -> jax.Array:
    """One artificial neuron, `a = g(sum_i x_i w_i + b)`.

    Args:
        x: inputs, float [n].
        w: weights, float [n].
        b: bias, float [].
        g: activation function.

    Returns:
        float [].
    """
    return g(jnp.sum(x * w) + b)


def dense(params: Dense, x: jax.Array) -> jax.Array:
    """`y = x W' + b`, or without b where it is None. Args: x float [b, n_in]. Returns: [b, n_out]."""
    y = x @ params.w.T
    return y if params.b is None else y + params.b[None]


def init_dense(key: jax.Array, n_in: int, n_out: int, bias: bool = True) -> Dense:
    """Weights and biases uniform in `+-1 / sqrt(n_in)`, the initialisation of `torch.nn.Linear`."""
    limit = n_in**-0.5
    w, b = jax.random.split(key)
    draw = jax.random.uniform(b, (n_out,), minval=-limit, maxval=limit) if bias else None
    return Dense(jax.random.uniform(w, (n_out, n_in), minval=-limit, maxval=limit), draw)


def init_mlp(key: jax.Array, sizes: Sequence[int]) -> list[Dense]:
    """The layers of a perceptron with `sizes = (inputs, hidden ..., outputs)`."""
    keys = jax.random.split(key, len(sizes) - 1)
    return [init_dense(k, *pair) for k, pair in zip(keys, zip(sizes, sizes[1:], strict=False), strict=True)]


def forward(params: Sequence[Dense], x: jax.Array, functions: Sequence[Function]) -> tuple[jax.Array, list[Cache]]:
    """The forward pass.

    Args:
        params: of each layer.
        x: float [b, n0].
        functions: g of each layer; the identity for scores.

    Returns:
        (activations of the last layer [b, n_last], the cache of each layer).
    """
    caches = []
    for layer, g in zip(params, functions, strict=True):
        z = dense(layer, x)
        caches.append(Cache(x, z, g(z)))
        x = caches[-1].a
    return x, caches


def dense_backward(params: Dense, x: jax.Array, dz: jax.Array) -> tuple[Dense, jax.Array]:
    """`dW = dz' x`, `db = sum dz`, `dx = dz W`. Args: x [b, n_in], dz [b, n_out]. Returns: (gradients, dx)."""
    return Dense(dz.T @ x, None if params.b is None else dz.sum(0)), dz @ params.w


def backward(
    params: Sequence[Dense], caches: Sequence[Cache], da: jax.Array, derivatives: Sequence[Function]
) -> tuple[list[Dense], jax.Array]:
    """The backward pass.

    Args:
        params: of each layer.
        caches: from `forward`.
        da: derivative of the cost with respect to the last activations, float [b, n_last].
        derivatives: g' of each layer, from `activation_derivatives.py`.

    Returns:
        (gradients of each layer, derivative with respect to x [b, n0]).
    """
    gradients = []
    for layer, cache, derivative in reversed(list(zip(params, caches, derivatives, strict=True))):
        dz = da * derivative(cache.z)
        gradient, da = dense_backward(layer, cache.x, dz)
        gradients.append(gradient)
    return gradients[::-1], da


def single_weight_derivative(a_before: jax.Array, z: jax.Array, y: jax.Array, g: Function, slope: Function):
    """The chain rule for one weight of the last layer, with the cost `C = (g(z) - y)^2` of one output.

    Args:
        a_before: activation at the other end of the weight, float [].
        z: input of the last unit, float [].
        y: its target, float [].
        g: its activation function.
        slope: g'.

    Returns:
        `dC/dw = a_before g'(z) 2 (g(z) - y)`, float [].
    """
    return a_before * slope(z) * 2 * (g(z) - y)


def softmax_cross_entropy_gradient(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """The gradient of the mean softmax cross-entropy, `dL/dZ = (P - Y) / b`.

    For one example `L = log sum_i e^{z_i} - z_y`; the first term has the derivative `e^{z_j} / sum = p_j`, the second
    `-1` at `j = y`: so `dL/dz = p - y`, with y one-hot.

    Args:
        scores: Z, float [b, c].
        labels: int [b].

    Returns:
        float [b, c]; its rows sum to zero.
    """
    onehot = jax.nn.one_hot(labels, scores.shape[1], dtype=scores.dtype)
    return (jax.nn.softmax(scores) - onehot) / len(scores)


def multiclass_hinge_gradient(scores: jax.Array, labels: jax.Array, margin: float = 1.0) -> jax.Array:
    """The gradient of the mean of `sum_{j != y} max(0, s_j - s_y + m)`.

    The gradient is 1 for every class within the margin and minus their number for the right class, divided by b.

    Args:
        scores: float [b, c].
        labels: int [b].
        margin: m.

    Returns:
        float [b, c].
    """
    onehot = jax.nn.one_hot(labels, scores.shape[1], dtype=scores.dtype)
    right = (scores * onehot).sum(1, keepdims=True)  # [b, 1]
    within = (scores - right + margin > 0) * (1 - onehot)  # [b, c]
    return (within - onehot * within.sum(1, keepdims=True)) / len(scores)


def linear_classifier_gradient(params: Dense, x: jax.Array, d_scores: jax.Array, penalty: float) -> Dense:
    """`dL/dW = (1/N) sum_i dL_i/dW + lambda dR/dW` with `R = sum W^2`, so `dR/dW = 2 W`; the bias is not penalised.

    Args:
        params: of the linear classifier.
        x: float [b, d].
        d_scores: gradient of the mean loss, [b, c], from one of the functions above.
        penalty: lambda.
    """
    gradient, _ = dense_backward(params, x, d_scores)
    return gradient._replace(w=gradient.w + 2 * penalty * params.w)
