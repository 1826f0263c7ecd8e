"""Operations that hide a part of the image."""

from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._photometric import check_interval
from cvdl_jax.data.augment._regions import rectangle
from cvdl_jax.data.augment._rows import check_number, check_probability, check_size, chosen
from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random


def cutout(size: int = 8, fill: float = 0.0, probability: float = 1.0):
    """Replaces one square by a constant; its centre is uniform over the pixels, so that it may reach over the border.

    The square covers rows `y - size // 2 ... y - size // 2 + size - 1`, and columns likewise.

    Args:
        size: side in pixels.
        fill: value in 0..1; the paper fills with the mean of the training data.
        probability: for each row.

    Raises:
        ConfigError: for a square that hides the whole image at any place.

    Reference: DeVries and Taylor 2017, "Improved Regularization of Convolutional Neural Networks with Cutout",
    section 3.2.
    """
    check_size("cutout", "size", size)
    check_number("cutout", "fill", fill, 0, 1)
    check_probability("cutout", probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        b, h, w, _ = image.shape
        if size >= 2 * max(h, w):
            raise ConfigError(
                f"config.augment: cutout(size={size}) hides images of {h} x {w} pixels wherever it lies; choose at "
                f"most {max(h, w) // 2}, half a side"
            )
        where, which = jax.random.split(key)
        centre = row_random(lambda k, s: jax.random.randint(k, s, 0, jnp.asarray([h, w])), where, (b, 2))  # [b, 2]
        hidden = rectangle(centre - size // 2, jnp.full((b, 2), size), h, w) & chosen(which, probability, image)
        return state, {**batch, "image": jnp.where(hidden, jnp.asarray(fill, image.dtype), image)}, {}

    return update


def random_erasing(
    area_low: float = 0.02,
    area_high: float = 0.4,
    aspect: float = 0.3,
    fill: float | Literal["random"] = "random",
    probability: float = 0.5,
):
    """Replaces one rectangle inside the image by noise or a constant.

    Its share of the image's area is uniform in area_low ... area_high. The logarithm of its aspect ratio, height over
    width, is uniform in that of aspect ... 1 / aspect, so that tall and wide are equally likely, without the ratios
    that do not fit into the image at that area; sides are rounded to pixels, at least one. All places are equally
    likely. The paper draws the ratio itself, and draws everything again until the rectangle fits, which makes large
    and long ones rarer than their ranges say.

    Args:
        area_low: 0..1.
        area_high: 0..1.
        aspect: above 0, at most 1 for squares.
        fill: value in 0..1, or "random" for uniform noise in every channel of every pixel.
        probability: for each row.

    Raises:
        ConfigError: for ranges of which some rectangles cannot fit into the image.

    Reference: Zhong et al. 2020, "Random Erasing Data Augmentation", algorithm 1.
    """
    check_number("random_erasing", "area_low", area_low, 0, 1)
    check_number("random_erasing", "area_high", area_high, 0, 1)
    check_interval("random_erasing", ("area_low", area_low), ("area_high", area_high))
    check_number("random_erasing", "aspect", aspect, 0.01, 1)
    if fill != "random":
        check_number("random_erasing", "fill", fill, 0, 1)
    check_probability("random_erasing", probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        b, h, w, _ = image.shape
        largest = min(h / w, w / h) / aspect
        if area_high > largest:
            raise ConfigError(
                f"config.augment: random_erasing(area_high={area_high}) must be at most {largest:.3g} for images of "
                f"{h} x {w} and aspect={aspect}; choose less, or a smaller aspect"
            )
        where, which, noise = jax.random.split(key, 3)
        u = row_random(jax.random.uniform, where, (b, 4))  # [b, 4]
        sides = _sides(area_low + (area_high - area_low) * u[:, 0], u[:, 1], aspect, h, w)  # [b, 2]
        free = jnp.asarray([h, w])[None] - sides
        corner = jnp.minimum(jnp.floor(u[:, 2:] * (free + 1)).astype(jnp.int32), free)
        hidden = rectangle(corner, sides, h, w) & chosen(which, probability, image)
        new = jnp.asarray(0 if fill == "random" else fill, image.dtype)
        if fill == "random":
            new = row_random(lambda k, s: jax.random.uniform(k, s, image.dtype), noise, image.shape)
        return state, {**batch, "image": jnp.where(hidden, new, image)}, {}

    return update


def _sides(area: jax.Array, u: jax.Array, aspect: float, h: int, w: int) -> jax.Array:
    """Height and width in pixels, int [b, 2], of rectangles of shares [b] of the area, u [b] for the aspect ratio."""
    area = jnp.maximum(area, 1 / (h * w))
    low = jnp.maximum(aspect, area * (h / w))  # the width is at most w
    high = jnp.minimum(1 / aspect, h / (w * area))  # the height is at most h
    ratio = jnp.exp(jnp.log(low) + u * (jnp.log(high) - jnp.log(low)))
    sides = jnp.sqrt(area * (h * w))[:, None] * jnp.stack([jnp.sqrt(ratio), jnp.sqrt(1 / ratio)], 1)
    return jnp.clip(jnp.round(sides).astype(jnp.int32), 1, jnp.asarray([[h, w]]))
