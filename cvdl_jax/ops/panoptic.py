"""One object or class for every pixel: overlapping instances and a semantic map put together, with static shapes.

Reference: Kirillov et al. 2019, "Panoptic Segmentation", section 6; Kirillov et al. 2019, "Panoptic Feature Pyramid
Networks", section 4.
"""

import jax
import jax.numpy as jnp
from jax import lax


def merge_instances(
    masks: jax.Array, scores: jax.Array, real: jax.Array, least_share: float = 0.5, least_score: float = 0.0
) -> tuple[jax.Array, jax.Array]:
    """Gives every pixel to one of several overlapping instances.

    By falling score (the first of equals), an instance takes the pixels of its mask that are free; it is left out if
    these are a smaller part of the mask than `least_share`, and its pixels stay free.

    Args:
        masks: bool [d, h, w].
        scores: [d].
        real: [d], 0 for padding.
        least_share: in 0..1; an instance without any free pixel is left out in any case.
        least_score: instances with scores below are left out.

    Returns:
        int32 [h, w], k + 1 for the pixels of instance k, 0 for none; bool [d], which instances are kept.
    """
    masks, scores = jnp.asarray(masks), jnp.asarray(scores)
    d, *size = masks.shape
    able = (real > 0) & (scores >= least_score)
    order = jnp.argsort(-jnp.where(able, scores, -jnp.inf), stable=True)

    def place(i: jax.Array, carry: tuple) -> tuple:
        ids, kept = carry
        k = order[i]
        free = masks[k] & (ids == 0)
        left = free.sum()
        is_kept = able[k] & (left > 0) & (left >= least_share * masks[k].sum())
        return jnp.where(free & is_kept, k + 1, ids), kept.at[k].set(is_kept)

    return lax.fori_loop(0, d, place, (jnp.zeros(size, jnp.int32), jnp.zeros(d, bool)))


def with_stuff(
    ids: jax.Array, classes: jax.Array, semantic: jax.Array, is_stuff: jax.Array, least_pixels: int = 0
) -> tuple[jax.Array, jax.Array]:
    """Fills what instances leave free with the stuff of a semantic map: an instance always wins over stuff.

    Free pixels whose semantic class is that of things are void, and so is stuff of fewer than `least_pixels` pixels.

    Args:
        ids: int [h, w], k + 1 for the pixels of instance k, 0 for none.
        classes: int [d], of the instances.
        semantic: int [h, w], the class of every pixel.
        is_stuff: bool [c], which classes are stuff.
        least_pixels: of the stuff of a class.

    Returns:
        int32 [h, w], the segment of every pixel: that of an instance as in `ids`, d + c + 1 for the stuff of class c,
        0 for void; int32 [d + number of classes], the class of segment s at s - 1.
    """
    d, n = len(classes), len(is_stuff)
    stuff = (ids == 0) & is_stuff[semantic]
    pixels = jnp.zeros(n, jnp.int32).at[semantic.reshape(-1)].add(stuff.reshape(-1).astype(jnp.int32))
    stuff &= (pixels >= least_pixels)[semantic]
    segments = jnp.where(stuff, d + 1 + semantic, ids).astype(jnp.int32)
    return segments, jnp.concatenate([classes.astype(jnp.int32), jnp.arange(n, dtype=jnp.int32)])
