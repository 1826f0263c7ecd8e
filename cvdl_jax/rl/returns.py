"""Returns and temporal-difference errors. Names carry their time, as in RLax: `q_tm1` belongs to t - 1, `r_t` to t."""

import jax
import jax.numpy as jnp


def discounted_returns(rewards: jax.Array, discounts: jax.Array | float, last: jax.Array | float = 0.0) -> jax.Array:
    """`G_t = R_{t+1} + gamma_{t+1} G_{t+1}`, in one backward scan.

    Args:
        rewards: R_1 ... R_T, float [t, ...].
        discounts: gamma, one number or one per reward [t, ...], 0 where an episode ends.
        last: G_T, the value after the last reward, [...].

    Returns:
        G_0 ... G_{T-1}, [t, ...].

    Reference: Sutton and Barto 2018, equation 3.9.
    """
    discounts = jnp.broadcast_to(jnp.asarray(discounts, rewards.dtype), rewards.shape)

    def body(after: jax.Array, now: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward, discount = now
        value = reward + discount * after
        return value, value

    last = jnp.broadcast_to(jnp.asarray(last, rewards.dtype), rewards.shape[1:])
    return jax.lax.scan(body, last, (rewards, discounts), reverse=True)[1]


def q_learning_errors(
    q_tm1: jax.Array, a_tm1: jax.Array, r_t: jax.Array, discount_t: jax.Array, q_t: jax.Array, chooser: jax.Array
) -> jax.Array:
    """`r_t + gamma_t q_t[argmax chooser] - q_tm1[a_tm1]`; no gradient goes through the target.

    Args:
        q_tm1: values before the action, [b, m].
        a_tm1: actions, int [b].
        r_t: rewards, [b].
        discount_t: gamma, 0 after a terminal state, [b].
        q_t: values after the action, of the target network, [b, m].
        chooser: values that choose the next action, [b, m]: `q_t` for Q-learning, those of the trained network for
            double Q-learning.

    Returns:
        float [b].

    Reference: Watkins and Dayan 1992, equation 1; van Hasselt et al. 2016, equation 4 (double Q-learning).
    """
    best = jnp.take_along_axis(q_t, jnp.argmax(chooser, 1)[:, None], 1)[:, 0]  # [b]
    target = jax.lax.stop_gradient(r_t + discount_t * best)
    return target - jnp.take_along_axis(q_tm1, a_tm1[:, None], 1)[:, 0]
