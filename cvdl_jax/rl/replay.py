"""Experience replay: every environment has its own ring buffer of transitions, so that no row leaves its device.

Reference: Lin 1992; Mnih et al. 2015, "Human-level control through deep reinforcement learning", algorithm 1.
"""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_keys


def empty(transition: Any, capacity: int) -> Any:
    """Empty ring buffers for transitions like the given ones: leaves [b, ...] become zeros [b, capacity, ...]."""
    return jax.tree.map(lambda x: jnp.zeros((x.shape[0], capacity, *x.shape[1:]), x.dtype), transition)


def record(rings: Any, transition: Any, step: jax.Array) -> Any:
    """Writes one transition per environment over the oldest one.

    Args:
        rings: leaves [b, capacity, ...].
        transition: leaves [b, ...].
        step: int32 [], the number of transitions written before.
    """

    def one(ring: jax.Array, x: jax.Array) -> jax.Array:
        return ring.at[:, step % ring.shape[1]].set(x.astype(ring.dtype))

    return jax.tree.map(one, rings, transition)


def sample(rings: Any, key: jax.Array, count: int, written: jax.Array) -> Any:
    """Draws transitions uniformly, with replacement, `count` from each environment's ring.

    Args:
        rings: leaves [b, capacity, ...].
        key: a typed key.
        count: transitions per environment.
        written: int32 [], the number of transitions written, at least 1.

    Returns:
        Leaves [b * count, ...]; the transitions of one environment are neighbouring rows.
    """
    rows, capacity = jax.tree.leaves(rings)[0].shape[:2]
    filled = jnp.minimum(written, capacity)
    keys = row_keys(key, rows)
    places = jax.vmap(lambda k: jax.random.randint(k, (count,), 0, filled))(keys)  # [b, count]

    def one(ring: jax.Array) -> jax.Array:
        drawn = jax.vmap(lambda r, i: r[i])(ring, places)  # [b, count, ...]
        return drawn.reshape(rows * count, *ring.shape[2:])

    return jax.tree.map(one, rings)
