"""Projected gradient descent on the input: pure functions over any per-example loss of x."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Layers, UpToOne
from cvdl_jax.core.parallel import backend, row_random
from cvdl_jax.errors import ConfigError


def pgd(
    loss: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    key: jax.Array,
    epsilon: UpToOne = 8 / 255,
    step_size: UpToOne = 2 / 255,
    steps: Layers = 7,
    random_start: bool = True,
) -> jax.Array:
    """Raises the loss inside the maximum-norm ball around x: `x <- clip(x + a sign(grad L(x)))`, pixels kept in 0..1.

    Args:
        loss: float [b, h, w, c] -> [b]; each example's loss depends on its own row.
        x: float [b, h, w, c] in 0..1.
        key: for the random start; each row draws from its own index.
        epsilon: radius of the ball, in pixels of 0..1.
        step_size: a, likewise.
        steps: number of gradient steps; one with step_size = epsilon and no random start is the fast gradient sign
            method.
        random_start: begin at a uniform point of the ball.

    Returns:
        Adversarial examples [b, h, w, c], at most epsilon away from x in every pixel.

    Raises:
        ConfigError: for a radius, step or number of steps that is not positive.

    Reference: Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial Attacks", section 2.1.
    """
    for name, value in (("epsilon", epsilon), ("step_size", step_size), ("steps", steps)):
        if value <= 0:
            raise ConfigError(f"config.adversary.{name}={value} must be above 0; leave config.adversary empty for none")
    low, high = jnp.clip(x - epsilon, 0, 1), jnp.clip(x + epsilon, 0, 1)
    gradient = jax.grad(lambda x: loss(x).sum())
    start = x
    if random_start:
        start = jnp.clip(x + epsilon * row_random(_signed, key, x.shape).astype(x.dtype), low, high)

    def step(x: jax.Array, _: None) -> tuple[jax.Array, None]:
        return jnp.clip(x + step_size * jnp.sign(gradient(x)), low, high), None

    unroll = steps if backend() == "cpu" else 1  # XLA's CPU convolutions are slow inside a loop
    return lax.stop_gradient(lax.scan(step, start, None, length=steps, unroll=unroll)[0])


def _signed(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    return jax.random.uniform(key, shape, minval=-1.0, maxval=1.0)
