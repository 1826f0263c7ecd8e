"""Helpers of the operations: checks of arguments, and decisions row by row."""

from collections.abc import Mapping
from typing import Any

import jax

from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random


def check_probability(operation: str, value: float) -> None:
    """Raises ConfigError unless 0 <= value <= 1."""
    if not 0 <= value <= 1:
        raise ConfigError(f"config.augment: {operation}(probability={value}) must be between 0 and 1")


def check_size(operation: str, name: str, value: int, least: int = 1) -> None:
    """Raises ConfigError unless value >= least."""
    if value < least:
        raise ConfigError(f"config.augment: {operation}({name}={value}) must be at least {least}")


def chosen(key: jax.Array, probability: float, image: jax.Array) -> jax.Array:
    """Which rows an operation applies to: bool [b, 1, 1, 1], true with the given probability.

    Never for 0 and always for 1, because uniform numbers are in [0, 1).
    """
    u = row_random(jax.random.uniform, key, (image.shape[0],))  # [b]
    return (u < probability)[:, None, None, None]


def moving(batch: Mapping[str, Any]) -> list[str]:
    """The entries that a geometric operation moves: the image, boxes [b, ..., 4] and masks [b, h, w, ...]."""
    boxes_and_masks = [k for k, v in batch.items() if k.split("/")[-1] == "bbox" or (k.endswith("mask") and v.ndim > 2)]
    return ["image", *boxes_and_masks]


def check_only_image_moves(operation: str, batch: Mapping[str, Any]) -> None:
    """Refuses a geometric operation where boxes or masks of the batch would stay behind. Raises ConfigError."""
    _, *left = moving(batch)
    if left:
        raise ConfigError(
            f"config.augment: {operation} would move the image but not {left}; remove it from the policy, or leave "
            "them out with config.data.features"
        )
