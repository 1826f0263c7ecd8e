"""Brightness, contrast, saturation, hue and gamma of batches of images.

Images are float [b, h, w, c] in 0..1; a parameter is one number or one per image [b]. Results outside 0..1 are
clipped, which is part of each definition, as in Pillow. A parameter outside its range is a ValueError where its value
is known, and gives NaN inside jit. Grey is `0.299 r + 0.587 g + 0.114 b` (ITU-R BT.601).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.ops.images.inputs import blend, check_image, per_image, saturate


def grey(x: jax.Array) -> jax.Array:
    """Luminance `0.299 r + 0.587 g + 0.114 b`; an image of one channel is grey already.

    Args:
        x: float [..., c], c 1 or 3.

    Returns:
        [..., 1].
    """
    return _grey(*_channels(x))[..., None]


def grayscale(x: jax.Array) -> jax.Array:
    """The grey image in as many channels as before: `[g, g, g]`.

    Args:
        x: float [b, h, w, c] in 0..1, c 1 or 3.

    Returns:
        [b, h, w, c]; images of one channel stay.

    Raises:
        ValueError: for another number of channels.
    """
    x = check_image(x, "grayscale", (1, 3))
    return jnp.broadcast_to(grey(x), x.shape)


def brightness(x: jax.Array, factor: Any) -> jax.Array:
    """Multiplicative brightness, `factor x`, saturated at 0..1: a blend with black, as Pillow and torchvision do.

    Args:
        x: float [b, h, w, c] in 0..1.
        factor: 0 or more, number or [b]; 0 is black, 1 the image.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for a negative factor.
    """
    x = check_image(x, "brightness")
    return saturate(per_image("factor", factor, x) * x)


def brightness_shift(x: jax.Array, offset: Any) -> jax.Array:
    """Additive brightness, `x + offset`, saturated at 0..1.

    Args:
        x: float [b, h, w, c] in 0..1.
        offset: -1..1, number or [b]; 0 is the image.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for an offset outside -1..1.
    """
    x = check_image(x, "brightness_shift")
    return saturate(x + per_image("offset", offset, x, -1.0, 1.0))


def contrast(x: jax.Array, factor: Any) -> jax.Array:
    """Contrast about the mean of the grey image, `factor x + (1 - factor) mean(grey(x))`, saturated at 0..1.

    Pillow rounds the mean to a byte; here it is exact.

    Args:
        x: float [b, h, w, c] in 0..1, c 1 or 3.
        factor: 0 or more, number or [b]; 0 is a uniform grey, 1 the image.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for a negative factor, or another number of channels.
    """
    x = check_image(x, "contrast", (1, 3))
    mean = grey(x.mean((1, 2), keepdims=True))  # [b, 1, 1, 1]; grey is linear, so it may be taken of the mean
    return blend(mean, x, per_image("factor", factor, x))


def saturation(x: jax.Array, factor: Any) -> jax.Array:
    """Saturation, `factor x + (1 - factor) grey(x)`, saturated at 0..1; Pillow calls it colour.

    Args:
        x: float [b, h, w, 3] in 0..1.
        factor: 0 or more, number or [b]; 0 is the grey image, 1 the image.

    Returns:
        [b, h, w, 3] in 0..1.

    Raises:
        ValueError: for a negative factor, or grey images, which have no saturation to change.
    """
    x = check_image(x, "saturation", (3,))
    return blend(grey(x), x, per_image("factor", factor, x))


def rgb_to_hsv(x: jax.Array) -> jax.Array:
    """Hue in turns [0, 1), saturation and value of red, green and blue.

    `v = max`, `s = (max - min) / max` (0 for black), and h from the largest channel; 0 for grey.

    Args:
        x: float [..., 3] in 0..1.

    Returns:
        [..., 3].

    Reference: Smith 1978, "Color Gamut Transform Pairs".
    """
    sixths, high, low = _hexagon(*_channels(x))
    value = jnp.where(high > 0, high, 1)
    return jnp.stack([jnp.where(sixths < 0, sixths + 6, sixths) / 6, (high - low) / value, high], -1)


def hsv_to_rgb(x: jax.Array) -> jax.Array:
    """The inverse of `rgb_to_hsv`: each channel is `v - v s clip(min(k, 4 - k), 0, 1)`, `k = (n + 6 h) mod 6`.

    n is 5, 3 and 1 for red, green and blue.

    Args:
        x: float [..., 3], hue in turns (any real number), saturation and value in 0..1.

    Returns:
        [..., 3] in 0..1.
    """
    turns, share, value = _channels(x)
    return jnp.stack(_rainbow(6 * turns, value, value * share), -1)


def hue(x: jax.Array, turns: Any) -> jax.Array:
    """Rotates the hue in HSV space, `h <- h + turns mod 1`; saturation and value stay.

    Args:
        x: float [b, h, w, 3] in 0..1.
        turns: -1..1, number or [b]; whole turns are the image, 0.5 takes red to cyan.

    Returns:
        [b, h, w, 3] in 0..1.

    Raises:
        ValueError: for turns outside -1..1, or grey images, which have no hue.
    """
    x = check_image(x, "hue", (3,))
    turn = per_image("turns", turns, x, -1.0, 1.0)[..., 0]  # [b, 1, 1]
    sixths, high, low = _hexagon(*_channels(x))
    return jnp.stack(_rainbow(sixths + 6 * turn, high, high - low), -1)


def recolour(x: jax.Array, mask: jax.Array, turns: Any, least: Any = 0.0) -> jax.Array:
    """Another hue inside a soft mask, as of hair: `(1 - m) x + m y`, where y has the hue and the luminance of x.

    The chroma of y is that of the pixel, or `least` if that is more, as far as its luminance allows: the colour lies on
    the line from the pixel's grey to the hue and does not leave 0..1. So luminance stays exactly, and black and white
    stay what they are.

    Args:
        x: float [b, h, w, 3] in 0..1.
        mask: m, float [b, h, w, 1] in 0..1, such as a probability.
        turns: the hue as a part of a turn, -1..1, number or [b]: 0 red, 1 / 3 green, 2 / 3 blue.
        least: chroma (largest minus smallest channel) that grey pixels get, 0..1, number or [b].

    Returns:
        [b, h, w, 3] in 0..1.

    Raises:
        ValueError: for a parameter out of its range, grey images, or a mask of another size.
    """
    x = check_image(x, "recolour", (3,))
    if mask.shape != (*x.shape[:3], 1):
        raise ValueError(f"recolour takes a mask {[*x.shape[:3], 1]} for its images, got {list(mask.shape)}")
    turn = per_image("turns", turns, x, -1.0, 1.0)[..., 0]  # [b, 1, 1]
    chroma = jnp.maximum(x.max(-1) - x.min(-1), per_image("least", least, x, 0.0, 1.0)[..., 0])  # [b, h, w]
    luminance = _grey(*_channels(x))
    pure = _rainbow(jnp.broadcast_to(6 * turn, chroma.shape), jnp.ones_like(chroma), jnp.ones_like(chroma))
    away = [channel - _grey(*pure) for channel in pure]  # from grey to the hue, of luminance 0
    for part in away:  # the room is that of the channel that meets 0 or 1 first
        room = jnp.where(part > 0, 1 - luminance, luminance)
        chroma = jnp.minimum(chroma, room / jnp.maximum(jnp.abs(part), 1e-6))
    y = jnp.stack([luminance + chroma * part for part in away], -1)
    return blend(x, y, mask)


def gamma(x: jax.Array, exponent: Any) -> jax.Array:
    """Gamma distortion, `x ^ exponent`: 0 and 1 stay; values between get darker above 1 and brighter below it.

    Args:
        x: float [b, h, w, c] in 0..1.
        exponent: 0 or more, number or [b]; 1 is the image.

    Returns:
        [b, h, w, c] in 0..1.

    Raises:
        ValueError: for a negative exponent.
    """
    x = check_image(x, "gamma")
    return x ** per_image("exponent", exponent, x)


def color_jitter(x: jax.Array, order: jax.Array, factors: jax.Array, turns: jax.Array | None = None) -> jax.Array:
    """Brightness, contrast, saturation and hue, one after the other, in a separate order for each image.

    The first three are blends with black, the mean grey and the grey image, so that one formula serves all. The blends
    before the hue are one pass and those after it another, and the hue of all images is rotated once in between.

    Args:
        x: float [b, h, w, c] in 0..1, c 3, or 1 if the saturation's factors are 1 and there are no turns.
        order: int [b, 4], each row a permutation: what comes first, second ... with 0 brightness, 1 contrast,
            2 saturation, 3 hue.
        factors: [b, 3], of `brightness`, `contrast` and `saturation`.
        turns: [b], of `hue`; None leaves it out.

    Returns:
        [b, h, w, c] in 0..1.
    """
    x = check_image(x, "color_jitter", (1, 3) if turns is None else (3,))
    hue_at = jnp.argmax(order == 3, 1)[:, None]  # [b, 1], the number of blends before the hue
    place = jnp.arange(3)[None]
    kind = jnp.take_along_axis(order, place + (place >= hue_at), 1)  # [b, 3], which blend comes next
    factor = jnp.take_along_axis(factors, kind, 1)  # [b, 3]
    channels = _channels(x)  # separate arrays, because sums over a last axis of three are slow
    if turns is not None:
        channels = _blends(channels, kind, jnp.where(place < hue_at, factor, 1))  # a factor of 1 is the identity
        sixths, high, low = _hexagon(*channels)
        turn = per_image("turns", turns, x, -1.0, 1.0)[..., 0]  # [b, 1, 1]
        channels = _rainbow(sixths + 6 * turn, high, high - low)
        factor = jnp.where(place < hue_at, 1, factor)
    return jnp.stack(_blends(channels, kind, factor), -1)


def _blends(channels: list[jax.Array], kind: jax.Array, factor: jax.Array) -> list[jax.Array]:
    """Channels [b, h, w] after blends of the kinds 0 brightness, 1 contrast, 2 saturation, by factors: [b, 3] each."""

    def step(i: jax.Array, channels: list[jax.Array]) -> list[jax.Array]:
        which, f = kind[:, i, None, None], factor[:, i, None, None]  # [b, 1, 1]
        luminance = _grey(*channels)
        mean = luminance.mean((1, 2), keepdims=True)
        other = jnp.where(which == 2, luminance, jnp.where(which == 1, mean, 0))
        return [blend(other, channel, f) for channel in channels]

    # A loop, because XLA would fuse all earlier steps into each mean, and all of them into the next operation, even
    # across an optimization_barrier: ten times the work before a rotation.
    return lax.fori_loop(0, kind.shape[1], step, channels)


def _hexagon(r: jax.Array, g: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Hue in sixths of a turn, -1..5, the largest and the smallest channel: [...] each."""
    high, low = jnp.maximum(jnp.maximum(r, g), b), jnp.minimum(jnp.minimum(r, g), b)
    # One division for all cases: the difference of the other two channels over the range, plus where the largest is.
    difference = jnp.where(high == r, g - b, jnp.where(high == g, b - r, r - g))
    start = jnp.where(high == r, 0.0, jnp.where(high == g, 2.0, 4.0)).astype(r.dtype)
    return start + difference / jnp.where(high > low, high - low, 1), high, low


def _rainbow(sixths: jax.Array, value: jax.Array, chroma: jax.Array) -> list[jax.Array]:
    """Red, green and blue [...] of a hue in sixths, the largest channel, and largest minus smallest."""
    turns = sixths / 6
    sixths = 6 * (turns - jnp.floor(turns))  # `%` costs a slow remainder for each pixel
    channels = []
    for n in (5, 3, 1):
        k = sixths + n
        k = jnp.where(k >= 6, k - 6, k)
        channels.append(value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1))
    return channels


def _grey(*channels: jax.Array) -> jax.Array:
    """Luminance [...] of one channel, or of red, green and blue."""
    if len(channels) == 1:
        return channels[0]
    r, g, b = channels
    return 0.299 * r + 0.587 * g + 0.114 * b


def _channels(x: jax.Array) -> list[jax.Array]:
    return [x[..., i] for i in range(x.shape[-1])]
