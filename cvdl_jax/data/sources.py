"""The interface of a source of examples, and the syntax of splits; `catalogue.py` finds the source of a name."""

import abc
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import DataError, nearest


class Interval(NamedTuple):
    """Examples start ... stop - 1 of a whole split."""

    split: str
    start: int
    stop: int


class Source(abc.ABC):
    """One split of one data set with random access.

    Attributes:
        name: of the data set.
        version: of the data set; empty if it has none.
        split: as the user wrote it, for example `train[90%:]`.
        intervals: the examples of whole splits that it stands for.
        features: {flat name: Feature}.
        location: the folder read; empty for generated sets.
    """

    name: str
    version: str
    split: str
    intervals: list[Interval]
    features: dict[str, Feature]
    location: str

    @abc.abstractmethod
    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples {flat name: array, or bytes for texts}. Raises DataError naming what cannot be read."""

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """A hash of the data, the same on every machine that has them."""

    def former_fingerprint(self) -> str:
        """The hash that runs of before have of these data, where it was made otherwise."""
        return self.fingerprint()

    def cache_key(self) -> str:
        """A hash of the data that decoded arrays are kept under on this machine."""
        return self.fingerprint()

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of the examples at the given places; a source that can spares itself the images."""
        return [{name: row[name] for name in names} for row in self.read(indices)]

    def labels(self) -> np.ndarray | None:
        """The classes of all examples, int [n], where they are known without reading one; else None."""
        return None

    def whole_labels(self, split: str, entry: str = "label") -> np.ndarray | None:
        """The classes of a whole split where its examples may stand in their order; None where they do not.

        Args:
            split: a whole split of the set.
            entry: the class label.
        """
        return None

    def __len__(self) -> int:
        return sum(stop - start for _, start, stop in self.intervals)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.read([index])[0]

    def identify(self, index: int) -> str:
        """A stable name of an example: `train/17`, its place in the whole split."""
        ((split, place),) = places(self.intervals, [index])
        return f"{split}/{place}"


class Renamed(Source):
    """A source with one entry under another name; what had that name before is left out.

    Args:
        base: the source.
        old: its name of the entry.
        new: the other name.
    """

    def __init__(self, base: Source, old: str, new: str):
        self.base, self._old, self._new = base, old, new
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals
        self.features = {new if k == old else k: f for k, f in base.features.items() if k != new or old == new}

    def __len__(self) -> int:
        return len(self.base)

    def _renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {self._new if k == self._old else k: x for k, x in row.items() if k != self._new}

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return [self._renamed(row) for row in self.base.read(indices)]

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; see `Source`."""
        theirs = [self._old if name == self._new else name for name in names]
        return [self._renamed(row) for row in self.base.read_entries(indices, theirs)]

    def whole_labels(self, split: str, entry: str = "label") -> np.ndarray | None:
        """As the source; see `Source`."""
        return self.base.whole_labels(split, self._old if entry == self._new else entry)

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
        return f"{self.base.cache_key()} {self._old}"


class Ids(Sequence):
    """The names of a source's examples, made on demand."""

    def __init__(self, source: Source):
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._source.identify(index)


def data_folder(data_dir: str = "") -> Path:
    """The folder of TFDS data sets: the argument, or TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets").expanduser()


def parse_split(split: str, sizes: Mapping[str, int], what: str, instead: str = "") -> list[Interval]:
    """Translates a split in TFDS's syntax.

    Args:
        split: for example `train[:100]+test`; `all` is every split.
        sizes: {whole split: number of examples}.
        what: the data set, for the error.
        instead: what to type where it has no such split, for the error.

    Returns:
        Non-empty intervals, in the order asked for.

    Raises:
        DataError: if a split is unknown, malformed, empty or asks for an example twice.
    """
    import tensorflow_datasets as tfds

    infos = tfds.core.splits.SplitDict([tfds.core.SplitInfo(name, [size], 0) for name, size in sizes.items()])
    for part in split.split("+"):
        base = part.split("[")[0].strip()
        if base not in sizes and base != "all":
            raise DataError(f"{what} has no split {base!r} (asked for: {split!r}); {nearest(base, sizes)}{instead}")
    try:
        absolute = tfds.core.ReadInstruction.from_spec(split).to_absolute(infos)
    except (ValueError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[-1]
        raise DataError(
            f"split {split!r} of {what} cannot be read ({reason}); its splits: {_describe(sizes)}; "
            "write for example train[90%:] or train[:1000]"
        ) from error
    intervals = [Interval(a.splitname, a.from_ or 0, sizes[a.splitname] if a.to is None else a.to) for a in absolute]
    intervals = [i for i in intervals if i.stop > i.start]
    if not intervals:
        raise DataError(f"split {split!r} of {what} is empty; its splits: {_describe(sizes)}")
    for k, first in enumerate(intervals):
        check_disjoint([first], intervals[k + 1 :], what, split, split)
    return intervals


def check_disjoint(first: list[Interval], second: list[Interval], what: str, name: str, other: str) -> None:
    """Refuses two splits that share examples.

    Raises:
        DataError: naming both splits and the shared examples.
    """
    for split, start, stop in first:
        for split2, start2, stop2 in second:
            low, high = max(start, start2), min(stop, stop2)
            if split == split2 and low < high:
                raise DataError(
                    f"{what}: {name!r} and {other!r} share examples {low} to {high - 1} of {split!r}; "
                    "choose disjoint ranges, for example train[:90%] and train[90%:]"
                )


def _describe(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({size} examples)" for name, size in sizes.items()) or "none"


def places(intervals: Sequence[Interval], indices: Sequence[int]) -> list[tuple[str, int]]:
    """(whole split, place in it) of each index into the joined intervals. Raises IndexError."""
    where = []
    for index in indices:
        rest = index
        for split, start, stop in intervals:
            if 0 <= rest < stop - start:
                where.append((split, start + rest))
                break
            rest -= stop - start
        else:
            raise IndexError(f"example {index} of {sum(stop - start for _, start, stop in intervals)}")
    return where
