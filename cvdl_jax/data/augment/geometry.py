"""Operations that move pixels: flips and crops."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.data.augment._rows import check_only_image_moves, check_probability, check_size, chosen, moving
from cvdl_jax.parallel import row_random


def flip(probability: float = 0.5):
    """Mirrors left and right: images, masks and boxes.

    Args:
        probability: for each row.
    """
    check_probability("flip", probability)

    def update(state, batch, key):
        return state, _mirror(batch, chosen(key, probability, batch["image"]), 1), {}

    return update


def vertical_flip(probability: float = 0.5):
    """Mirrors top and bottom: images, masks and boxes.

    Args:
        probability: for each row.
    """
    check_probability("vertical_flip", probability)

    def update(state, batch, key):
        return state, _mirror(batch, chosen(key, probability, batch["image"]), 0), {}

    return update


def _mirror(batch: Mapping[str, Any], which: jax.Array, axis: int) -> dict[str, Any]:
    """The batch with some rows mirrored.

    Args:
        batch: images and masks [b, h, w, c], boxes [b, ..., 4] in 0..1; other entries stay.
        which: bool [b, 1, 1, 1], the rows.
        axis: 0 exchanges top and bottom, 1 left and right.
    """
    out = dict(batch)
    for name in moving(batch):
        x = batch[name]
        if name.split("/")[-1] == "bbox":
            low, high = x[..., axis], x[..., axis + 2]  # [b, ...]
            mirrored = x.at[..., axis].set(1 - high).at[..., axis + 2].set(1 - low)
            real = jnp.any(x != 0, axis=-1, keepdims=True)  # padding stays zero
            out[name] = jnp.where(which.reshape(-1, *(1,) * (x.ndim - 1)) & real, mirrored, x)
        else:
            out[name] = jnp.where(which.reshape(-1, *(1,) * (x.ndim - 1)), jnp.flip(x, axis + 1), x)
    return out


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
