"""Operations on the values of pixels: colours, blurs and noise. Values that would leave 0..1 become 0 or 1.

Every row draws its own parameter in a range, which most arguments give as an amount with 0 for no change. Saturation,
hue and grayscale refuse grey images, where they can only be a mistake in the config. Blurs repeat the nearest pixel
beyond the border. Noise is drawn for every value of every pixel.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._rows import (
    COLOUR,
    GREY_OR_COLOUR,
    check_channels,
    check_interval,
    check_not_negative,
    check_number,
    check_probability,
    chosen,
    on_images,
)
from cvdl_jax.ops.images import colour, filters
from cvdl_jax.ops.images.inputs import saturate

# Of the covariance of ImageNet's red, green and blue in 0..1: the roots of its eigenvalues, and its eigenvectors as
# columns
_SPREADS = (0.2175, 0.0188, 0.0045)
_COMPONENTS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))


def brightness(amount: float = 0.4, mode: Literal["multiply", "add"] = "multiply", probability: float = 1.0):
    """Changes the brightness: `f x` with f uniform in 1 - amount ... 1 + amount, or `x + a`, a in -amount ... amount.

    Args:
        amount: 0..1.
        mode: "multiply" for `f x`, which keeps black, or "add" for `x + a`.
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
        amount: 0..0.5; 0.5 allows all hues.
        probability: for each row.

    Raises:
        ConfigError: for images that are not red, green and blue.
    """
    check_number("hue", "amount", amount, 0, 0.5)
    return on_images("hue", colour.hue, -amount, amount, probability, COLOUR)


def gamma(amount: float = 0.4, probability: float = 1.0):
    """Raises values to a power `(1 + amount)^u`, u uniform in -1 ... 1, darker as often as brighter.

    Args:
        amount: 0..10; with 1, the power lies between 1/2 and 2.
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
    section 2 (random order). The amounts are those of torchvision, whose defaults are 0.
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


def blur(low: float = 0.1, high: float = 2.0, probability: float = 0.5):
    """Convolution with a Gaussian whose standard deviation is uniform in low ... high.

    Args:
        low: pixels, 0 or more.
        high: pixels.
        probability: for each row.

    Reference: Chen et al. 2020, "A Simple Framework for Contrastive Learning", appendix A (0.1 to 2, one half).
    """
    check_not_negative("blur", "low", low)
    check_not_negative("blur", "high", high)
    check_interval("blur", ("low", low), ("high", high))
    return on_images("blur", filters.gaussian_blur, low, high, probability)


def box_blur(radius: float = 1.5, probability: float = 0.5):
    """The mean over a square of side `2 r + 1`, r uniform in 0 ... radius; pixels covered in part count in part.

    Args:
        radius: pixels, 0 or more.
        probability: for each row.
    """
    check_not_negative("box_blur", "radius", radius)
    return on_images("box_blur", filters.box_blur, 0.0, radius, probability)


def median_blur(probability: float = 0.5):
    """Replaces each value by the median of its 3 x 3 neighbourhood.

    Args:
        probability: for each row.
    """
    return on_images("median_blur", lambda x, _: filters.median(x), 0.0, 0.0, probability)


def sharpen(amount: float = 1.0, probability: float = 0.5):
    """Adds to the image up to `amount` times its difference from a smoothed one, saturated at 0..1.

    Args:
        amount: 0 or more; Pillow's sharpness is uniform in 1 ... 1 + amount.
        probability: for each row.
    """
    check_not_negative("sharpen", "amount", amount)
    return on_images("sharpen", filters.sharpness, 1.0, 1 + amount, probability)


def lighting(std: float = 0.1, probability: float = 1.0):
    """Adds one colour to a whole image, along the principal components of ImageNet's colours: `V (a * l)`.

    a is normal, one for each component; l are the square roots of the eigenvalues of the covariance of the training
    pixels, and V are its eigenvectors.

    Args:
        std: standard deviation of a, 0 or more.
        probability: for each row.

    Reference: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1;
        the numbers are those of fb.resnet.torch, for pixels in 0..1.
    """
    check_not_negative("lighting", "std", std)
    check_probability("lighting", probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, 3]
        check_channels("lighting", image, (3,))
        where, which = jax.random.split(key)
        a = std * row_random(lambda k, s: jax.random.normal(k, s, image.dtype), where, (image.shape[0], 3))
        colour = jnp.einsum("bk,ck->bc", a * jnp.asarray(_SPREADS, a.dtype)[None], jnp.asarray(_COMPONENTS, a.dtype))
        lit = saturate(image + colour[:, None, None])
        return state, {**batch, "image": jnp.where(chosen(which, probability, image), lit, image)}, {}

    return update


def gaussian_noise(std: float = 0.05, probability: float = 1.0):
    """Adds Gaussian noise of mean 0.

    Args:
        std: standard deviation, 0 or more; images are in 0..1.
        probability: for each row.
    """
    check_not_negative("gaussian_noise", "std", std)
    return _add("gaussian_noise", lambda k, s, dtype: std * jax.random.normal(k, s, dtype), probability)


def uniform_noise(amount: float = 0.1, probability: float = 1.0):
    """Adds white noise, uniform in -amount ... amount.

    Args:
        amount: 0..1.
        probability: for each row.
    """
    check_number("uniform_noise", "amount", amount, 0, 1)
    return _add("uniform_noise", lambda k, s, dtype: jax.random.uniform(k, s, dtype, -amount, amount), probability)


def _add(operation: str, draw: Callable, probability: float) -> Callable:
    """Adds noise `draw(key, shape, dtype)` to some rows."""
    check_probability(operation, probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        where, which = jax.random.split(key)
        noisy = saturate(image + row_random(lambda k, s: draw(k, s, image.dtype), where, image.shape))
        return state, {**batch, "image": jnp.where(chosen(which, probability, image), noisy, image)}, {}

    return update
