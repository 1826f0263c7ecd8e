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


def episode_weights(rewards: jax.Array, discount: float, to_go: bool) -> jax.Array:
    """`w_t`: `sum_k gamma^k r_k` over all k of the episode, or over k >= t alone, which came after the decision.

    Args:
        rewards: [b, t], 0 after the end of an episode.
        discount: gamma.
        to_go: leave out what a decision cannot have changed.

    Returns:
        float [b, t].
    """
    discounted = rewards * jnp.asarray(discount, rewards.dtype) ** jnp.arange(rewards.shape[1])[None]
    sums = discounted_returns(discounted.T, 1.0).T  # of k >= t
    return sums if to_go else jnp.broadcast_to(sums[:, :1], sums.shape)


def others_mean(weights: jax.Array, total: jax.Array, rows: jax.Array | float) -> jax.Array:
    """The mean weight of all other episodes at the same time, a baseline without bias.

    Args:
        weights: [b, t].
        total: [t], their sum over all rows of the batch.
        rows: of the batch, two or more.

    Returns:
        float [b, t].
    """
    return (total[None] - weights) / (rows - 1)


def generalised_advantages(
    rewards: jax.Array,
    values: jax.Array,
    after: jax.Array,
    terminated: jax.Array,
    ended: jax.Array,
    discount: float,
    trace: float,
) -> jax.Array:
    """`A_t = sum_k (gamma lambda)^k d_{t+k}`, `d_t = r_t + gamma v(s_{t+1}) - v(s_t)`, up to the end of the episode.

    Args:
        rewards: [t, ...], of the decisions.
        values: v(s_t), [t, ...].
        after: v(s_{t+1}) of the state that followed, before a new episode begins, [t, ...].
        terminated: bool [t, ...], the state that followed has no value.
        ended: bool [t, ...], a new episode began: what comes later belongs to it.
        discount: gamma.
        trace: lambda; 0 is the temporal-difference error alone, 1 the return less the value.

    Returns:
        float [t, ...].

    Reference: Schulman et al. 2016, "High-Dimensional Continuous Control Using Generalized Advantage Estimation",
        equation 16.
    """
    errors = rewards + discount * jnp.where(terminated, 0, after) - values
    return discounted_returns(errors, discount * trace * (1 - ended.astype(errors.dtype)))


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
