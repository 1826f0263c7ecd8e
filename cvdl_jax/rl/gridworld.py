"""A grid world: every step costs 1 until one of two opposite corners is reached.

With 4 x 4 fields this is example 4.1 of Sutton and Barto 2018, "Reinforcement Learning". A move against the border
does not change the state. The sum in the Bellman update is over actions first: with the random policy
`v(s) = 0.25 sum_a (-1 + v(s_a))`, so the field (1, 1) has the values -1 and -2 after one and two sweeps.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.rl.environment import Environment, EnvironmentState, Transition
from cvdl_jax.rl.mdp import Mdp

ACTIONS = ("up", "right", "down", "left")
MOVES = np.array([(-1, 0), (0, 1), (1, 0), (0, -1)])  # rows, columns


def _next_fields(size: int) -> np.ndarray:
    """The field after each action, int32 [size^2, 4]; field r * size + c is row r, column c."""
    fields = np.stack(np.divmod(np.arange(size**2), size), 1)  # [n, 2]
    moved = np.clip(fields[:, None] + MOVES, 0, size - 1)  # [n, 4, 2]
    return (moved[..., 0] * size + moved[..., 1]).astype(np.int32)


def _terminal(size: int) -> np.ndarray:
    if size < 2:
        raise ConfigError(f"config.environment.size={size} must be at least 2, so that not every field is a corner")
    return np.isin(np.arange(size**2), (0, size**2 - 1))


def process(size: int = 4, discount: float = 1.0) -> Mdp:
    """The grid world as the arrays of a Markov decision process.

    Args:
        size: fields on a side.
        discount: gamma.
    """
    terminal = _terminal(size)
    transition = jax.nn.one_hot(_next_fields(size), size**2)  # [n, 4, n]
    here = jnp.eye(size**2)[:, None]  # a terminal state is never left
    transition = jnp.where(terminal[:, None, None], here, transition)
    reward = jnp.where(terminal[:, None], 0.0, -jnp.ones((size**2, len(ACTIONS))))
    return Mdp(transition, reward, jnp.asarray(terminal), discount)


def make(size: Size = 4, max_steps: Size = 100) -> Environment:
    """The grid world as an environment. Episodes begin on a random field; the observation is the field, one-hot.

    Args:
        size: fields on a side.
        max_steps: of an episode.
    """
    terminal, fields = jnp.asarray(_terminal(size)), jnp.asarray(_next_fields(size))

    def reset(key: jax.Array) -> EnvironmentState:
        field = jax.random.randint(key, (), 1, size**2 - 1)
        return {"field": field, "time": jnp.zeros((), jnp.int32)}

    def step(state: EnvironmentState, action: jax.Array, key: jax.Array) -> Transition:
        del key  # nothing is random
        field, time = fields[state["field"], action], state["time"] + 1
        reward = -jnp.ones((), jnp.result_type(float))
        return Transition({"field": field, "time": time}, reward, terminal[field], time >= max_steps)

    def observe(state: EnvironmentState) -> jax.Array:
        return jax.nn.one_hot(state["field"], size**2)

    return Environment(reset, step, observe, len(ACTIONS), max_steps)
