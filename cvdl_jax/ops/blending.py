"""Blending one image into another without a seam: the gradients of the one, the border of the other."""

import jax
import jax.numpy as jnp
from jax import lax


def neighbours(x: jax.Array) -> jax.Array:
    """The sum of the four neighbours of each pixel that are in the image; x [b, h, w, c]."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return x[:, :-2, 1:-1] + x[:, 2:, 1:-1] + x[:, 1:-1, :-2] + x[:, 1:-1, 2:]


def poisson(
    source: jax.Array, target: jax.Array, mask: jax.Array, steps: int = 200, tolerance: float = 1e-6
) -> jax.Array:
    """The image whose Laplacian is the source's inside the mask, and which is the target outside.

    At each pixel p of the mask, with neighbours q in the image: `sum_q (f_p - f_q) = sum_q (g_p - g_q)`, f the target's
    where q is outside. The matrix is symmetric and positive definite wherever the mask does not cover the image, and
    the system is solved by conjugate gradients. So a face that is put into an image takes over its skin and its light.

    Args:
        source: g float [b, h, w, c].
        target: float [b, h, w, c].
        mask: [b, h, w, 1], 1 or True inside; one that covers all has no border, and leaves the source.
        steps: of conjugate gradients, at most.
        tolerance: of the residual's norm, over that of the right-hand side.

    Returns:
        f [b, h, w, c]; not clipped to the range of pixels.

    Reference: Perez et al. 2003, "Poisson Image Editing", equations 7 and 11; Hestenes and Stiefel 1952.
    """
    m = mask.astype(target.dtype)
    counts = neighbours(jnp.ones_like(target[..., :1]))  # 4, fewer at the edge of the image
    known = (1 - m) * target
    right = m * (counts * source - neighbours(source) + neighbours(known))

    def apply(f: jax.Array) -> jax.Array:
        return m * (counts * f - neighbours(m * f))

    def total(x: jax.Array) -> jax.Array:
        return x.sum((1, 2), keepdims=True)  # every image and channel is a system of its own

    limit = tolerance**2 * total(right * right)

    def step(carry: tuple, _: None) -> tuple:
        f, residual, along, square = carry
        going = (square > limit) & (square > 0)
        image = apply(along)
        length = jnp.where(going, square / jnp.where(going, total(along * image), 1), 0)
        f, residual = f + length * along, residual - length * image
        new = total(residual * residual)
        along = jnp.where(going, residual + new / jnp.where(square > 0, square, 1) * along, along)
        return (f, residual, along, jnp.where(going, new, square)), None

    start = m * source
    bordered = total(m) < m.shape[1] * m.shape[2]
    residual = jnp.where(bordered, right - apply(start), 0)
    (f, *_), _ = lax.scan(step, (start, residual, residual, total(residual * residual)), None, steps)
    return f + known
