"""Whole episodes of a policy, many in parallel, inside a compiled function."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.rl.environment import Environment

Policy = Callable[[jax.Array, jax.Array], jax.Array]  # (observations [n, d], key) -> actions int [n]


def play(environment: Environment, policy: Policy, key: jax.Array, episodes: int) -> dict[str, jax.Array]:
    """Plays episodes to their ends.

    Args:
        environment: to play in.
        policy: `(observations [n, d], key) -> actions int [n]`.
        key: a typed key, split into one for each episode.
        episodes: their number n.

    Returns:
        {"return": float [n], sums of rewards, "length": int32 [n], steps}.
    """
    first, rest = jax.random.split(key)
    state = jax.vmap(environment.reset)(jax.random.split(first, episodes))

    def body(carry: tuple) -> tuple:
        state, total, length, alive, time = carry
        act, move = jax.random.split(jax.random.fold_in(rest, time))
        actions = policy(jax.vmap(environment.observe)(state), act)
        after = jax.vmap(environment.step)(state, actions, jax.random.split(move, episodes))
        total = total + jnp.where(alive, after.reward, 0)
        ended = after.terminated | after.truncated  # steps after the end are computed, but not counted
        return after.state, total, length + alive, alive & ~ended, time + 1

    start = (state, jnp.zeros(episodes), jnp.zeros(episodes, jnp.int32), jnp.ones(episodes, bool), jnp.int32(0))
    _, total, length, *_ = jax.lax.while_loop(lambda carry: carry[3].any(), body, start)
    return {"return": total, "length": length}


def history(environment: Environment, policy: Policy, key: jax.Array) -> dict[str, Any]:
    """One episode step by step.

    Args:
        environment: to play in.
        policy: as for `play`, with n = 1.
        key: a typed key.

    Returns:
        {"observation": [t, d], "action": int32 [t], "reward": [t], "alive": bool [t]} for t = max_steps;
        "alive" is False after the end.
    """
    first, rest = jax.random.split(key)

    def body(carry: tuple, key: jax.Array) -> tuple[tuple, dict]:
        state, alive = carry
        act, move = jax.random.split(key)
        observation = environment.observe(state)
        action = policy(observation[None], act)[0].astype(jnp.int32)
        after = environment.step(state, action, move)
        row = {"observation": observation, "action": action, "reward": after.reward, "alive": alive}
        return (after.state, alive & ~(after.terminated | after.truncated)), row

    start = (environment.reset(first), jnp.bool_(True))
    return jax.lax.scan(body, start, jax.random.split(rest, environment.max_steps))[1]
