"""Which numbers a configuration may hold: one table of ranges by argument name, and one message."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cvdl_jax.errors import ConfigError


class Range(NamedTuple):
    """Numbers that are accepted, in words and as a predicate that is False for NaN."""

    words: str
    holds: Callable[[float], bool]


SHARE = Range("in [0, 1)", lambda x: 0 <= x < 1)
INSIDE = Range("in (0, 1)", lambda x: 0 < x < 1)
UP_TO_ONE = Range("in (0, 1]", lambda x: 0 < x <= 1)
NOT_NEGATIVE = Range("0 or more, and finite", lambda x: 0 <= x < math.inf)
POSITIVE = Range("positive and finite", lambda x: 0 < x < math.inf)
AT_LEAST_ONE = Range("1 or more", lambda x: 1 <= x < math.inf)


def check(values: Mapping[str, Any], ranges: Mapping[str, Range], path: str) -> None:
    """Refuses numbers outside their ranges.

    Args:
        values: {argument: value}; what is no number (None, a word, True) or not in `ranges` passes.
        ranges: {argument: Range}.
        path: the section's name for messages, such as "config.optim".

    Raises:
        ConfigError: naming the argument, its value and the range.
    """
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and name in ranges and not ranges[name].holds(value):
            raise ConfigError(f"{path}.{name}={value} must be {ranges[name].words}")
