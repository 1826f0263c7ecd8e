"""Progressive growing: which resolutions of a network are in use, and how a new one fades in.

Resolutions are numbered 0, 1 ... from the coarsest, each of twice the sides. A level is a number that grows with
training: l = k, resolution k alone; between k and k + 1, resolution k + 1 fades in with `alpha = l - k`.

    image(l) = alpha new + (1 - alpha) up(old)        features(l) = alpha down(block(new)) + (1 - alpha) old

Every resolution is computed in every step, and those that are not in use count with weight 0, so that one compiled step
serves all phases. (A branch for each phase would compute less, but XLA's convolutions are 40 times slower inside a
branch on a CPU.)
"""

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.value_checks import between


def level_at(step: jax.Array, stable: int, fade: int, resolutions: int) -> jax.Array:
    """The level at a step: `stable` steps at each resolution, `fade` steps between two, then the finest for ever.

    Args:
        step: int [], completed steps.
        stable: steps at each resolution, at least 1.
        fade: steps in which the next one fades in; 0 for at once.
        resolutions: how many there are.

    Returns:
        float32 [], in 0 ... resolutions - 1.

    Raises:
        ValueError: for numbers below these.

    Reference: Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation",
        section 2.
    """
    for name, value, least in (("stable", stable, 1), ("fade", fade, 0), ("resolutions", resolutions, 1)):
        between(name, value, least, float("inf"))
    period, step = stable + fade, jnp.asarray(step)
    alpha = (step % period - stable + 1) / max(fade, 1)  # 0 while stable; 1 / fade in the first step of a fade
    return jnp.minimum(step // period + jnp.clip(alpha, 0, 1), resolutions - 1).astype(jnp.float32)


def image_weights(level: jax.Array, resolutions: int) -> jax.Array:
    """The weight of each resolution's image, `max(0, 1 - |l - k|)`: alpha, 1 - alpha, and 0.

    Args:
        level: float [].
        resolutions: how many there are.

    Returns:
        float [resolutions], which sum to 1.
    """
    return jnp.maximum(0, 1 - jnp.abs(level - jnp.arange(resolutions)))


def fade(alpha: jax.Array, new: jax.Array, old: jax.Array) -> jax.Array:
    """`alpha new + (1 - alpha) old`.

    Args:
        alpha: float [], in 0..1.
        new: float [...], of what fades in.
        old: array like new.

    Reference: Karras et al. 2018, figure 2.
    """
    return alpha.astype(new.dtype) * new + (1 - alpha).astype(new.dtype) * old


def doubled(x: jax.Array) -> jax.Array:
    """Each pixel four times: [b, h, w, c] -> [b, 2h, 2w, c]."""
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def halved(x: jax.Array) -> jax.Array:
    """The mean of every four pixels: [b, 2h, 2w, c] -> [b, h, w, c]."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4))


def seen_at(image: jax.Array, level: jax.Array, resolutions: int) -> jax.Array:
    """Images with the detail of a level, at their full size: those of two resolutions mixed as a generator mixes them.

    Args:
        image: float [b, h, w, c]; 2^(resolutions - 1) divides h and w.
        level: float [].
        resolutions: how many there are.

    Returns:
        Array like image.
    """
    weights = image_weights(level, resolutions).astype(image.dtype)
    sizes = [image]
    for _ in range(resolutions - 1):
        sizes.append(halved(sizes[-1]))
    mixed = weights[0] * sizes[-1]
    for k, x in enumerate(reversed(sizes[:-1]), 1):
        mixed = doubled(mixed) + weights[k] * x
    return mixed


def pixel_size(level: jax.Array, resolutions: int) -> jax.Array:
    """How many pixels of the full size are one side of a pixel of the level's finer resolution: float32 []."""
    return 2 ** (resolutions - 1 - lax.ceil(jnp.asarray(level, jnp.float32)))
