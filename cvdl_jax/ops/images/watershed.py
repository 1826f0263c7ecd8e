"""Objects of an image as numbers of pixels: connected components, and the watershed that grows markers over a relief.

Pixels are neighbours where they share a side. Everything here is compiled with static shapes, for one image; `jax.vmap`
makes a batch of it. Number 0 is no object.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def components(mask: jax.Array, most: int, least: int = 1) -> tuple[jax.Array, jax.Array]:
    """Numbers the connected parts of a mask.

    Every pixel takes the largest place of its part: that of its neighbours, and of the pixel at the place that it
    knows, until nothing changes.

    Args:
        mask: bool [h, w].
        most: parts that get a number, the first of them in the order of their last pixels.
        least: pixels of a part; smaller ones are no objects.

    Returns:
        int32 [h, w], 1 ... most, 0 where there is no object; int32 [], how many parts beyond `most` there are.
    """
    h, w = mask.shape
    place = jnp.arange(1, h * w + 1, dtype=jnp.int32).reshape(h, w)

    def grow(carry: tuple) -> tuple:
        labels, _ = carry
        new = jnp.where(mask, jnp.maximum(labels, _largest(labels)), 0)
        new = jnp.where(mask, new.reshape(-1)[jnp.maximum(new - 1, 0)], 0)
        return new, (new != labels).any()

    labels, _ = lax.while_loop(lambda carry: carry[1], grow, (jnp.where(mask, place, 0), jnp.asarray(True)))
    sizes = jnp.zeros(h * w + 1, jnp.int32).at[labels.reshape(-1)].add(1)
    is_part = (sizes >= least) & (jnp.arange(h * w + 1) > 0)
    rank = jnp.where(is_part, jnp.cumsum(is_part), 0)
    number = jnp.where(rank <= most, rank, 0).astype(jnp.int32)
    return number[labels], jnp.maximum(rank.max() - most, 0).astype(jnp.int32)


def watershed(markers: jax.Array, relief: jax.Array, inside: jax.Array, levels: int = 16) -> jax.Array:
    """Grows markers into a mask as water rises over a relief: where two meet, there is the border.

    The water rises in `levels` equal steps from 0 to 1. At a step, pixels up to its height that have a numbered
    neighbour take its number, the larger one of two, until nothing changes. So every pixel gets the number of a marker
    from which the highest pixel on the way is as low as it can be, in steps.

    Args:
        markers: int [h, w], numbers of objects, 0 elsewhere; they keep their pixels.
        relief: float [h, w] in 0..1.
        inside: bool [h, w], the pixels that may get a number.
        levels: steps of the water.

    Returns:
        int32 [h, w].

    Reference: Vincent and Soille 1991, "Watersheds in Digital Spaces", section III; Meyer 1991 for markers.
    """
    height = jnp.clip(jnp.floor(relief * levels), 0, levels - 1)

    def rise(level: jax.Array, numbers: jax.Array) -> jax.Array:
        open_ = inside & (height <= level)

        def grow(carry: tuple) -> tuple:
            numbers, _ = carry
            new = jnp.where((numbers == 0) & open_, _largest(numbers), numbers)
            return new, (new != numbers).any()

        return lax.while_loop(lambda carry: carry[1], grow, (numbers, jnp.asarray(True)))[0]

    return lax.fori_loop(0, levels, rise, markers.astype(jnp.int32))


def _largest(x: jax.Array) -> jax.Array:
    """The largest value of the four neighbours, 0 beyond the border: [h, w]."""
    p = jnp.pad(x, 1)
    sides = jnp.maximum(p[:-2, 1:-1], p[2:, 1:-1]), jnp.maximum(p[1:-1, :-2], p[1:-1, 2:])
    return jnp.maximum(*sides)


def borders(ids: jax.Array) -> jax.Array:
    """Which pixels of objects have a neighbour that is not of theirs; the border of the image is none.

    Args:
        ids: int [b, h, w], 0 for no object.

    Returns:
        bool [b, h, w].
    """
    p = jnp.pad(ids, ((0, 0), (1, 1), (1, 1)), "edge")
    around = (p[:, :-2, 1:-1], p[:, 2:, 1:-1], p[:, 1:-1, :-2], p[:, 1:-1, 2:])
    other = jnp.stack([x != ids for x in around]).any(0)
    return (ids > 0) & other


def boxes_of(ids: np.ndarray, most: int) -> np.ndarray:
    """The tight boxes of the objects 1 ... most of an image: float64 [most, 4], on the host.

    They are half-open, [first row, first column, last row + 1, last column + 1] over height and width; 0 0 0 0 for a
    number that no pixel has.

    Args:
        ids: int [h, w].
        most: number of boxes.
    """
    from scipy import ndimage

    boxes = np.zeros((most, 4))
    for k, place in enumerate(ndimage.find_objects(np.asarray(ids, np.int32), most)):
        if place is not None:
            boxes[k] = [place[0].start, place[1].start, place[0].stop, place[1].stop]
    h, w = np.shape(ids)
    return boxes / [h, w, h, w]
