"""Grid search: every combination of the listed values."""

import itertools
from collections.abc import Mapping
from typing import Any

from cvdl_jax.errors import ConfigError


def points(grid: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    """All combinations of the values; those of the last key change fastest.

    Args:
        grid: {dotted key: its values}.
        where: name for messages.

    Returns:
        One {key: value} per combination.

    Raises:
        ConfigError: for a key without values, or one that lists a value twice.
    """
    for key, values in grid.items():
        if not isinstance(values, tuple | list) or not values:
            raise ConfigError(f"{where}: {key}={values!r} must be a list of values, such as [0.01, 0.1]")
        for i, value in enumerate(values):
            if any(type(value) is type(other) and value == other for other in values[:i]):
                raise ConfigError(f"{where}: {key} lists {value!r} twice")
    return [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
