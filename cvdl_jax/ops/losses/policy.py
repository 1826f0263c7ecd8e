"""Losses of policies: estimates of the gradient of an expected return, one value a decision.

    J = E[sum_t gamma^t r_t],   dJ / d theta = E[sum_t w_t d log pi(a_t | s_t) / d theta]

The weight w_t is the return of the whole episode, or of what comes after the decision (reward to go), less a baseline
that does not depend on it; all of them have one mean and not one variance.

Reference: Williams 1992; Sutton et al. 2000, "Policy Gradient Methods for Reinforcement Learning with Function
Approximation", theorem 1; Schulman et al. 2017, "Proximal Policy Optimization Algorithms".
"""

import jax
import jax.numpy as jnp


def log_probability(logits: jax.Array, actions: jax.Array) -> jax.Array:
    """`log pi(a | s)`. Args: logits [..., m]; actions int [...]. Returns: float [...]."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None], -1)[..., 0]


def entropy(logits: jax.Array) -> jax.Array:
    """`- sum_a pi(a) log pi(a)`, in nats. Args: logits [..., m]. Returns: float [...]."""
    log_p = jax.nn.log_softmax(logits)
    return -(jnp.exp(log_p) * log_p).sum(-1)


def plain(log_p: jax.Array, weight: jax.Array) -> jax.Array:
    """`- w log pi`. Args: both of one shape; no gradient goes through w. Returns: likewise."""
    return -jax.lax.stop_gradient(weight) * log_p


def clipped(log_p: jax.Array, old: jax.Array, advantage: jax.Array, clip: float) -> jax.Array:
    """`- min(r A, clip(r, 1 - c, 1 + c) A)`, `r = pi / pi_old`: no reward for leaving the old policy further than c.

    Args:
        log_p: of the trained policy, any shape.
        old: of the policy that acted, likewise.
        advantage: A, likewise; no gradient goes through it.
        clip: c.

    Returns:
        float, likewise.

    Reference: Schulman et al. 2017, equation 7.
    """
    ratio, advantage = jnp.exp(log_p - jax.lax.stop_gradient(old)), jax.lax.stop_gradient(advantage)
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)
