"""Pixels as numbers: uint8 to 0..1, and normalisation by the statistics of the training data."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 pixels as floats in 0..1; float pixels are in 0..1 already and pass unchanged.

    Args:
        image: [..., h, w, c], uint8 or float.

    Returns:
        float32 [..., h, w, c]; float64 where JAX computes in it.
    """
    if image.dtype == jnp.uint8:
        return image.astype(jnp.result_type(float)) / 255
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"pixels are uint8 0..255 or float 0..1, not {image.dtype}")
    return image


def normalise(image: jax.Array, mean: Sequence[float] = (), std: Sequence[float] = ()) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation of each channel.

    Args:
        image: float [..., c] in 0..1.
        mean: one number per channel, or one for all; empty for 0.
        std: one number per channel, or one for all; empty for 1.

    Returns:
        float [..., c].

    Raises:
        ConfigError: if the statistics do not fit the channels, or a deviation is not positive.
    """
    channels = image.shape[-1]
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (0, 1, channels):
            raise ConfigError(
                f"config.normalise.{name} has {len(values)} numbers, the image has {channels} channels; "
                f"give {channels} or 1"
            )
    if any(s <= 0 for s in std):
        raise ConfigError(f"config.normalise.std must be positive, got {tuple(std)}; omit it for no scaling")
    shape = (1,) * (image.ndim - 1) + (-1,)
    if len(mean):
        image = image - jnp.asarray(mean, image.dtype).reshape(shape)
    return image / jnp.asarray(std, image.dtype).reshape(shape) if len(std) else image
