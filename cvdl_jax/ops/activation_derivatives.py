"""The derivative of every activation of `nn/activations.py` in closed form, under the same name and arguments.

    identity    1                        leaky_relu  1 or slope           gelu        Phi(z) + z phi(z)
    sigmoid     s (1 - s)                prelu       1 or learned slope   softmax     diag(p) - p p'
    tanh        1 - a^2                  elu         1 or alpha e^z       sine        omega cos(omega z)
    relu        0 or 1                   silu        s + z s (1 - s)      hard_swish  h + z h'
    relu6       0 or 1                   hard_sigmoid  0 or 1/6           quick_gelu  s + 1.702 z s (1 - s)

Each function takes z, float [...], and returns g'(z), float [...]. At a kink the value is that of automatic
differentiation of the forward function, which is an element of the subdifferential.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm


def identity(z: jax.Array) -> jax.Array:
    """`g' = 1`."""
    return jnp.ones_like(z)


def relu(z: jax.Array, at_zero: float = 0.0) -> jax.Array:
    """`g' = 0` for z < 0, `1` for z > 0, and `at_zero` at 0."""
    return jnp.where(z == 0, at_zero, (z > 0).astype(z.dtype)).astype(z.dtype)


def relu6(z: jax.Array) -> jax.Array:
    """`g' = 1` inside (0, 6), else `0`."""
    return ((z > 0) & (z < 6)).astype(z.dtype)


def leaky_relu(z: jax.Array, slope: float = 0.01) -> jax.Array:
    """`g' = 1` for z >= 0, else `slope`."""
    return jnp.where(z >= 0, 1.0, slope).astype(z.dtype)


def prelu(z: jax.Array, slope: jax.Array) -> jax.Array:
    """`g' = 1` for z >= 0, else the learned slope [...], which broadcasts against z."""
    return jnp.where(z >= 0, jnp.ones_like(z), jnp.broadcast_to(slope, z.shape).astype(z.dtype))


def elu(z: jax.Array, alpha: float = 1.0) -> jax.Array:
    """`g' = 1` for z > 0, else `alpha e^z = g + alpha`."""
    return jnp.where(z > 0, 1.0, alpha * jnp.exp(jnp.minimum(z, 0))).astype(z.dtype)


def tanh(z: jax.Array) -> jax.Array:
    """`g' = 1 - g^2`."""
    return 1 - jnp.square(jnp.tanh(z))


def lecun_tanh(z: jax.Array) -> jax.Array:
    """`g = A tanh(S z)` has `g' = A S (1 - tanh(S z)^2)`, A = 1.7159, S = 2/3."""
    return 1.7159 * 2 / 3 * tanh(2 / 3 * z)


def sigmoid(z: jax.Array) -> jax.Array:
    """`g' = g (1 - g)`, written as `s(z) s(-z)`, which does not cancel."""
    return jax.nn.sigmoid(z) * jax.nn.sigmoid(-z)


def hard_sigmoid(z: jax.Array) -> jax.Array:
    """`g' = 1/6` inside (-3, 3), else `0`."""
    return relu6(z + 3) / 6


def sine(z: jax.Array, omega: float = 1.0) -> jax.Array:
    """`g' = omega cos(omega z)`."""
    return omega * jnp.cos(omega * z)


def silu(z: jax.Array) -> jax.Array:
    """`g = z s(z)` has `g' = s + z s (1 - s)`."""
    return jax.nn.sigmoid(z) + z * sigmoid(z)


def hard_swish(z: jax.Array) -> jax.Array:
    """`g = z h(z)` with the hard sigmoid h has `g' = h(z) + z h'(z)`."""
    return jnp.clip((z + 3) / 6, 0, 1) + z * hard_sigmoid(z)


def gelu(z: jax.Array) -> jax.Array:
    """`g = z Phi(z)` has `g' = Phi(z) + z phi(z)`. Reference: Hendrycks and Gimpel 2016, section 2."""
    return norm.cdf(z) + z * norm.pdf(z)


def gelu_tanh(z: jax.Array) -> jax.Array:
    """`g = z (1 + tanh u) / 2`, `u = sqrt(2/pi) (z + 0.044715 z^3)`: `g' = (1 + t) / 2 + z (1 - t^2) u' / 2`."""
    c = (2 / jnp.pi) ** 0.5
    t = jnp.tanh(c * (z + 0.044715 * z**3))
    return (1 + t) / 2 + z * (1 - t**2) * c * (1 + 3 * 0.044715 * z**2) / 2


def quick_gelu(z: jax.Array) -> jax.Array:
    """`g = z s(1.702 z)` has `g' = s + 1.702 z s (1 - s)` with s at 1.702 z."""
    return jax.nn.sigmoid(1.702 * z) + 1.702 * z * sigmoid(1.702 * z)


def softmax_jacobian(z: jax.Array) -> jax.Array:
    """`dp_i / dz_j = p_i (i == j) - p_i p_j`, for each row of scores.

    Args:
        z: scores, float [..., c].

    Returns:
        float [..., c, c], symmetric; its rows sum to zero, because the probabilities sum to one.
    """
    if z.ndim > 1:
        return jax.vmap(softmax_jacobian)(z)
    p = jax.nn.softmax(z)
    return jnp.diag(p) - jnp.outer(p, p)


DERIVATIVES: dict[str, Callable[..., jax.Array]] = {
    f.__name__: f
    for f in (
        identity, relu, relu6, leaky_relu, elu, tanh, lecun_tanh, sigmoid, hard_sigmoid, sine, silu, hard_swish, gelu,
        gelu_tanh, quick_gelu,
    )
}  # fmt: skip
