"""Which classes an example has, for multi-label classification: a list of any length becomes 0 or 1 for each class."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError, DataError

LABEL = "label"


class Presence(Source):
    """A source whose entry "label" says of each class whether the example has it, float32 [num_classes].

    The entry with the classes is left out, and so is what stands beside it, such as the boxes of objects.

    Args:
        base: the source.
        entry: with the classes of each example, int [n] with any n, such as "objects/label".
    """

    def __init__(self, base: Source, entry: str):
        self.base, self.entry = base, entry
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals
        classes, prefix = base.features[entry], entry.rpartition("/")[0]
        left = {k: f for k, f in base.features.items() if k != entry and not (prefix and k.startswith(f"{prefix}/"))}
        names, count = classes.class_names, classes.num_classes
        self.features = {**left, LABEL: Feature("classes", (count,), "float32", count, names)}

    def __len__(self) -> int:
        return len(self.base)

    def _row(self, row: Mapping[str, Any], index: int) -> dict[str, Any]:
        out = {name: row[name] for name in self.features if name in row and name != LABEL}
        if self.entry in row:
            classes, count = np.asarray(row[self.entry], np.int64), self.features[LABEL].num_classes
            wrong = classes[(classes < 0) | (classes >= count)]
            if wrong.size:
                raise DataError(
                    f"example {self.identify(index)} of {self.name}: {self.entry!r} holds {wrong[0]}, outside 0 to "
                    f"{count - 1}; choose a split with labels"
                )
            out[LABEL] = np.isin(np.arange(count), classes).astype(np.float32)
        return out

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return [self._row(row, i) for row, i in zip(self.base.read(indices), indices, strict=True)]

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; see `Source`."""
        theirs = [self.entry if name == LABEL else name for name in names]
        return [self._row(row, i) for row, i in zip(self.base.read_entries(indices, theirs), indices, strict=True)]

    def identify(self, index: int) -> str:
        """The name of the example in the source."""
        return self.base.identify(index)

    def fingerprint(self) -> str:
        """That of the source: the configuration says which entry is meant."""
        return self.base.fingerprint()

    def former_fingerprint(self) -> str:
        """That of the source."""
        return self.base.former_fingerprint()

    def cache_key(self) -> str:
        """That of the source, and the entry's name."""
        return f"{self.base.cache_key()} classes of {self.entry}"


def present(source: Source, entry: str) -> Source:
    """The source with the classes of an entry as its label; itself for "".

    Raises:
        ConfigError: if there is no such entry, or it is no list of classes.
    """
    if not entry:
        return source
    feature = source.features.get(entry)
    if feature is None or feature.kind != "label" or len(feature.shape) != 1 or not feature.num_classes:
        able = [k for k, f in source.features.items() if f.kind == "label" and len(f.shape) == 1 and f.num_classes]
        what = "is not an entry of" if feature is None else f"is a {feature.kind} of shape {feature.shape} in"
        raise ConfigError(
            f"config.data.label_set={entry!r} {what} {source.name}; its lists of classes: {', '.join(able) or 'none'}"
        )
    return Presence(source, entry)
