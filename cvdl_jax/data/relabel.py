"""Classes of one data set as those of another, matched by their names: the first class of a set may be another's third.

A set may lack classes. One with examples of a class that the other set does not have is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cvdl_jax.data import load
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.data.split import Split
from cvdl_jax.errors import DataError

UNKNOWN = -1  # the class of examples that are refused


class Relabelled(Source):
    """A source whose labels are replaced.

    Args:
        base: the source.
        tables: {entry: int32 [classes of the source]}, the new class of each.
        features: with the new classes.
    """

    def __init__(self, base: Source, tables: Mapping[str, np.ndarray], features: dict[str, Feature]):
        self.base, self.tables, self.features = base, tables, features
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals

    def __len__(self) -> int:
        return len(self.base)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        examples, new = self.base.read(indices), self.tables
        return [{k: self._new(k, x) if k in new else x for k, x in example.items()} for example in examples]

    def _new(self, key: str, value: np.ndarray) -> np.ndarray:
        return changed(self.tables[key], value, self.features[key])

    def identify(self, index: int) -> str:
        """The name of the example in the source."""
        return self.base.identify(index)

    def fingerprint(self) -> str:
        """That of the source."""
        return self.base.fingerprint()


def table(theirs: Sequence[str], ours: Sequence[str]) -> np.ndarray:
    """Our class of each of theirs, int32 [theirs]; UNKNOWN where we have none of that name."""
    places = {name: i for i, name in enumerate(ours)}
    return np.asarray([places.get(name, UNKNOWN) for name in theirs], np.int32)


def renamed(new: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Labels int32 [...] by a table [classes]; what is no class of the table is UNKNOWN."""
    known = (labels >= 0) & (labels < len(new))
    return np.where(known, new[np.where(known, labels, 0)], np.int32(UNKNOWN))


def changed(new: np.ndarray, value: np.ndarray, feature: Feature) -> np.ndarray:
    """An entry by a table [classes]: class numbers [...], or 0 or 1 for each class [..., classes].

    Args:
        new: from `table`.
        value: the entry, of one example or several.
        feature: with the new classes.
    """
    if feature.kind == "label":
        return renamed(new, value)
    out = np.zeros((*value.shape[:-1], feature.num_classes), value.dtype)
    out[..., new[new >= 0]] = value[..., new >= 0]
    return out


def by_name(split: Split, features: Mapping[str, Feature], what: str) -> Split:
    """A split with its labels as ours; the split itself where they are.

    Args:
        split: of any data set.
        features: ours, as many as the split has, or some of them.
        what: the split, for messages.

    Raises:
        DataError: naming a class with examples that we do not have, or saying that the numbers of classes differ.
    """
    tables = {}
    for key, their in split.features.items():
        our = features.get(key, their)
        same = their.class_names == our.class_names and their.num_classes == our.num_classes
        if their.kind == "tokens" and not same:
            raise DataError(
                f"{what} is read by another vocabulary than the run's; name a file with the run's pieces: "
                "--config.data.text.vocabulary=FILE"
            )
        if same or their.kind not in ("label", "classes"):
            continue
        if not their.class_names or not our.class_names:
            if their.num_classes == our.num_classes:
                continue
            raise DataError(
                f"{what} has {their.num_classes} classes, the run was trained on {our.num_classes}; name a set with "
                "the same classes"
            )
        tables[key] = table(their.class_names, our.class_names)
        _refuse_unknown(split, key, their, tables[key], our.class_names, what)
    if not tables:
        return replace(split, features={**split.features, **features})
    new = {**split.features, **features}
    arrays = split.arrays and {k: changed(tables[k], x, new[k]) if k in tables else x for k, x in split.arrays.items()}
    return replace(split, source=Relabelled(split.source, tables, new), features=new, arrays=arrays)


def _refuse_unknown(split: Split, key: str, feature: Feature, new: np.ndarray, names: Sequence[str], what: str) -> None:
    unknown = np.flatnonzero(new == UNKNOWN)
    if len(unknown) and feature.shape == ():  # a class without an example here does no harm
        labels = split.arrays[key] if split.arrays is not None else load.labels(split.source)
        unknown = unknown[np.isin(unknown, labels)]
    if len(unknown):
        first = feature.class_names[unknown[0]]
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise DataError(
            f"{what} has examples of the class {first!r}{more}, which the run does not know; its classes are "
            f"{', '.join(map(str, names[:12]))}{' ...' if len(names) > 12 else ''}"
        )
