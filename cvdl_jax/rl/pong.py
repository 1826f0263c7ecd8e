"""Pong: two paddles and a ball in the unit square; the right paddle is the agent's, the left one follows the ball.

The ball crosses the field in 25 steps and leaves a paddle at an angle that grows with how far from its middle it was
hit, so that a good player can return it faster than the opponent, whose speed is bounded, can follow. A point is the
reward 1 or -1; an episode ends when one side has `points` of them.

Reference: Karpathy 2016, "Deep Reinforcement Learning: Pong from Pixels", for the task; the field is our own.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.rl.environment import Environment, EnvironmentState, Transition

SPEED = 0.04  # of the ball along x, a step
SPIN = 0.05  # of the ball along y, a step, after a hit with the edge of a paddle
SERVE = 0.02  # the largest along y of a ball that is served
HALF = 0.1  # of a paddle's height
MOVE = 0.05  # of the agent's paddle, a step
ROWS, COLUMNS = 16, 20  # of the picture


def serve(key: jax.Array) -> dict[str, jax.Array]:
    """A ball in the middle that flies to either side. Returns: {"place": [2], "velocity": [2]}, x before y."""
    side, angle = jax.random.split(key)
    x = jnp.where(jax.random.bernoulli(side), SPEED, -SPEED)
    y = jax.random.uniform(angle, minval=-SERVE, maxval=SERVE)
    return {"place": jnp.full(2, 0.5), "velocity": jnp.stack([x, y])}


def fly(place: jax.Array, velocity: jax.Array, paddles: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The ball one step later.

    Args:
        place: float [2], x and y in 0..1.
        velocity: float [2], a step.
        paddles: float [2], heights of the middles of the left and the right one.

    Returns:
        (place [2], velocity [2], missed int [], -1 if the ball has passed the left paddle, 1 the right one, else 0).
    """
    x, y = place + velocity
    across, along = velocity
    below, above = y < 0, y > 1
    y = jnp.where(below, -y, jnp.where(above, 2 - y, y))
    along = jnp.where(below | above, -along, along)
    side = jnp.where(x < 0, -1, jnp.where(x > 1, 1, 0))
    off = (y - jnp.where(side < 0, paddles[0], paddles[1])) / HALF  # -1 to 1 on the paddle
    hit = (side != 0) & (jnp.abs(off) <= 1)
    x = jnp.where(hit, jnp.where(side < 0, -x, 2 - x), x)
    velocity = jnp.where(hit, jnp.stack([-across, SPIN * off]), jnp.stack([across, along]))
    return jnp.stack([x, y]), velocity, jnp.where(hit, 0, side)


def picture(place: jax.Array, paddles: jax.Array) -> jax.Array:
    """The field as pixels, 1 on the ball and the paddles: float [ROWS, COLUMNS]."""
    rows = (jnp.arange(ROWS) + 0.5) / ROWS
    bars = [jnp.abs(rows - paddle) <= HALF for paddle in paddles]  # of bool [ROWS]
    edges = jnp.arange(COLUMNS)[None]
    image = (bars[0][:, None] & (edges == 0)) | (bars[1][:, None] & (edges == COLUMNS - 1))
    row, column = jnp.clip(place[1] * ROWS, 0, ROWS - 1), jnp.clip(place[0] * (COLUMNS - 2), 0, COLUMNS - 3) + 1
    ball = (jnp.arange(ROWS)[:, None] == row.astype(int)) & (edges == column.astype(int))
    return (image | ball).astype(place.dtype)


def make(
    points: Size = 5,
    opponent: Positive = 0.02,
    max_steps: Size = 1000,
    observation: Literal["state", "pixels"] = "state",
) -> Environment:
    """The environment. Actions: 0 stays, 1 moves up (to smaller y), 2 moves down.

    Args:
        points: that end an episode.
        opponent: the most that the other paddle moves in a step; 0.05 follows every ball.
        max_steps: of an episode.
        observation: "state" is the ball's place and velocity and both paddles, [6], each about -1 to 1; "pixels" are
            two pictures, now and the difference to the step before, [2 ROWS COLUMNS].
    """

    def reset(key: jax.Array) -> EnvironmentState:
        ball = serve(key)
        paddles, count = jnp.full(2, 0.5), jnp.zeros(2, jnp.int32)
        return {**ball, "paddles": paddles, "before": ball["place"], "paddles_before": paddles, "points": count,
                "time": jnp.zeros((), jnp.int32)}  # fmt: skip

    def step(state: EnvironmentState, action: jax.Array, key: jax.Array) -> Transition:
        left, right = state["paddles"]
        left = left + jnp.clip(state["place"][1] - left, -opponent, opponent)
        right = right + jnp.where(action == 1, -MOVE, jnp.where(action == 2, MOVE, 0.0))
        paddles = jnp.clip(jnp.stack([left, right]), HALF, 1 - HALF)
        place, velocity, missed = fly(state["place"], state["velocity"], paddles)
        new = serve(key)
        over, time = missed != 0, state["time"] + 1
        reward = -missed.astype(place.dtype)
        count = state["points"] + jnp.stack([missed == 1, missed == -1])  # of the left and the right side
        after = {
            "place": jnp.where(over, new["place"], place), "velocity": jnp.where(over, new["velocity"], velocity),
            "paddles": paddles, "before": state["place"], "paddles_before": state["paddles"], "points": count,
            "time": time,
        }  # fmt: skip
        return Transition(after, reward, count.max() >= points, time >= max_steps)

    def observe(state: EnvironmentState) -> jax.Array:
        if observation == "state":
            rates = state["velocity"] / jnp.asarray([SPEED, SPIN])
            return jnp.concatenate([2 * state["place"] - 1, rates, 2 * state["paddles"] - 1])
        now, before = (picture(state[p], state[q]) for p, q in (("place", "paddles"), ("before", "paddles_before")))
        return jnp.concatenate([now.ravel(), (now - before).ravel()])

    return Environment(reset, step, observe, 3, max_steps)
