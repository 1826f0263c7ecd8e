"""What the operations share: checks of arguments and channels, decisions and draws row by row, rectangles."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.data.schema import DEPTH
from cvdl_jax.errors import ConfigError

COLOUR, GREY_OR_COLOUR = (3,), (1, 3)  # numbers of channels


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


def check_not_negative(operation: str, name: str, value: float) -> None:
    """Raises ConfigError unless 0 <= value < infinity."""
    if not 0 <= value < float("inf"):
        raise ConfigError(f"config.augment: {operation}({name}={value}) must be at least 0 and finite")


def check_interval(operation: str, low: tuple[str, float], high: tuple[str, float]) -> None:
    """Raises ConfigError unless the lower of two (name, value) is at most the upper."""
    if low[1] > high[1]:
        raise ConfigError(
            f"config.augment: {operation}({low[0]}={low[1]}) must be at most {high[0]}={high[1]}; exchange them"
        )


def check_channels(operation: str, image: jax.Array, takes: tuple[int, ...], instead: str = "") -> None:
    """Refuses images [b, h, w, c] with a number of channels not in `takes`. Raises ConfigError."""
    if image.shape[-1] not in takes:
        needs = "3 channels (red, green, blue)" if takes == COLOUR else "1 or 3 channels (grey, or red, green, blue)"
        raise ConfigError(
            f"config.augment: {operation} needs images with {needs}, these have {image.shape[-1]}; "
            f"{instead or 'remove it from the policy'}"
        )


def chosen(key: jax.Array, probability: float, image: jax.Array) -> jax.Array:
    """Which rows an operation applies to: bool [b, 1, 1, 1], true with the given probability.

    Probability 0 chooses none and 1 all, because uniform numbers are in [0, 1).
    """
    u = row_random(jax.random.uniform, key, (image.shape[0],))  # [b]
    return (u < probability)[:, None, None, None]


def chosen_rows(key: jax.Array, probability: float, image: jax.Array) -> jax.Array | None:
    """`chosen` as bool [b]; None where it is all rows, so that nothing is drawn."""
    return chosen(key, probability, image)[:, 0, 0, 0] if probability < 1 else None


def on_images(
    operation: str,
    apply: Callable[[jax.Array, jax.Array], jax.Array],
    low: float,
    high: float,
    probability: float,
    channels: tuple[int, ...] = (),
) -> Callable:
    """The transform of an operation that has one uniform parameter for each image.

    Args:
        operation: its name, for messages.
        apply: (image [b, h, w, c], parameter [b]) -> [b, h, w, c].
        low: smallest parameter.
        high: largest parameter; equal to `low` for a constant.
        probability: for each row.
        channels: the numbers of channels that the operation takes; empty for any.
    """
    check_probability(operation, probability)

    def update(state, batch, key):
        image = batch["image"]  # [b, h, w, c]
        if channels:
            check_channels(operation, image, channels)
        where, which = jax.random.split(key)
        value = row_random(lambda k, s: jax.random.uniform(k, s, image.dtype, low, high), where, image.shape[:1])
        changed = jnp.where(chosen(which, probability, image), apply(image, value), image)
        return state, {**batch, "image": changed}, {}

    return update


def rectangle(corner: jax.Array, sides: jax.Array, h: int, w: int) -> jax.Array:
    """The pixels of each image that lie in its rectangle.

    Args:
        corner: int [b, 2], the first row and column, which may lie outside the image.
        sides: int [b, 2], numbers of rows and columns.
        h: rows of the image.
        w: columns of the image.

    Returns:
        bool [b, h, w, 1].
    """
    (top, left), (bottom, right) = corner.T[..., None], (corner + sides).T[..., None]  # [b, 1]
    y, x = jnp.arange(h)[None], jnp.arange(w)[None]  # [1, h], [1, w]
    return (((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None])[..., None]


def is_boxes(name: str) -> bool:
    """Whether an entry of this name holds boxes [b, ..., 4]."""
    return name.split("/")[-1] == "bbox"


def moving(batch: Mapping[str, Any]) -> list[str]:
    """The entries that a geometric operation moves: the image, boxes [b, ..., 4], masks and depth [b, h, w, ...]."""
    maps = [k for k, v in batch.items() if (k.endswith("mask") or k == DEPTH) and v.ndim > 2]
    return ["image", *(k for k in batch if is_boxes(k) or k in maps)]
