"""What the operations on images share: a check of the image, parameters per image, and blending."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.ops.value_checks import between, or_nan


def check_image(x: Any, operation: str, channels: tuple[int, ...] = ()) -> jax.Array:
    """Refuses images that are not a batch of floats with an accepted number of channels.

    Args:
        x: float [b, h, w, c].
        operation: for the message.
        channels: the numbers of channels that the operation takes; empty for any.

    Returns:
        x.

    Raises:
        ValueError: naming the operation, what it got and what it expects.
    """
    x = jnp.asarray(x)
    if x.ndim != 4 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"{operation} takes images [b, h, w, c] of floats in 0..1, got {x.dtype} {list(x.shape)}; divide bytes by "
            "255, and add an axis to a single image"
        )
    if channels and x.shape[-1] not in channels:
        takes = " or ".join(map(str, channels))
        raise ValueError(
            f"{operation} takes images with {takes} channels (3: red, green, blue), got {x.shape[-1]} channels"
        )
    return x


def per_image(name: str, value: Any, x: jax.Array, low: float = 0.0, high: float = float("inf")) -> jax.Array:
    """A parameter of every image, ready to broadcast over pixels.

    Args:
        name: of the parameter, for the message.
        value: one number, or one per image [b].
        x: images [b, h, w, c].
        low: smallest value allowed.
        high: largest value allowed.

    Returns:
        [b, 1, 1, 1] in the type of x; inside jit, NaN where the value is outside its range.

    Raises:
        ValueError: for a known value outside its range, or a shape that is not [b].
    """
    value = jnp.asarray(value)
    if value.shape not in ((), x.shape[:1]):
        raise ValueError(f"{name} must be one number or one per image [{x.shape[0]}], got shape {list(value.shape)}")
    good = between(name, value, low, high)
    rows = jnp.broadcast_to(or_nan(good, value.astype(x.dtype)), x.shape[:1])
    return rows[:, None, None, None]


def saturate(x: jax.Array) -> jax.Array:
    """Values clipped to 0..1, in any shape."""
    return jnp.clip(x, 0, 1)


def blend(other: jax.Array, x: jax.Array, factor: jax.Array) -> jax.Array:
    """`factor x + (1 - factor) other`, saturated: from `other` at 0 over `x` at 1 to beyond. Shapes broadcast."""
    return saturate(factor * x + (1 - factor) * other)
