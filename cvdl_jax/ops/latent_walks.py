"""Ways through a space of latent vectors, and how much the images change along them."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def lerp(x: jax.Array, y: jax.Array, t: jax.Array | float) -> jax.Array:
    """The straight line, `(1 - t) x + t y`. Between normal vectors of many dimensions it goes where none of them is.

    Args:
        x: [..., d].
        y: [..., d].
        t: in 0..1, of a shape like [..., 1], or one number.
    """
    return (1 - t) * x + t * y


def slerp(x: jax.Array, y: jax.Array, t: jax.Array | float) -> jax.Array:
    """The way along a great circle, `sin((1 - t) w) / sin w x + sin(t w) / sin w y`, w the angle between x and y.

    Where they are nearly parallel it is the straight line; where they point in opposite directions there is no one
    great circle, and the result is not finite.

    Args:
        x: [..., d].
        y: [..., d].
        t: in 0..1, of a shape like [..., 1], or one number.

    Returns:
        [..., d]; of unit length where x and y are.

    Reference: Shoemake 1985, "Animating Rotation with Quaternion Curves"; White 2016, "Sampling Generative Networks",
        section 2.1.
    """
    along = (x * y).sum(-1, keepdims=True)
    cosine = along / (jnp.linalg.norm(x, axis=-1, keepdims=True) * jnp.linalg.norm(y, axis=-1, keepdims=True))
    w = jnp.arccos(jnp.clip(cosine, -1, 1))
    near = cosine > 1 - 1e-6
    sine = jnp.sin(jnp.where(near, 1.0, w))
    return jnp.where(near, lerp(x, y, t), (jnp.sin((1 - t) * w) * x + jnp.sin(t * w) * y) / sine)


def path_length(
    generate: Callable[[jax.Array], jax.Array],
    distance: Callable[[jax.Array, jax.Array], jax.Array],
    x: jax.Array,
    y: jax.Array,
    t: jax.Array,
    epsilon: float = 1e-2,
) -> jax.Array:
    """Perceptual path length of each pair, `d(G(slerp(x, y, t)), G(slerp(x, y, t + epsilon))) / epsilon^2`.

    Args:
        generate: G, latent vectors [b, d] -> images.
        distance: squared distance of images in a space of features, -> [b].
        x: [b, d].
        y: [b, d].
        t: uniform in 0..1, [b].
        epsilon: a small step, that rounding does not drown.

    Returns:
        [b]; their mean is the measure.

    Reference: Karras et al. 2019, "A Style-Based Generator Architecture", equation 2.
    """
    here, there = (generate(slerp(x, y, at[:, None])) for at in (t, t + epsilon))
    return distance(here, there) / epsilon**2
