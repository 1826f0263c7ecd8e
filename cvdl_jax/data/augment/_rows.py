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


def check_number(operation: str, name: str, value: float, low: float, high: float) -> None:
    """Raises ConfigError unless low <= value <= high."""
    if not low <= value <= high:
        raise ConfigError(f"config.augment: {operation}({name}={value}) must be between {low:g} and {high:g}")


def chosen(key: jax.Array, probability: float, image: jax.Array) -> jax.Array:
    """Which rows an operation applies to: bool [b, 1, 1, 1], true with the given probability.

    Never for 0 and always for 1, because uniform numbers are in [0, 1).
    """
    u = row_random(jax.random.uniform, key, (image.shape[0],))  # [b]
    return (u < probability)[:, None, None, None]


def chosen_rows(key: jax.Array, probability: float, image: jax.Array) -> jax.Array | None:
    """The same as bool [b]; None where it is all rows, so that nothing is drawn."""
    return chosen(key, probability, image)[:, 0, 0, 0] if probability < 1 else None


def is_boxes(name: str) -> bool:
    """Whether an entry of this name holds boxes [b, ..., 4]."""
    return name.split("/")[-1] == "bbox"


def moving(batch: Mapping[str, Any]) -> list[str]:
    """The entries that a geometric operation moves: the image, boxes [b, ..., 4] and masks [b, h, w, ...]."""
    return ["image", *(k for k, v in batch.items() if is_boxes(k) or (k.endswith("mask") and v.ndim > 2))]
