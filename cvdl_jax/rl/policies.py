"""Exploration: from action values to an action, with one key per environment. `config.exploration.name` names one.

Each function anneals one number linearly from `start` to `end` over the first `steps` training steps.
"""

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Positive, Probability


def _anneal(step: jax.Array, start: float, end: float, steps: int) -> jax.Array:
    """`start` at step 0, `end` from step `steps` on, linear in between."""
    part = jnp.clip(step / max(steps, 1), 0, 1) if steps else jnp.ones(())
    return start + (end - start) * part


def epsilon_greedy(
    keys: jax.Array,
    values: jax.Array,
    step: jax.Array,
    start: Probability = 1.0,
    end: Probability = 0.05,
    steps: Counted = 1000,
) -> tuple[jax.Array, jax.Array]:
    """With probability epsilon a random action, else the best one.

    Args:
        keys: typed [b].
        values: action values [b, m].
        step: int32 [].
        start: epsilon at step 0, in 0..1.
        end: epsilon from step `steps` on.
        steps: length of the annealing.

    Returns:
        (actions int32 [b], epsilon float []).
    """
    epsilon = _anneal(step, start, end, steps)

    def one(key: jax.Array, q: jax.Array) -> jax.Array:
        explore, action = jax.random.split(key)
        random = jax.random.randint(action, (), 0, q.shape[0])
        return jnp.where(jax.random.uniform(explore) < epsilon, random, jnp.argmax(q))

    return jax.vmap(one)(keys, values).astype(jnp.int32), epsilon


def softmax(
    keys: jax.Array,
    values: jax.Array,
    step: jax.Array,
    start: Positive = 1.0,
    end: Positive = 0.1,
    steps: Counted = 1000,
) -> tuple[jax.Array, jax.Array]:
    """Boltzmann exploration: an action with probability softmax(q / temperature).

    Args:
        keys: typed [b].
        values: action values [b, m].
        step: int32 [].
        start: temperature at step 0, above 0.
        end: temperature from step `steps` on, above 0.
        steps: length of the annealing.

    Returns:
        (actions int32 [b], temperature float []).
    """
    temperature = _anneal(step, start, end, steps)
    return jax.vmap(jax.random.categorical)(keys, values / temperature).astype(jnp.int32), temperature
