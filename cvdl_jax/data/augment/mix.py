"""Operations that blend examples and their labels."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._photometric import check_not_negative
from cvdl_jax.data.augment._regions import rectangle
from cvdl_jax.data.augment._rows import check_probability, chosen, moving
from cvdl_jax.data.augment._truth import soft
from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random


def mixup(alpha: float = 0.2, probability: float = 1.0, num_classes: int | None = None):
    """Blends each row with its neighbour: `x_i <- l_i x_i + (1 - l_i) x_j`, labels alike, j = i xor 1.

    Every row draws its own `l_i ~ Beta(alpha, alpha)`, so that the two rows of a pair differ. Neighbours are on one
    device in every layout; the order of the data is random already, so they are a random pair.

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
    and a centre uniform over the pixels. What reaches over the border is cut off, and `l_i` is the share of the pixels
    that are left of row i, counted after that. Neighbours are j = i xor 1, as in `mixup`.

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


def _partner(x: jax.Array) -> jax.Array:
    """Row i xor 1 in place of row i."""
    return x.reshape(x.shape[0] // 2, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def _blend(x: jax.Array, keep: jax.Array) -> jax.Array:
    return x * keep.astype(x.dtype) + _partner(x) * (1 - keep).astype(x.dtype)


def _check_only_labels(operation: str, batch: Mapping[str, Any]) -> None:
    """Refuses batches whose boxes or masks would not be blended, and those without a label."""
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
