"""What makes the features of two domains alike: a reversed gradient, and the distance of their covariances."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops import precision


@jax.custom_vjp
def reversed_gradient(x: jax.Array, strength: jax.Array) -> jax.Array:
    """X itself, whose gradient is multiplied by `- strength`.

    Args:
        x: any float array.
        strength: lambda, a scalar; it gets no gradient.

    Reference: Ganin et al. 2016, "Domain-Adversarial Training of Neural Networks", equations 15 and 16.
    """
    return x


def _forward(x: jax.Array, strength: jax.Array) -> tuple[jax.Array, jax.Array]:
    return x, strength


def _backward(strength: jax.Array, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    return -jnp.asarray(strength, gradient.dtype) * gradient, jnp.zeros_like(strength)


reversed_gradient.defvjp(_forward, _backward)


def adaptation_strength(progress: jax.Array, steepness: float = 10.0) -> jax.Array:
    """`2 / (1 + exp(- steepness p)) - 1`, from 0 to nearly 1, so that an untrained domain classifier does not count.

    Args:
        progress: p, from 0 to 1 over the training.
        steepness: gamma, positive.

    Reference: Ganin et al. 2016, section 5.2.2.
    """
    return jnp.tanh(steepness * progress / 2)  # the same function


def domain_losses(source: jax.Array, target: jax.Array) -> jax.Array:
    """`log(1 + exp(-s_i)) + log(1 + exp(t_i))`: binary cross-entropies of a source and a target row, source being 1.

    Args:
        source: logits of "source" of source rows, float [b].
        target: of target rows, float [b].

    Returns:
        At least float32 [b].
    """
    source, target = precision.wide(source), precision.wide(target)
    return jax.nn.softplus(-source) + jax.nn.softplus(target)


def coral_distance(source: jax.Array, target: jax.Array) -> jax.Array:
    """The squared distance of two covariances, `||C_S - C_T||_F^2 / (4 d^2)`.

        C = (X^T X - (1^T X)^T (1^T X) / n) / (n - 1)

    Args:
        source: float [n, d], n at least 2.
        target: float [m, d].

    Returns:
        A scalar, at least float32.

    Raises:
        ValueError: for fewer than two rows, or different widths.

    Reference: Sun and Saenko 2016, "Deep CORAL: Correlation Alignment for Deep Domain Adaptation", equations 1 to 3.
    """
    if min(len(source), len(target)) < 2 or source.shape[1:] != target.shape[1:] or source.ndim != 2:
        raise ValueError(f"covariances need two rows of one width, got {list(source.shape)} and {list(target.shape)}")
    source, target = precision.wide(source), precision.wide(target)
    dot = partial(jnp.matmul, precision=lax.Precision.HIGHEST)

    def covariance(x: jax.Array) -> jax.Array:
        centred = x - x.mean(0, keepdims=True)
        return dot(centred.T, centred) / (len(x) - 1)

    return jnp.square(covariance(source) - covariance(target)).sum() / (4 * source.shape[1] ** 2)
