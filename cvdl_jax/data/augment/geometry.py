"""Operations that move pixels: flips and crops."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.data.augment._rows import check_only_image_moves, check_probability, check_size, chosen
from cvdl_jax.parallel import row_random


def flip(probability: float = 0.5):
    """Mirrors left and right.

    Args:
        probability: for each row.
    """
    check_probability("flip", probability)

    def update(state, batch, key):
        check_only_image_moves("flip", batch)
        image = batch["image"]  # [b, h, w, c]
        return state, {**batch, "image": jnp.where(chosen(key, probability, image), image[:, :, ::-1], image)}, {}

    return update


def vertical_flip(probability: float = 0.5):
    """Mirrors top and bottom.

    Args:
        probability: for each row.
    """
    check_probability("vertical_flip", probability)

    def update(state, batch, key):
        check_only_image_moves("vertical_flip", batch)
        image = batch["image"]  # [b, h, w, c]
        return state, {**batch, "image": jnp.where(chosen(key, probability, image), image[:, ::-1], image)}, {}

    return update


def padded_crop(padding: int = 4, mode: Literal["zeros", "reflect", "edge"] = "zeros", probability: float = 1.0):
    """Pads all sides, then crops a window of the original size at a uniformly random place.

    Args:
        padding: pixels on each side; the image moves by -padding ... padding in both directions.
        mode: what the padding holds: black, the reflected image, or the repeated border.
        probability: for each row.

    Reference: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2 (4 pixels on CIFAR-10).
    """
    check_size("padded_crop", "padding", padding, least=0)
    check_probability("padded_crop", probability)
    pad_mode = {"zeros": "constant"}.get(mode, mode)

    def update(state, batch, key):
        check_only_image_moves("padded_crop", batch)
        image = batch["image"]  # [b, h, w, c]
        b, *shape = image.shape
        padded = jnp.pad(image, ((0, 0), (padding, padding), (padding, padding), (0, 0)), pad_mode)
        where, which = jax.random.split(key)
        offsets = row_random(lambda k, s: jax.random.randint(k, s, 0, 2 * padding + 1), where, (b, 2))  # [b, 2]
        crop = jax.vmap(lambda x, o: lax.dynamic_slice(x, (o[0], o[1], 0), shape))(padded, offsets)  # [b, h, w, c]
        return state, {**batch, "image": jnp.where(chosen(which, probability, image), crop, image)}, {}

    return update
