"""Images listed in a table: `csv:/path/labels.csv`, with the class of each image, or the classes, any number of them.

The first row names the columns: `file` (relative to the table), `label` (one class) or `labels` (classes with | between
them, or none) or both, and perhaps `split` (`train`, `validation`, `test` or other words); without it everything is the
split `train`. Other columns are left out with a word. Classes are the sorted names of all splits. For `labels`, set
`config.data.label_set = "labels"`.
"""

import copy
import csv
import hashlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.data.digests import Digests, digests, shown
from cvdl_jax.data.folder import WORDS, canonical_split
from cvdl_jax.data.image_files import common_size, read_image
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source, parse_split, places
from cvdl_jax.errors import DataError, nearest

_EDGE = 1 << 12  # bytes at both ends of a file that are always read for the fingerprint
BETWEEN = "|"
COLUMNS = ("file", "label", "labels", "split")


class Row(NamedTuple):
    """An image of the table: its file, its class (None without such a column) and its classes."""

    file: Path
    label: str | None
    labels: tuple[str, ...]


class ListedSource(Source):
    """A split of the images of a table.

    Args:
        path: of the CSV file, in UTF-8.
        split: in TFDS's syntax.
        skip_bad: whether images that cannot be read are dealt with elsewhere; else the first look refuses them.

    Raises:
        DataError: naming the line of the table, and what is wrong there.
    """

    def __init__(self, path: str, split: str, skip_bad: bool = False):
        self._table = Path(path).expanduser()
        self._rows, columns = _read(self._table)
        rows = [row for part in self._rows.values() for row in part]
        self.name, self.version, self.split = f"csv:{shown(self._table.name)}", "", split
        self.location = str(self._table.parent)
        self.intervals = self._intervals(split)
        self.features = {"image": Feature("image", (*common_size([row.file for row in rows], skip_bad), 3), "uint8")}
        known = {"label": {row.label for row in rows}, "labels": {name for row in rows for name in row.labels}}
        self._numbers: dict[str, dict[str, int]] = {}  # of the classes of a column
        for column, shape in (("label", ()), ("labels", (None,))):
            if column in columns:
                names = sorted(known[column])
                self._numbers[column] = {name: i for i, name in enumerate(names)}
                self.features[column] = Feature("label", shape, "int32", len(names), tuple(names))
        self._digests: Digests | None = None

    def sibling(self, split: str) -> "ListedSource":
        """Another split of the table, which is not read again."""
        other = copy.copy(self)
        other.split, other.intervals, other._digests = split, self._intervals(split), None
        return other

    def _intervals(self, split: str) -> list[Interval]:
        sizes = {part: len(rows) for part, rows in self._rows.items()}
        return parse_split(canonical_split(split, sizes), sizes, f"table {shown(self._table)}")

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return self.read_entries(indices, list(self.features))

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; labels need no file."""
        return [
            {name: self._entry(self._rows[s][i], name) for name in names} for s, i in places(self.intervals, indices)
        ]

    def _entry(self, row: Row, name: str) -> np.ndarray:
        if name == "image":
            return read_image(row.file)
        number = self._numbers[name]
        return np.int32(number[row.label]) if name == "label" else np.asarray([number[k] for k in row.labels], np.int32)

    def labels(self) -> np.ndarray | None:
        """The classes of all examples, int32 [n], where each has one; see `Source`."""
        return self._classes([row for s, start, stop in self.intervals for row in self._rows[s][start:stop]])

    def whole_labels(self, split: str, entry: str = "label") -> np.ndarray | None:
        """The classes of a whole split, which may stand in their order; see `Source`."""
        return self._classes(self._rows[split]) if entry == "label" else None

    def _classes(self, rows: Sequence[Row]) -> np.ndarray | None:
        return np.asarray([self._entry(row, "label") for row in rows], np.int32) if "label" in self.features else None

    def identify(self, index: int) -> str:
        """The path of the image, as below the folder of the table."""
        ((split, place),) = places(self.intervals, [index])
        return shown(os.path.relpath(self._rows[split][place].file, self._table.parent))

    def fingerprint(self) -> str:
        """A hash of the names, contents and classes of its whole splits, in the order of the table."""
        rows = [row for split in sorted({i.split for i in self.intervals}) for row in self._rows[split]]
        if self._digests is None:
            self._digests = digests(self._table, [row.file for row in rows], _EDGE)
        digest = hashlib.sha256()
        for row, text in zip(rows, self._digests.of, strict=True):
            name = os.path.relpath(row.file, self._table.parent)
            digest.update(os.fsencode(name) + f" {text} {row.label!r} {row.labels!r}\n".encode())
        return digest.hexdigest()

    def cache_key(self) -> str:
        """The fingerprint, with the times of files of which it knows samples."""
        return self.fingerprint() + self._digests.written


def _read(table: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """{split: its rows}, in the order of the table, and the columns that it has of COLUMNS."""
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, strict=True)
            columns = _columns(table, [name.strip() for name in lines.fieldnames or ()])
            lines.fieldnames = columns
            splits, seen = {}, {}
            for line in lines:
                row = _row(table, lines.line_num, line, seen)
                split = (line.get("split") or "").strip() or "train"
                splits.setdefault(WORDS.get(split.lower(), split), []).append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"the table {shown(table)} cannot be read ({why}); it must be a CSV file in UTF-8") from error
    if not splits:
        raise DataError(f"the table {shown(table)} lists no image")
    missing = [file for file in seen if not os.path.isfile(file)]
    if missing:
        first = shown(missing[0])
        raise DataError(
            f"{len(missing)} of {len(seen)} images of the table {shown(table)} do not exist, the first on line "
            f"{seen[missing[0]]}: {first}; paths are relative to {shown(table.absolute().parent)}"
        )
    return splits, [name for name in columns if name in COLUMNS]


def _columns(table: Path, names: list[str]) -> list[str]:
    """The columns of a table, checked."""
    for name in COLUMNS:
        if names.count(name) > 1:
            raise DataError(f"the table {shown(table)} has {names.count(name)} columns called {name!r}")
    if "file" not in names or not {"label", "labels"} & {*names}:
        lacking = "label" if "file" in names else "file"
        raise DataError(
            f"the table {shown(table)} must have a column 'file', and 'label' (one class) or 'labels' (classes with | "
            f"between them), named in its first line; {nearest(lacking, names)}"
        )
    others = [name for name in names if name not in COLUMNS]
    if others:
        warnings.warn(f"{shown(table)}: columns left out: {', '.join(others)}", stacklevel=4)
    return names


def _row(table: Path, number: int, line: dict[str | None, Any], seen: dict[str, int]) -> Row:
    """One line of a table, whose file is noted as seen there."""
    where = f"line {number} of the table {shown(table)}"
    if None in line or any(line[name] is None for name in COLUMNS if name in line):
        raise DataError(f"{where} has more or fewer values than the first line; put values with commas in quotes")
    values = {name: line[name].strip() for name in COLUMNS if name in line}
    for name in ("file", "label"):
        if values.get(name) == "":
            raise DataError(f"{where} has no {name}; fill it in, or remove the line")
    file = Path(os.path.normpath(table.absolute().parent / values["file"]))
    before = seen.setdefault(os.path.realpath(file), number)
    if before != number:
        raise DataError(f"{where} lists {values['file']!r}, which line {before} has; an image stands there once")
    parts = [part.strip() for part in values.get("labels", "").split(BETWEEN)]
    if parts != [""] and "" in parts:
        raise DataError(f"{where} has an empty class in labels={values['labels']!r}; write for example cat|dog")
    if len({*parts}) < len(parts):
        raise DataError(f"{where} names a class twice: labels={values['labels']!r}")
    return Row(file, values.get("label"), tuple(part for part in parts if part))
