"""What the builders with arguments share: the check of their numbers, the name of a set by its settings, its splits."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from cvdl_jax.errors import ConfigError

SPLIT_LIMITS = (1, 10**7)  # examples of a split


def named(base: str, configure: Callable, values: Mapping[str, Any], limits: Mapping[str, tuple[int, int]]) -> str:
    """The name of a builder config: its settings that differ from the defaults, "size96_objects8", or "default".

    Args:
        base: the data set's name, for messages.
        configure: the function whose arguments, all with a default, the settings are.
        values: all settings, in its order.
        limits: the least and the largest value of some of them.

    Raises:
        ConfigError: for a number out of its range.
    """
    for key, (low, high) in limits.items():
        if not low <= values[key] <= high:
            raise ConfigError(f"config.data.name: {base}({key}={values[key]}) must be between {low} and {high}")
    defaults = dict(zip(values, configure.__defaults__, strict=True))
    return "_".join(f"{key}{value}" for key, value in values.items() if value != defaults[key]) or "default"


class Drawn:
    """For builders whose `_examples(split)` yields the examples of each of `splits`; stands before TFDS's base class.

    Attributes:
        splits: their names; the settings of the builder config say how many examples each has.
    """

    splits: ClassVar[Iterable[str]]

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
        return {split: self._examples(split) for split in self.splits}

    def _generate_examples(self) -> Iterator:
        raise NotImplementedError("_split_generators returns the generators")
