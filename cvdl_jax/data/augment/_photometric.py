"""What the operations on the values of pixels share: checks of arguments and channels, and one draw for each row."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from cvdl_jax.data.augment._rows import check_probability, chosen
from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random

COLOUR, GREY_OR_COLOUR = (3,), (1, 3)


def check_not_negative(operation: str, name: str, value: float) -> None:
    """Raises ConfigError unless 0 <= value < infinity."""
    if not 0 <= value < float("inf"):
        raise ConfigError(f"config.augment: {operation}({name}={value}) must be at least 0 and finite")


def check_interval(operation: str, low: tuple[str, float], high: tuple[str, float]) -> None:
    """Raises ConfigError unless the (name, value) of the lower end is at most that of the upper."""
    if low[1] > high[1]:
        raise ConfigError(
            f"config.augment: {operation}({low[0]}={low[1]}) must be at most {high[0]}={high[1]}; exchange them"
        )


def check_channels(operation: str, image: jax.Array, takes: tuple[int, ...], instead: str = "") -> None:
    """Refuses images [b, h, w, c] of which the operation makes no sense. Raises ConfigError."""
    if image.shape[-1] not in takes:
        needs = "3 channels (red, green, blue)" if takes == COLOUR else "1 or 3 channels (grey, or red, green, blue)"
        raise ConfigError(
            f"config.augment: {operation} needs images with {needs}, these have {image.shape[-1]}; "
            f"{instead or 'remove it from the policy'}"
        )


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
        low: of the parameter.
        high: of the parameter; equal to `low` for a constant.
        probability: for each row.
        channels: the numbers of channels that it takes; empty for any.
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
