"""Operations on colours. A value that would leave 0..1 becomes 0 or 1, which is part of their definition.

The range of each is given by an amount, 0 for no change, and every row draws its own parameter in it. Saturation, hue
and grayscale refuse grey images; on them only a mistake in the config could want them.
"""

from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._photometric import COLOUR, GREY_OR_COLOUR, check_channels, on_images
from cvdl_jax.data.augment._rows import check_number, check_probability, chosen
from cvdl_jax.ops.images import colour
from cvdl_jax.parallel import row_random


def brightness(amount: float = 0.4, mode: Literal["multiply", "add"] = "multiply", probability: float = 1.0):
    """Changes the brightness: `f x` with f uniform in 1 - amount ... 1 + amount, or `x + a`, a in -amount ... amount.

    Args:
        amount: 0..1.
        mode: multiply keeps black black; add moves all values alike.
        probability: for each row.
    """
    check_number("brightness", "amount", amount, 0, 1)
    if mode == "add":
        return on_images("brightness", colour.brightness_shift, -amount, amount, probability)
    return on_images("brightness", colour.brightness, 1 - amount, 1 + amount, probability)


def contrast(amount: float = 0.4, probability: float = 1.0):
    """Scales the distance from the mean of the grey image by a factor uniform in 1 - amount ... 1 + amount.

    Args:
        amount: 0..1.
        probability: for each row.
    """
    check_number("contrast", "amount", amount, 0, 1)
    return on_images("contrast", colour.contrast, 1 - amount, 1 + amount, probability, GREY_OR_COLOUR)


def saturation(amount: float = 0.4, probability: float = 1.0):
    """Scales the distance from the grey image by a factor uniform in 1 - amount ... 1 + amount.

    Args:
        amount: 0..1.
        probability: for each row.

    Raises:
        ConfigError: for images that are not red, green and blue.
    """
    check_number("saturation", "amount", amount, 0, 1)
    return on_images("saturation", colour.saturation, 1 - amount, 1 + amount, probability, COLOUR)


def hue(amount: float = 0.1, probability: float = 1.0):
    """Rotates the hue (HSV) by a part of a turn uniform in -amount ... amount.

    Args:
        amount: 0..0.5; 0.5 draws among all hues.
        probability: for each row.

    Raises:
        ConfigError: for images that are not red, green and blue.
    """
    check_number("hue", "amount", amount, 0, 0.5)
    return on_images("hue", colour.hue, -amount, amount, probability, COLOUR)


def gamma(amount: float = 0.4, probability: float = 1.0):
    """Raises values to a power `(1 + amount)^u`, u uniform in -1 ... 1: as often darker as brighter.

    Args:
        amount: 0..10; 1 draws between the square root and the square.
        probability: for each row.
    """
    check_number("gamma", "amount", amount, 0, 10)
    return on_images("gamma", lambda x, u: colour.gamma(x, (1 + amount) ** u), -1.0, 1.0, probability)


def grayscale(probability: float = 0.2):
    """Replaces colour images by grey ones of three equal channels.

    Args:
        probability: for each row.

    Raises:
        ConfigError: for images that are not red, green and blue.

    Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning", appendix A (0.2).
    """
    return on_images("grayscale", lambda x, _: colour.grayscale(x), 0.0, 0.0, probability, COLOUR)


def color_jitter(
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    probability: float = 1.0,
):
    """The four operations of these names, one after the other, in a random order that each row draws for itself.

    Args:
        brightness: amount, 0..1.
        contrast: amount, 0..1.
        saturation: amount, 0..1; 0 for grey images.
        hue: amount, 0..0.5; 0 for grey images.
        probability: of all four together, for each row.

    Raises:
        ConfigError: for an amount out of range, or saturation or hue of images that are not red, green and blue.

    Reference: Howard 2013, "Some Improvements on Deep Convolutional Neural Network Based Image Classification",
    section 2 (random order). The amounts mean what they do in torchvision, where those that are not given are 0.
    """
    amounts = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, amount in amounts.items():
        check_number("color_jitter", name, amount, 0, 1)
    check_number("color_jitter", "hue", hue, 0, 0.5)
    check_probability("color_jitter", probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        takes = COLOUR if saturation or hue else GREY_OR_COLOUR
        check_channels(
            "color_jitter", image, takes, "set saturation=0 and hue=0, or remove it" if takes == COLOUR else ""
        )
        b, dtype = image.shape[0], image.dtype
        which, how, order = jax.random.split(key, 3)
        u = row_random(lambda k, s: jax.random.uniform(k, s, dtype, -1, 1), how, (b, 4))  # [b, 4]
        factors = 1 + u[:, :3] * jnp.asarray(list(amounts.values()), dtype)[None]
        order = jnp.argsort(row_random(jax.random.uniform, order, (b, 4)), 1)  # [b, 4], a random permutation
        changed = colour.color_jitter(image, order, factors, u[:, 3] * hue if hue else None)
        return state, {**batch, "image": jnp.where(chosen(which, probability, image), changed, image)}, {}

    return update
