"""The gradient of an expected reward through choices that are drawn (REINFORCE).

    d E[R] / d theta = E[(R - b) d log p(choices; theta) / d theta]

for every b that does not depend on the choice; one near the mean reward makes the estimate less noisy.

Reference: Williams 1992, "Simple Statistical Gradient-Following Algorithms for Connectionist Reinforcement Learning",
theorem 1.
"""

import math

import jax
import jax.numpy as jnp


def reinforce(log_p: jax.Array, reward: jax.Array, baseline: jax.Array) -> jax.Array:
    """`- sum_t (R - b_t) log p_t`, whose gradient by the parameters of p is an estimate of that of -E[R].

    Args:
        log_p: log probabilities of the choices, float [b, t].
        reward: R of each row, float [b]; no gradient goes through it.
        baseline: b_t, float [b, t]; no gradient goes through it either, see `baseline_error`.

    Returns:
        float [b].
    """
    return -(jax.lax.stop_gradient(reward[:, None] - baseline) * log_p).sum(1)


def baseline_error(reward: jax.Array, baseline: jax.Array) -> jax.Array:
    """`sum_t (R - b_t)^2`, by which a baseline learns the mean reward. Args: see `reinforce`. Returns: float [b]."""
    return jnp.square(jax.lax.stop_gradient(reward)[:, None] - baseline).sum(1)


def normal_log_p(x: jax.Array, mean: jax.Array, deviation: float) -> jax.Array:
    """The log density of independent normal numbers, summed over the last axis: float [..., d] -> [...]."""
    z = (x - mean) / deviation
    return (-jnp.square(z) / 2 - math.log(deviation * math.sqrt(2 * math.pi))).sum(-1)
