"""Operations that hide a part of the image."""

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._rows import check_probability, check_size, chosen
from cvdl_jax.parallel import row_random


def cutout(size: int = 8, fill: float = 0.0, probability: float = 1.0):
    """Replaces one square by a constant; its centre is uniform over the pixels, so that it may reach over the border.

    The square covers rows `y - size // 2 ... y - size // 2 + size - 1`, and columns likewise.

    Args:
        size: side in pixels.
        fill: value in 0..1; the paper fills with the mean of the training data.
        probability: for each row.

    Reference: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout",
    section 3.2.
    """
    check_size("cutout", "size", size)
    check_probability("cutout", probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        b, h, w, _ = image.shape
        where, which = jax.random.split(key)
        centre = row_random(lambda k, s: jax.random.randint(k, s, 0, jnp.asarray([h, w])), where, (b, 2))  # [b, 2]
        top, left = (centre - size // 2).T[..., None]  # [b, 1]
        y, x = jnp.arange(h)[None], jnp.arange(w)[None]  # [1, h], [1, w]
        inside = ((y >= top) & (y < top + size))[:, :, None] & ((x >= left) & (x < left + size))[:, None]  # [b, h, w]
        hidden = inside[..., None] & chosen(which, probability, image)  # [b, h, w, 1]
        return state, {**batch, "image": jnp.where(hidden, jnp.asarray(fill, image.dtype), image)}, {}

    return update
