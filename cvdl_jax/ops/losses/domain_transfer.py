"""Losses of a domain transfer network G = g(f(x)): a game with three classes, constancy, identity, smoothness.

The discriminator tells apart what was made of images of the source (class 0), what was made of images of the target
(class 1), and real images of the target (class 2); the generator wants all that it makes to be taken for class 2.

Reference: Taigman et al. 2017, "Unsupervised Cross-Domain Image Generation", equations 3 to 7.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import NotNegative

OF_SOURCE, OF_TARGET, REAL = range(3)


class Objective(NamedTuple):
    """Weights beside the game, as in the paper for faces; its digits have 15, 15 and 0.

    Attributes:
        constancy: alpha, of `|f(x) - f(G(x))|^2` for images of the source.
        identity: beta, of `|x - G(x)|^2` for images of the target.
        smoothness: gamma, of the total variation of what is made.
    """

    constancy: NotNegative = 100.0
    identity: NotNegative = 1.0
    smoothness: NotNegative = 0.05


def discriminator(of_source: jax.Array, of_target: jax.Array, real: jax.Array) -> jax.Array:
    """`-log D_1(G(x_s)) - log D_2(G(x_t)) - log D_3(x_t)` of each row.

    Args:
        of_source: logits of what was made of the source, float [b, 3].
        of_target: of what was made of the target.
        real: of the target's images.

    Returns:
        [b].
    """
    logits = ((of_source, OF_SOURCE), (of_target, OF_TARGET), (real, REAL))
    return -sum(jax.nn.log_softmax(x)[:, k] for x, k in logits)


def generator(of_source: jax.Array, of_target: jax.Array) -> jax.Array:
    """`-log D_3(G(x_s)) - log D_3(G(x_t))` of each row: [b]. Args: as of `discriminator`."""
    return -sum(jax.nn.log_softmax(x)[:, REAL] for x in (of_source, of_target))


def squared_distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """The mean squared difference of each row: [b, ...] -> [b]."""
    return jnp.square(x - y).mean(tuple(range(1, x.ndim)))


def total_variation(images: jax.Array, power: float = 1.0) -> jax.Array:
    """`mean ((z_i,j+1 - z_ij)^2 + (z_i+1,j - z_ij)^2)^(power / 2)` over pixels with both neighbours, and channels.

    Args:
        images: z, float [b, h, w, c].
        power: B in the paper, 1.

    Returns:
        [b].
    """
    here = images[:, :-1, :-1]
    squares = jnp.square(images[:, :-1, 1:] - here) + jnp.square(images[:, 1:, :-1] - here)
    flat = squares == 0  # where the root has no derivative
    return jnp.where(flat, 0, jnp.where(flat, 1, squares) ** (power / 2)).mean((1, 2, 3))
