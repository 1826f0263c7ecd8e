"""What operations on labels, boxes and masks share."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError


def soft(operation: str, label: jax.Array, num_classes: int | None) -> jax.Array:
    """Labels as float [b, num_classes]; soft ones pass unchanged, one-hot whole numbers become float32.

    Raises:
        ConfigError: for class numbers of a data set without classes.
    """
    if label.ndim == 2:
        return label if jnp.issubdtype(label.dtype, jnp.floating) else label.astype(jnp.float32)
    return jax.nn.one_hot(label, classes(operation, num_classes), dtype=jnp.float32)


def classes(operation: str, num_classes: int | None) -> int:
    """The number of classes. Raises ConfigError where there are none."""
    if num_classes is None:
        raise ConfigError(
            f"config.augment: {operation} changes class labels, and the data set has no classes; remove it"
        )
    return num_classes


def find(operation: str, batch: Mapping[str, Any], name: str) -> Any:
    """An entry of the batch. Raises ConfigError with those that there are."""
    if name not in batch:
        raise ConfigError(
            f"config.augment: {operation} finds no {name!r} in the batch, which has {sorted(batch)}; name another "
            "entry, or add it to config.data.features"
        )
    return batch[name]
