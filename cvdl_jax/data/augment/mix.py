"""Operations that blend pairs of examples with their labels, or hide a part of the image."""

from collections.abc import Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.augment._carry import soft
from cvdl_jax.data.augment._rows import (
    check_interval,
    check_not_negative,
    check_number,
    check_probability,
    check_size,
    chosen,
    moving,
    rectangle,
)
from cvdl_jax.errors import ConfigError


def mixup(alpha: float = 0.2, probability: float = 1.0, num_classes: int | None = None):
    """Blends each row with its neighbour: `x_i <- l_i x_i + (1 - l_i) x_j`, labels alike, j = i xor 1.

    Every row draws its own `l_i ~ Beta(alpha, alpha)`, so that the two rows of a pair differ. Neighbours are on one
    device in every layout, and a random pair, because the order of the data is random.

    Args:
        alpha: 0 leaves the batch unchanged; 1 draws uniformly.
        probability: for each row.
        num_classes: to turn integer labels into one-hot rows.

    Returns:
        A transform; labels become float32 [b, num_classes], each row's sum unchanged.

    Raises:
        ConfigError: for a negative or infinite alpha, labels without classes, boxes or masks, or an odd number of rows
            on a device.

    Reference: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2.
    """
    check_probability("mixup", probability)
    check_not_negative("mixup", "alpha", alpha)

    def update(state, batch, key):
        _check_only_labels("mixup", batch)
        image = batch["image"]  # [b, h, w, c]
        label = soft("mixup", batch["label"], num_classes)  # [b, num_classes]
        _check_even("mixup", image.shape[0])
        where, which = jax.random.split(key)
        keep = jnp.ones(image.shape[0], jnp.float32)
        if alpha > 0:
            keep = row_random(lambda k, s: jax.random.beta(k, alpha, alpha, s, jnp.float32), where, (image.shape[0],))
        keep = jnp.where(chosen(which, probability, image)[:, 0, 0, 0], keep, 1.0)  # [b]
        image = _blend(image, keep[:, None, None, None])
        return state, {**batch, "image": image, "label": _blend(label, keep[:, None])}, {}

    return update


def cutmix(alpha: float = 1.0, probability: float = 1.0, num_classes: int | None = None):
    """Pastes a rectangle of each row's neighbour, and blends the labels by area: `y_i <- l_i y_i + (1 - l_i) y_j`.

    The rectangle has the image's shape, sides `sqrt(1 - r)` of the image's with `r ~ Beta(alpha, alpha)`, rounded down,
    and a centre uniform over the pixels. What reaches over the border is cut off; then `l_i` is the share of the pixels
    that row i keeps. Neighbours are j = i xor 1, as in `mixup`.

    Args:
        alpha: 0 leaves the batch unchanged; 1 draws uniformly.
        probability: for each row.
        num_classes: to turn integer labels into one-hot rows.

    Returns:
        A transform; labels become float32 [b, num_classes], each row's sum unchanged.

    Raises:
        ConfigError: for a negative or infinite alpha, labels without classes, boxes or masks, or an odd number of rows
            on a device.

    Reference: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers", equations 1 and 2.
    """
    check_probability("cutmix", probability)
    check_not_negative("cutmix", "alpha", alpha)

    def update(state, batch, key):
        _check_only_labels("cutmix", batch)
        image = batch["image"]  # [b, h, w, c]
        b, h, w, _ = image.shape
        label = soft("cutmix", batch["label"], num_classes)  # [b, num_classes]
        _check_even("cutmix", b)
        size, where, which = jax.random.split(key, 3)
        part = jnp.zeros(b, jnp.float32)
        if alpha > 0:
            part = 1 - row_random(lambda k, s: jax.random.beta(k, alpha, alpha, s, jnp.float32), size, (b,))
        sides = jnp.sqrt(part)[:, None] * jnp.asarray([h, w])[None]  # [b, 2]
        sides = jnp.floor(sides).astype(jnp.int32)
        centre = row_random(lambda k, s: jax.random.randint(k, s, 0, jnp.asarray([h, w])), where, (b, 2))  # [b, 2]
        pasted = rectangle(centre - sides // 2, sides, h, w) & chosen(which, probability, image)  # [b, h, w, 1]
        keep = 1 - pasted.mean((1, 2), dtype=jnp.float32)  # [b, 1]
        image = jnp.where(pasted, _partner(image), image)
        return state, {**batch, "image": image, "label": _blend(label, keep)}, {}

    return update


def mixup_or_cutmix(
    mixup_alpha: float = 0.8,
    cutmix_alpha: float = 1.0,
    cutmix_share: float = 0.5,
    probability: float = 1.0,
    num_classes: int | None = None,
):
    """One of `mixup` and `cutmix` for each row, never both; the recipes of DeiT draw it for a whole batch.

    Args:
        mixup_alpha: of `mixup`.
        cutmix_alpha: of `cutmix`.
        cutmix_share: probability that it is `cutmix`, 0..1.
        probability: for each row, that it is either of them.
        num_classes: to turn integer labels into one-hot rows.

    Returns:
        A transform; labels become float32 [b, num_classes], each row's sum unchanged.

    Raises:
        ConfigError: as both do.

    Reference: Touvron et al. 2021, "Training data-efficient image transformers", section 6.
    """
    check_number("mixup_or_cutmix", "cutmix_share", cutmix_share, 0, 1)
    check_probability("mixup_or_cutmix", probability)
    ways = mixup(mixup_alpha, num_classes=num_classes), cutmix(cutmix_alpha, num_classes=num_classes)

    def update(state, batch, key):
        *keys, one, which = jax.random.split(key, 4)
        mixed, cut = (way(state, batch, k)[1] for way, k in zip(ways, keys, strict=True))
        pasted, change = chosen(one, cutmix_share, batch["image"]), chosen(which, probability, batch["image"])
        plain = {**batch, "label": soft("mixup_or_cutmix", batch["label"], num_classes)}

        def pick(name):
            shape = (-1,) + (1,) * (plain[name].ndim - 1)
            new = jnp.where(pasted.reshape(shape), cut[name], mixed[name])
            return jnp.where(change.reshape(shape), new, plain[name])

        return state, {**batch, "image": pick("image"), "label": pick("label")}, {}

    return update


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

    Its share of the image's area is uniform in area_low ... area_high. Its aspect ratio, height over width, is
    log-uniform in aspect ... 1 / aspect, so that tall and wide are equally likely, among the ratios that fit into the
    image at that area. Sides are rounded to pixels, at least one, and all places are equally likely. The paper draws
    the ratio uniformly, and everything again until the rectangle fits, which makes large and long ones rarer.

    Args:
        area_low: 0..1.
        area_high: 0..1.
        aspect: in 0.01..1; 1 for squares.
        fill: value in 0..1, or "random" for uniform noise in every channel of every pixel.
        probability: for each row.

    Raises:
        ConfigError: for ranges with areas that no rectangle in the image can have.

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


def _partner(x: jax.Array) -> jax.Array:
    """The rows of x, each replaced by its neighbour i xor 1."""
    return x.reshape(x.shape[0] // 2, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def _blend(x: jax.Array, keep: jax.Array) -> jax.Array:
    """`keep x_i + (1 - keep) x_j` for each row and its neighbour."""
    return x * keep.astype(x.dtype) + _partner(x) * (1 - keep).astype(x.dtype)


def _check_only_labels(operation: str, batch: Mapping[str, Any]) -> None:
    """Refuses batches with boxes or masks, which cannot be blended, and those without a label."""
    _, *left = moving(batch)
    if left or "label" not in batch:
        what = f"cannot blend {left}" if left else "finds no label"
        raise ConfigError(
            f"config.augment: {operation} blends images with their labels, and {what} in the batch; remove it, or "
            "choose entries with config.data.features"
        )


def _check_even(operation: str, b: int) -> None:
    if b % 2:
        raise ConfigError(
            f"config.augment: {operation} blends pairs of rows, and a device has {b} rows; choose config.batch_size as "
            "a multiple of twice the number of devices"
        )


def _sides(area: jax.Array, u: jax.Array, aspect: float, h: int, w: int) -> jax.Array:
    """Height and width in pixels, int [b, 2], of rectangles of shares [b] of the area, u [b] for the aspect ratio."""
    area = jnp.maximum(area, 1 / (h * w))
    low = jnp.maximum(aspect, area * (h / w))  # the width is at most w
    high = jnp.minimum(1 / aspect, h / (w * area))  # the height is at most h
    ratio = jnp.exp(jnp.log(low) + u * (jnp.log(high) - jnp.log(low)))
    sides = jnp.sqrt(area * (h * w))[:, None] * jnp.stack([jnp.sqrt(ratio), jnp.sqrt(1 / ratio)], 1)
    return jnp.clip(jnp.round(sides).astype(jnp.int32), 1, jnp.asarray([[h, w]]))
