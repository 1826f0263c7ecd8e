"""Pixels as numbers: uint8 to 0..1, and normalisation by the statistics of the training data."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.errors import ConfigError


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 pixels as floats in 0..1; float pixels are in 0..1 already and pass unchanged.

    Args:
        image: [..., h, w, c], uint8 or float.

    Returns:
        float32 [..., h, w, c], or float64 if JAX computes in it.
    """
    if image.dtype == jnp.uint8:
        return image.astype(jnp.result_type(float)) / 255
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"pixels are uint8 0..255 or float 0..1, not {image.dtype}")
    return image


def normalise(image: jax.Array, mean: Sequence = (), std: Sequence = (), per_image: bool = False) -> jax.Array:
    """Subtracts the mean and divides by the standard deviation of each channel, of each pixel, or of each image.

    Args:
        image: float [..., c]: pixels in 0..1, or features.
        mean: one number per channel, or one for all; or one per pixel, nested [h][w][c]; empty for 0.
        std: like `mean`; empty for 1.
        per_image: by the mean and deviation of all N values of each image itself, the deviation taken as at least
            1 / sqrt(N), so that a constant image becomes 0 and noise is not blown up; mean and std must be empty.

    Returns:
        float [..., c].

    Raises:
        ConfigError: if the statistics do not fit the image, or a deviation is not positive.
    """
    if per_image:
        if len(mean) or len(std):
            raise ConfigError("config.normalise: per_image takes mean and std of each image; leave these two out")
        return _each_image(image)
    mean, std = _statistics("mean", mean, image), _statistics("std", std, image)
    if std is not None and (std <= 0).any():
        raise ConfigError(f"config.normalise.std must be positive, got {std.min():g}; omit it for no scaling")
    image = image if mean is None else image - jnp.asarray(mean, image.dtype)
    return image if std is None else image / jnp.asarray(std, image.dtype)


def _each_image(image: jax.Array) -> jax.Array:
    """Images [..., h, w, c], or features [b, d], each by its own mean and deviation."""
    axes = tuple(range(image.ndim - 3 if image.ndim > 2 else 1, image.ndim))
    size = math.prod(image.shape[axis] for axis in axes)
    centred = image - image.mean(axes, keepdims=True)
    # The root of the larger one, whose gradient is finite for a constant image, too.
    return centred / jnp.sqrt(jnp.maximum(jnp.square(centred).mean(axes, keepdims=True), 1 / size))


def _statistics(name: str, values: Sequence, image: jax.Array) -> np.ndarray | None:
    """Statistics with as many axes as the image; None for empty ones."""
    if not len(values):
        return None
    array, channels = np.asarray(values, np.float64), image.shape[-1]
    if array.ndim == 1 and len(array) not in (1, channels):
        raise ConfigError(
            f"config.normalise.{name} has {len(array)} numbers, the image has {channels} channels; give {channels} or 1"
        )
    if array.ndim > 1 and array.shape != image.shape[image.ndim - array.ndim :]:
        raise ConfigError(
            f"config.normalise.{name} has the shape {array.shape}, the image {image.shape[image.ndim - array.ndim :]}"
        )
    return array.reshape((1,) * (image.ndim - array.ndim) + array.shape)
