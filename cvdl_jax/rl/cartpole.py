"""CartPole: a pole on a cart that is pushed left or right, with the physics of Gymnasium's CartPole-v1.

Reference: Barto, Sutton and Anderson 1983, "Neuronlike Adaptive Elements That Can Solve Difficult Learning Control
Problems", appendix.
"""

import math

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Size
from cvdl_jax.rl.environment import Environment, EnvironmentState, Transition

GRAVITY, CART_MASS, POLE_MASS = 9.8, 1.0, 0.1  # m / s^2, kg, kg
HALF_LENGTH = 0.5  # of the pole, m
FORCE = 10.0  # of a push, N
SECONDS = 0.02  # between two actions
MOST_X, MOST_ANGLE = 2.4, 12 * 2 * math.pi / 360  # m, rad; beyond them an episode terminates
TOTAL_MASS, POLE_MOMENT = CART_MASS + POLE_MASS, POLE_MASS * HALF_LENGTH


def reset(key: jax.Array) -> EnvironmentState:
    """All four quantities uniform in +-0.05. Returns: {"body": float [4], "time": int32 []}."""
    return {"body": jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05), "time": jnp.zeros((), jnp.int32)}


def move(body: jax.Array, action: jax.Array) -> jax.Array:
    """The body 0.02 s later, by Euler's method.

    Args:
        body: float [4]: position x (m), velocity (m / s), angle (rad), angular velocity (rad / s).
        action: int [], 0 pushes left, 1 right.

    Returns:
        float [4].

    Reference: Florian 2007, "Correct equations for the dynamics of the cart-pole system", equations 23 and 24 without
        friction.
    """
    _, velocity, angle, spin = body
    force = jnp.where(action == 1, FORCE, -FORCE).astype(body.dtype)
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    push = (force + POLE_MOMENT * spin**2 * sin) / TOTAL_MASS
    turn = (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - POLE_MASS * cos**2 / TOTAL_MASS))
    acceleration = push - POLE_MOMENT * turn * cos / TOTAL_MASS
    rates = jnp.stack([velocity, acceleration, spin, turn])  # [4]
    return body + SECONDS * rates


def make(max_steps: Size = 500) -> Environment:
    """The environment. Every step has the reward 1; an episode ends when the cart or the pole leaves its range.

    Args:
        max_steps: of an episode; 500 in version 1, 200 in version 0.
    """

    def step(state: EnvironmentState, action: jax.Array, key: jax.Array) -> Transition:
        del key  # nothing is random
        body, time = move(state["body"], action), state["time"] + 1
        terminated = (jnp.abs(body[0]) > MOST_X) | (jnp.abs(body[2]) > MOST_ANGLE)
        return Transition({"body": body, "time": time}, jnp.ones((), body.dtype), terminated, time >= max_steps)

    return Environment(reset, step, lambda state: state["body"], 2, max_steps)
