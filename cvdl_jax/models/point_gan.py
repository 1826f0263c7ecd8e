"""A small GAN on points of the plane, trained in one compiled scan: what studies of adversarial training share."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from cvdl_jax.ops.losses.adversarial import AdversarialLoss
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate, real_gradient_penalty

LATENT = 8  # numbers of z
Params = list[tuple[jax.Array, jax.Array]]


class Pair(NamedTuple):
    """The parameters of both players, or something of the same form."""

    generator: Any
    discriminator: Any


def perceptron(key: jax.Array, sizes: tuple[int, ...]) -> Params:
    """Weights [n_in, n_out] of N(0, 2 / n_in) and biases 0 of a perceptron."""
    keys = jax.random.split(key, len(sizes) - 1)
    shapes = zip(keys, sizes[:-1], sizes[1:], strict=True)
    return [((2 / a) ** 0.5 * jax.random.normal(k, (a, b)), jnp.zeros(b)) for k, a, b in shapes]


def forward(params: Params, x: jax.Array) -> jax.Array:
    """Its outputs [b, n_out] of x [b, n_in], with ReLU between its layers."""
    for i, (w, b) in enumerate(params):
        x = (jax.nn.relu(x) if i else x) @ w + b[None]
    return x


def create(key: jax.Array, width: int) -> Pair:
    """Two perceptrons of two hidden layers: z -> a point, a point -> a score."""
    keys = jax.random.split(key)
    return Pair(perceptron(keys[0], (LATENT, width, width, 2)), perceptron(keys[1], (2, width, width, 1)))


def points(generator: Params, key: jax.Array, n: int) -> jax.Array:
    """Samples [n, 2]."""
    return forward(generator, jax.random.normal(key, (n, LATENT)))


def score(discriminator: Params, x: jax.Array) -> jax.Array:
    """Scores [b]."""
    return forward(discriminator, x)[:, 0]


def discriminator_loss(
    loss: AdversarialLoss, discriminator: Params, real: jax.Array, fake: jax.Array, key: jax.Array
) -> jax.Array:
    """The mean loss, penalty included, of real and generated points [b, 2]."""
    value = loss.discriminator(score(discriminator, real), score(discriminator, fake))
    if loss.penalty:
        between = interpolate(real, fake, jax.random.uniform(key, (len(real),)))
        penalise, x = (real_gradient_penalty, real) if loss.at_real else (gradient_penalty, between)
        value += loss.penalty * penalise(partial(score, discriminator), x)
    return value.mean()


def generator_loss(
    loss: AdversarialLoss, generator: Params, discriminator: Params, key: jax.Array, n: int
) -> jax.Array:
    """The mean loss of n samples."""
    return loss.generator(score(discriminator, points(generator, key, n))).mean()


def adam(lr: float) -> optax.GradientTransformation:
    """Adam with 0.5 and 0.9."""
    return optax.adam(lr, b1=0.5, b2=0.9)


def descend(
    rule: optax.GradientTransformation, objective: Callable[[Params], jax.Array], params: Params, opt: Any
) -> tuple[Params, Any]:
    """The parameters and the rule's state after a step down the objective."""
    change, opt = rule.update(jax.grad(objective)(params), opt)
    return optax.apply_updates(params, change), opt


def trained(
    players: Pair,
    loss: AdversarialLoss,
    draw: Callable[[jax.Array, int], jax.Array],
    key: jax.Array,
    steps: int,
    batch: int,
    lr: float,
    updates: tuple[int, int] = (1, 1),
) -> Pair:
    """Both players after so many steps of `adam`.

    Args:
        players: at the start.
        loss: of both.
        draw: `(key, n) -> points [n, 2]` of the data.
        key: of all draws.
        steps: of training.
        batch: real and generated points a step.
        lr: of both.
        updates: of the generator and of the discriminator a step; 0 for one that stays as it is.
    """
    rule, updates = adam(lr), Pair(*updates)

    def step(carry: tuple[Pair, Pair], key: jax.Array) -> tuple[tuple[Pair, Pair], None]:
        (g, d), (opt_g, opt_d) = carry
        keys = jax.random.split(key, updates.discriminator + updates.generator)
        for k in keys[: updates.discriminator]:
            real, fake, between = jax.random.split(k, 3)
            x, y = draw(real, batch), points(g, fake, batch)
            d, opt_d = descend(rule, lambda d, x=x, y=y, k=between: discriminator_loss(loss, d, x, y, k), d, opt_d)
            d = jax.tree.map(lambda p: jnp.clip(p, -loss.clip, loss.clip), d) if loss.clip else d
        for k in keys[updates.discriminator :]:
            g, opt_g = descend(rule, lambda g, d=d, k=k: generator_loss(loss, g, d, k, batch), g, opt_g)
        return (Pair(g, d), Pair(opt_g, opt_d)), None

    states = Pair(rule.init(players.generator), rule.init(players.discriminator))
    (players, _), _ = lax.scan(step, (players, states), jax.random.split(key, steps))
    return players
