"""Operations that blend examples and their labels."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._rows import check_probability, chosen, moving
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
        ConfigError: for a negative alpha, labels without classes, boxes or masks, or an odd number of rows on a device.

    Reference: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", section 2.
    """
    check_probability("mixup", probability)
    if alpha < 0:
        raise ConfigError(f"config.augment: mixup(alpha={alpha}) must be 0 or more")

    def update(state, batch, key):
        _check_only_labels("mixup", batch)
        image = batch["image"]  # [b, h, w, c]
        label = _soft("mixup", batch["label"], num_classes)  # [b, num_classes]
        _check_even("mixup", image.shape[0])
        where, which = jax.random.split(key)
        keep = jnp.ones(image.shape[0], jnp.float32)
        if alpha > 0:
            keep = row_random(lambda k, s: jax.random.beta(k, alpha, alpha, s, jnp.float32), where, (image.shape[0],))
        keep = jnp.where(chosen(which, probability, image)[:, 0, 0, 0], keep, 1.0)  # [b]
        image = _blend(image, keep[:, None, None, None])
        return state, {**batch, "image": image, "label": _blend(label, keep[:, None])}, {}

    return update


def _blend(x: jax.Array, keep: jax.Array) -> jax.Array:
    pairs = x.reshape(x.shape[0] // 2, 2, *x.shape[1:])  # [b / 2, 2, ...]
    partner = pairs[:, ::-1].reshape(x.shape)
    return x * keep.astype(x.dtype) + partner * (1 - keep).astype(x.dtype)


def _soft(operation: str, label: jax.Array, num_classes: int | None) -> jax.Array:
    """Labels as float32 [b, num_classes]; soft ones pass unchanged."""
    if label.ndim == 2:
        return label
    if num_classes is None:
        raise ConfigError(f"config.augment: {operation} mixes class labels, and the data set has no classes; remove it")
    return jax.nn.one_hot(label, num_classes, dtype=jnp.float32)


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
