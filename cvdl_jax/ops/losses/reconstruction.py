"""What it costs that a decoder says other images than the true ones. `config.loss.name` is the name of one of them.

A decoder says a logit for every pixel, whose sigmoid is the pixel in 0..1.
"""

import math

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import Positive


def bernoulli(logits: jax.Array, images: jax.Array) -> jax.Array:
    """`- sum x log p + (1 - x) log(1 - p)` over pixels: minus the log likelihood of black and white ones.

    For pixels in between it is no likelihood, and its least value is not 0 but their entropy.

    Args:
        logits: [b, h, w, c].
        images: in 0..1, [b, h, w, c].

    Returns:
        [b], in nats.

    Reference: Kingma and Welling 2014, appendix C.1.
    """
    return optax.sigmoid_binary_cross_entropy(logits, images).sum((1, 2, 3))


def gaussian(logits: jax.Array, images: jax.Array, deviation: Positive = 0.1) -> jax.Array:
    """`sum (x - m)^2 / (2 s^2) + log s + log(2 pi) / 2`: minus the log density of pixels around m, the sigmoid.

    Args:
        logits: [b, h, w, c].
        images: in 0..1, [b, h, w, c].
        deviation: s, the same for all pixels.

    Returns:
        [b], in nats; of a density, so that it may be negative.

    Reference: Kingma and Welling 2014, appendix C.2. Errata of the course: ER87.
    """
    pixels = math.prod(images.shape[1:])
    far = jnp.square(jax.nn.sigmoid(logits) - images).sum((1, 2, 3))
    return far / (2 * deviation**2) + pixels * (math.log(deviation) + 0.5 * math.log(2 * math.pi))


def squared(logits: jax.Array, images: jax.Array) -> jax.Array:
    """`sum (x - m)^2` over pixels.

    Args:
        logits: [b, h, w, c].
        images: in 0..1, [b, h, w, c].

    Returns:
        [b].
    """
    return jnp.square(jax.nn.sigmoid(logits) - images).sum((1, 2, 3))
