"""Prototypical networks: a class is the mean of its few examples, and a query is of the class whose mean is nearest."""

import jax
import jax.numpy as jnp

from cvdl_jax.ops import distances


def of_support(embeddings: jax.Array) -> jax.Array:
    """The prototypes `c_k = 1 / K sum_i f(x_i)` of each class's K examples: float [classes, K, e] -> [classes, e].

    Reference: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning", equation 1.
    """
    return embeddings.mean(1)


def scores(queries: jax.Array, prototypes: jax.Array) -> jax.Array:
    """Logits of each class, whose softmax is the probability: minus the squared Euclidean distance to its prototype.

    Args:
        queries: float [q, e].
        prototypes: float [classes, e].

    Returns:
        float [q, classes].

    Reference: Snell, Swersky and Zemel 2017, equation 2; section 2.4 says why the distance is squared.
    """
    return -distances.squared(queries, prototypes)


def episode(places: jax.Array, images: int, shots: int) -> tuple[jax.Array, jax.Array]:
    """What the rows of an episode are, of `images` rows of each class, one class after the other.

    Args:
        places: of the rows in the episode, int [b].
        images: rows of a class.
        shots: of these, the first ones are its support, the others its queries.

    Returns:
        (number of the class in the episode, int [b]; whether the row is a query, bool [b]).
    """
    return places // images, places % images >= shots


def support(everyone: jax.Array, images: int, shots: int) -> jax.Array:
    """The support of each class of an episode: float [classes images, ...] -> [classes, shots, ...]."""
    return jnp.reshape(everyone, (-1, images, *everyone.shape[1:]))[:, :shots]
