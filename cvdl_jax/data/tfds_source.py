"""Data sets prepared for TFDS, as ArrayRecord or as TFRecord, read with random access and without TensorFlow.

Entries get one name for one thing: "image" and "label" for classification, "image", "objects/bbox" and "objects/label"
for detection, "image" and "segmentation_mask" for segmentation. Most sets of TFDS have these names already; `NAMES`
renames the entries of the others.
"""

import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.data.digests import Digests, digests, edges
from cvdl_jax.data.schema import Feature, as_array, decode_image, decode_whole, from_tfds, why
from cvdl_jax.data.sources import Source, parse_split, places
from cvdl_jax.data.tfrecord import TFRecordFile
from cvdl_jax.errors import DataError, nearest

_MIB = 1 << 20
_SOME = 64  # labels that are looked at first
INFO = "dataset_info.json"
# {data set: {its name of an entry: ours}}; a name that ends in a slash is a prefix
NAMES = {
    "ade20k": {"segmentation": "segmentation_mask"},
    "cityscapes": {"image_left": "image", "segmentation_label": "segmentation_mask"},
    "open_images_v4": {  # the first are without boxes; a group is one box around five objects or more
        "bobjects/is_group_of": "objects/is_crowd",
        "objects/": "image_labels/",
        "bobjects/": "objects/",
    },
    "oxford_iiit_pet": {"head_bbox": "bbox"},
    "scene_parse150": {"annotation": "segmentation_mask"},
    "wider_face": {"faces/": "objects/"},
}


def find(name: str, folder: Path, others: Sequence[str] = ()) -> Path:
    """The folder of a prepared data set, `FOLDER/name[/config]/version`; the newest version unless one is named.

    Args:
        name: `name`, `name:version`, `name/config` or `name/config:version`.
        folder: the data folder.
        others: further names to suggest where this one is not found.

    Raises:
        DataError: naming the folder, what was expected, what was found and what to type next.
    """
    base, _, version = name.partition(":")
    layout = f"{folder / base / (version or '<version>')}/{INFO}"
    if not folder.is_dir():
        raise DataError(
            f"data set {name!r}: the data folder {folder} does not exist (expected {layout}); set config.data.data_dir "
            f"or TFDS_DATA_DIR to the folder that holds it, {_how_to_prepare(base, folder)}"
        )
    root = folder / base
    versions = sorted((p.parent for p in root.glob(f"*/{INFO}")), key=lambda p: _version_key(p.name))
    if version:
        versions = [p for p in versions if p.name == version]
    if versions:
        return versions[-1]
    if root.is_dir():
        present = sorted(str(p.parent.relative_to(folder)) for p in root.glob(f"**/{INFO}"))
        close = f"found {', '.join(present)}" if present else f"found in {root}: {_listing(root)}"
        raise DataError(
            f"data set {name!r}: expected {layout}; {close}; name it as NAME/CONFIG:VERSION, "
            f"{_how_to_prepare(base, folder)}"
        )
    prepared = sorted({p.relative_to(folder).parts[0] for p in folder.glob(f"*/*/{INFO}")} | set(others))
    raise DataError(
        f"data set {name!r} is not in the data folder {folder}: expected {layout}; found: {_listing(folder)}; "
        f"{nearest(base.split('/')[0], prepared)}; set config.data.data_dir or TFDS_DATA_DIR to another folder, "
        f"{_how_to_prepare(base, folder)}"
    )


def _how_to_prepare(name: str, folder: Path) -> str:
    return (
        "or prepare it on a machine with network and TensorFlow: "
        f"tfds build {name} --data_dir {folder} --file_format array_record"
    )


def _listing(folder: Path, limit: int = 12) -> str:
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    return (", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")) or "nothing"


def _version_key(version: str) -> tuple:
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in version.split("."))


def renamed(data_set: str, names: Iterable[str]) -> dict[str, str]:
    """{the set's name: ours} of every entry.

    Args:
        data_set: name in TFDS, without version or configuration.
        names: of the set's entries, flat.
    """
    table = NAMES.get(data_set, {})
    return {name: _our_name(table, name) for name in names}


def _our_name(table: dict[str, str], name: str) -> str:
    if name in table:
        return table[name]
    for prefix, ours in table.items():
        if prefix.endswith("/") and name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name


def adapted(features: dict[str, Feature], names: dict[str, str]) -> dict[str, Feature]:
    """The features by our names. An image called a mask becomes a mask of one channel: some sets declare it an image.

    Args:
        features: {the set's name: Feature}.
        names: from `renamed`.
    """
    ours = {}
    for name, feature in features.items():
        is_mask = feature.kind == "image" and names[name].endswith("mask")
        mask = replace(feature, kind="mask", shape=(*feature.shape[:-1], 1))
        ours[names[name]] = mask if is_mask else feature
    return dict(sorted(ours.items()))


class _TFRecords:
    """The records of TFRecord files, or of parts of them, with the interface of TFDS's ArrayRecord source."""

    def __init__(self, instructions: Sequence[Any]):
        self._places: list[tuple[TFRecordFile, int]] = []
        for part in instructions:
            file = _tfrecord_file(part.filename)
            if len(file) != part.examples_in_shard:
                raise DataError(
                    f"{part.filename} holds {len(file)} records, its {INFO} says {part.examples_in_shard}; "
                    "copy or prepare the data set again"
                )
            self._places += [(file, i) for i in range(part.skip, part.skip + part.take)]

    def __len__(self) -> int:
        return len(self._places)

    def __getitems__(self, indices: Sequence[int]) -> list[bytes]:
        by_file: dict[TFRecordFile, list[int]] = {}
        for k, i in enumerate(indices):
            by_file.setdefault(self._places[i][0], []).append(k)
        records: list[bytes] = [b""] * len(indices)
        for file, rows in by_file.items():
            for k, record in zip(rows, file.read([self._places[indices[k]][1] for k in rows]), strict=True):
                records[k] = record
        return records


@lru_cache(maxsize=256)
def _tfrecord_file(path: str) -> TFRecordFile:
    return TFRecordFile(path)


class TfdsSource(Source):
    """A split of a prepared TFDS folder.

    Args:
        folder: the version's folder, with `dataset_info.json`.
        name: as the user wrote it.
        split: in TFDS's syntax.
    """

    def __init__(self, folder: Path, name: str, split: str):
        import tensorflow_datasets as tfds

        _drop_decoder_advice()
        try:
            builder = tfds.builder_from_directory(str(folder))
        except Exception as error:  # TFDS raises many kinds for damaged JSON or unknown features
            raise DataError(
                f"{folder} cannot be opened as a TFDS data set ({type(error).__name__}: {error}); prepare it again"
            ) from error
        info = builder.info
        self.name, self.version, self.split, self.location = info.name, str(info.version), split, str(folder)
        self.intervals = parse_split(split, {k: s.num_examples for k, s in info.splits.items()}, f"{name} in {folder}")
        stored = from_tfds(info.features)
        self._names = renamed(info.name, stored)
        self._stored, self.features = stored, adapted(stored, self._names)
        self._folder, self._parser = folder, info.features
        # Top-level images come as bytes and are decoded by Pillow: TFDS would use OpenCV where that is installed,
        # and the same set would then have other pixels on another machine.
        self._images = {
            k: f for k, f in stored.items() if f.kind in ("image", "mask") and "/" not in k and len(f.shape) == 3
        }
        # So do depth maps and other 16-bit images that stay whole numbers, which TFDS reads with OpenCV alone.
        self._whole = {k for k, f in info.features.items() if isinstance(f, tfds.features.Image)} & {
            k for k, f in stored.items() if f.kind == "tensor" and f.dtype == "int32"
        }
        self._decoders = {k: tfds.decode.SkipDecoding() for k in self._images.keys() | self._whole}
        # Boxes and masks belong to the pixels as they are stored, whatever EXIF says of them.
        self._upright = all(f.kind not in ("box", "mask") for f in stored.values())
        self._shuffled = not info.disable_shuffling
        self._digests: Digests | None = None
        files = [f for s in {i.split: None for i in self.intervals} for f in info.splits[s].file_instructions]
        self._files = sorted({Path(f.filename) for f in files})
        self._records = self._open(tfds, builder, split)

    def _open(self, tfds: Any, builder: Any, split: str) -> Any:
        for path in self._files:
            if not path.is_file():
                present = _listing(path.parent)
                raise DataError(f"{path} is missing; found in its folder: {present}; copy the data set again")
        if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
            return _TFRecords(builder.info.splits[split].file_instructions)
        try:
            return builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)
        except Exception as error:
            raise DataError(
                f"{self._folder} cannot be read ({type(error).__name__}: {error}); ArrayRecord and TFRecord can: "
                "prepare it again with --file_format array_record"
            ) from error

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return self.read_entries(indices, list(self.features))

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; only images among these are decoded."""
        indices = [int(i) for i in indices]
        where = places(self.intervals, indices)
        try:
            records = self._records.__getitems__(indices) if indices else []
        except DataError:
            raise
        except Exception as error:  # array_record raises bare RuntimeError and IndexError
            raise DataError(f"{self.location}: records cannot be read ({error}); copy the data set again") from error
        return [self._decode(record, names, *place) for record, place in zip(records, where, strict=True)]

    def _decode(self, record: bytes, names: Sequence[str], split: str, place: int) -> dict[str, Any]:
        stored = {k: f for k, f in self._stored.items() if self._names[k] in names}
        try:
            nested = self._parser.deserialize_example_np(record, decoders=self._decoders)
            for name in stored.keys() & self._images.keys():
                feature = self.features[self._names[name]]
                mask = feature.kind == "mask"
                nested[name] = decode_image(nested[name], feature.shape[-1], self._upright and not mask, mask)
            for name in stored.keys() & self._whole:
                nested[name] = decode_whole(nested[name])
            flat = _flatten(nested)
            return {self._names[k]: flat[k] if f.kind == "text" else as_array(k, flat[k], f) for k, f in stored.items()}
        except DataError:
            raise
        except Exception as error:  # protobuf, TFDS and Pillow each have their own
            raise DataError(
                f"example {split}/{place} of {self.location} cannot be decoded ({why(error)}); copy or "
                "prepare the data set again, or leave out what cannot be read: --config.data.skip_bad=True"
            ) from error

    def whole_labels(self, split: str, entry: str = "label") -> np.ndarray | None:
        """The classes of a whole split, where its builder kept an order and some of them stand in that of classes."""
        feature = self.features.get(entry)
        if self._shuffled or feature is None or feature.kind != "label" or feature.shape:
            return None
        whole = TfdsSource(self._folder, self.name, split)

        def of(rows: Sequence[int]) -> np.ndarray:
            return np.asarray([row[entry] for row in whole.read_entries(rows, [entry])])

        some = of(np.linspace(0, len(whole) - 1, min(len(whole), _SOME)).astype(int))
        return None if (np.diff(some) < 0).any() else of(range(len(whole)))

    def fingerprint(self) -> str:
        """A hash of the description and of every file that the split needs; see `digests.py`."""
        self._digests = self._digests or digests(self._folder, self._files, _MIB)
        return self._hash(self._digests.of)

    def former_fingerprint(self) -> str:
        """A hash of the description, and of the size, first and last bytes of every file that the split needs."""
        return self._hash([edges(path, _MIB) for path in self._files])

    def cache_key(self) -> str:
        """The fingerprint, with the times of files of which it knows samples."""
        return self.fingerprint() + self._digests.written

    def _hash(self, files: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for path in (self._folder / INFO, self._folder / "features.json"):
            digest.update(path.read_bytes() if path.is_file() else b"")
        for text in files:
            digest.update(text.encode())
        return digest.hexdigest()


def _flatten(nested: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in nested.items():
        name = f"{prefix}/{key}" if prefix else key
        flat |= _flatten(value, name) if isinstance(value, dict) else {name: value}
    return flat


@lru_cache(maxsize=1)
def _drop_decoder_advice() -> None:
    """Hides the advice to install OpenCV, which TFDS would use for images that it decodes itself (videos)."""
    logging.getLogger("absl").addFilter(lambda record: "OpenCV is not installed" not in record.getMessage())
