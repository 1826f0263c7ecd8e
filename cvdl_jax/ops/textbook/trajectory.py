"""The path of an optimizer on a function, with a stopping rule."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax


class Trajectory(NamedTuple):
    """The path of an optimizer.

    Attributes:
        points: [n + 1, ...], `w_0 .. w_n`; after the last step the last point is repeated.
        values: [n + 1], the function there.
        steps: int32 [], the number of steps; n if it did not stop before.
        stopped: bool [], whether the last change of the function was below `stop`.
    """

    points: Any
    values: jax.Array
    steps: jax.Array
    stopped: jax.Array


def trajectory(
    f: Callable[[Any], jax.Array],
    w0: Any,
    optimizer: optax.GradientTransformation,
    n: int,
    stop: float = 0.0,
) -> Trajectory:
    """Steps on the gradient of f while `|f(w_{t+1}) - f(w_t)| >= stop`, at most n; one compiled loop.

    A step after which f is not finite is the last one, and is part of the path.

    Args:
        f: a function of w.
        w0: an array [d], or a tree of arrays.
        optimizer: its updates are added to w; `optax.sgd(0.1)`, or one made by `optim/optimizer.py`.
        n: largest number of steps.
        stop: smallest change of f after which it continues; 0 for n steps.

    Returns:
        A Trajectory.

    Raises:
        ValueError: for a negative n or stop.
    """
    if n < 0 or not stop >= 0:
        raise ValueError(f"n={n} and stop={stop} must be 0 or more")

    def step(carry: tuple, _: None):
        w, value, state, steps, going = carry
        updates, new_state = optimizer.update(jax.grad(f)(w), state, w)
        new = optax.apply_updates(w, updates)
        new_value = f(new)
        go_on = going & jnp.isfinite(new_value) & (jnp.abs(new_value - value) >= stop)

        def keep(after: Any, before: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(going, a, b), after, before)

        carry = (*keep((new, new_value, new_state), (w, value, state)), steps + going.astype(jnp.int32), go_on)
        return carry, carry[:2]

    w0 = jax.tree.map(jnp.asarray, w0)
    first = (w0, f(w0))
    start = (*first, optimizer.init(w0), jnp.zeros((), jnp.int32), jnp.ones((), bool))
    last, path = lax.scan(step, start, None, length=n)
    points, values = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, path)
    return Trajectory(points, values, last[3], ~last[4] & jnp.isfinite(last[1]))
