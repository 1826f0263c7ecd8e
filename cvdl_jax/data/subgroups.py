"""The groups that an entry of a data set puts its examples in: an identity, a place, a camera, whatever is named there.

An entry can be one that the run does not train on; it is read from the source, as it is stored.
"""

from collections.abc import Sequence

import numpy as np

from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError, nearest

ABSENT = "(absent)"  # the group of examples with a negative label, or an empty text
_CHUNK = 4096  # examples read at a time


def able(source: Source) -> list[str]:
    """The entries that have one class, one text or one whole number for each example."""
    return [name for name, feature in source.features.items() if _is_group(feature)]


def _is_group(feature: Feature) -> bool:
    whole = feature.kind == "tensor" and (feature.dtype == "bool" or "int" in feature.dtype)
    return feature.shape == () and (feature.kind in ("label", "text") or whole)


def check(source: Source, entry: str, path: str) -> None:
    """Refuses an entry that makes no groups.

    Args:
        source: a split of the data set.
        entry: its name.
        path: of the setting, for messages.

    Raises:
        ConfigError: with the nearest entry that does.
    """
    known = able(source)
    if entry not in known:
        what = "has no single class, text or whole number" if entry in source.features else "is no entry"
        raise ConfigError(f"{path}: {entry!r} {what} of an example of {source.name}; {nearest(entry, known)}")


def names_of(source: Source, entry: str, n: int, path: str) -> np.ndarray:
    """The name of the group of each of the first examples.

    Args:
        source: a split of the data set.
        entry: a class (its name, or its number where it has none), a text or a whole number.
        n: examples.
        path: of the setting, for messages.

    Returns:
        str [n].

    Raises:
        ConfigError: see `check`.
    """
    check(source, entry, path)
    rows = [source.read_entries(range(s, min(s + _CHUNK, n)), [entry]) for s in range(0, n, _CHUNK)]
    names = source.features[entry].class_names
    kind = source.features[entry].kind
    return np.asarray([_name(row[entry], kind, names) for part in rows for row in part], str)


def _name(value: object, kind: str, names: Sequence[str]) -> str:
    if kind == "text":
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        return text or ABSENT
    number = int(value)
    if kind == "label" and number < 0:
        return ABSENT
    return str(names[number]) if names else str(number)
