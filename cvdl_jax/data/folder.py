"""Folders of images: `folder:/path`, one sub-folder per class.

If `/path/train` holds class folders, every folder of `/path` is a split; otherwise everything is the split `train`.
Classes are the sorted names of the class folders of all splits. Images are RGB, or grey with `channels=1`.
"""

import hashlib
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.data.schema import Feature, to_array
from cvdl_jax.data.sources import Interval, Source, parse_split, places
from cvdl_jax.data.tfds_source import file_digest
from cvdl_jax.errors import DataError

_EDGE = 1 << 12  # bytes at both ends of a file that enter the fingerprint


class FolderSource(Source):
    """A split of a folder of class folders.

    Raises:
        DataError: if the folder is missing or holds no images in class folders.
    """

    def __init__(self, path: str, split: str):
        root = Path(path).expanduser()
        if not root.is_dir():
            raise DataError(f"the image folder {root} does not exist; write config.data.name='folder:/path/to/images'")
        splits = _splits(root)
        classes = sorted({c.name for folder in splits.values() for c in _folders(folder)})
        if not classes:
            raise DataError(
                f"{root} has no class folders (found: {_found(root)}); expected {root}/CLASS/image.png or "
                f"{root}/train/CLASS/image.png"
            )
        self._files = {
            name: [(file, classes.index(c.name)) for c in _folders(folder) for file in list_images(c)]
            for name, folder in splits.items()
        }
        used = {label for files in self._files.values() for _, label in files}
        for label, name in enumerate(classes):
            if label not in used:
                raise DataError(
                    f"the class folder {name!r} of {root} holds no image that Pillow can read; fill or remove it"
                )
        self.name, self.version, self.split, self.location = f"folder:{root.name}", "", split, str(root)
        self.intervals = parse_split(split, {k: len(v) for k, v in self._files.items()}, f"folder {root}")
        shape = _common_size([file for files in self._files.values() for file, _ in files])
        self.features = {
            "image": Feature("image", (*shape, 3), "uint8"),
            "label": Feature("label", (), "int32", len(classes), tuple(classes)),
        }
        self._root = root

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        examples = [self._files[split][i] for split, i in places(self.intervals, indices)]
        return [{"image": read_image(file), "label": np.int32(label)} for file, label in examples]

    def identify(self, index: int) -> str:
        """The path of the image, below the folder."""
        ((split, place),) = places(self.intervals, [index])
        return self._files[split][place][0].relative_to(self._root).as_posix()

    def fingerprint(self) -> str:
        """A hash of the name, size, first and last bytes of every file."""
        digest = hashlib.sha256()
        for split in sorted({interval.split for interval in self.intervals}):
            for file, _ in self._files[split]:
                digest.update(f"{file.relative_to(self._root).as_posix()} {file_digest(file, _EDGE)}\n".encode())
        return digest.hexdigest()


class FlatSource(Source):
    """The images of a folder without classes, in the order of their names, or a single image; for predictions.

    Args:
        path: of the folder, or the image.
        channels: 3 for RGB, 4 for RGB with alpha, which is 255 where an image has none.
    """

    def __init__(self, path: str, channels: int = 3):
        root = Path(path).expanduser()
        if not root.exists():
            raise DataError(f"{root} does not exist; write --input FOLDER, or --input IMAGE")
        self._files = list_images(root) if root.is_dir() else [root]
        self._root = root = root if root.is_dir() else root.parent
        if not self._files:
            raise DataError(f"{root} holds no image that Pillow can read (found: {_found(root)})")
        self.name, self.version, self.split, self.location = f"folder:{root.name}", "", "all", str(root)
        self.intervals = [Interval("all", 0, len(self._files))]
        self.features = {"image": Feature("image", (*_common_size(self._files), channels), "uint8")}
        self._channels = channels

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return [{"image": read_image(self._files[i], self._channels)} for i in indices]

    def identify(self, index: int) -> str:
        """The path of the image, below the folder."""
        return self._files[index].relative_to(self._root).as_posix()

    def fingerprint(self) -> str:
        """A hash of the name, size, first and last bytes of every file."""
        return hashlib.sha256("\n".join(file_digest(f, _EDGE) for f in self._files).encode()).hexdigest()


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _splits(root: Path) -> dict[str, Path]:
    train = root / "train"
    if train.is_dir() and _folders(train):
        return {p.name: p for p in _folders(root)}
    return {"train": root}


def _found(root: Path) -> str:
    return ", ".join(sorted(p.name for p in root.iterdir())[:12]) or "nothing"


@lru_cache(maxsize=1)
def _suffixes() -> frozenset[str]:
    from PIL import Image

    Image.init()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN)


def list_images(folder: Path) -> list[Path]:
    """All images below a folder, sorted by path. A warning names other files, except hidden ones."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not p.name.startswith("."))
    images = [p for p in files if p.suffix.lower() in _suffixes()]
    if len(images) < len(files):
        others = [p.name for p in files if p.suffix.lower() not in _suffixes()]
        warnings.warn(
            f"{folder}: {len(others)} files are no images and are left out: {', '.join(others[:5])}", stacklevel=2
        )
    return images


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """Reads an image file as RGB, or as RGB with alpha.

    Returns:
        uint8 [h, w, channels].

    Raises:
        DataError: naming the file.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            return to_array(image, channels)
    except Exception as error:  # each of Pillow's decoders raises its own kind
        raise DataError(
            f"the image {path} cannot be read ({type(error).__name__}: {error}); replace or remove it"
        ) from error


def _common_size(files: Sequence[Path]) -> tuple[int | None, int | None]:
    """(h, w) if all images have one size, from their headers; else (None, None)."""
    from PIL import Image

    sizes = set()
    for file in files:
        try:
            with Image.open(file) as image:
                sizes.add((image.height, image.width))
        except Exception as error:  # as in read_image
            raise DataError(
                f"the image {file} cannot be read ({type(error).__name__}: {error}); replace or remove it"
            ) from error
        if len(sizes) > 1:
            return None, None
    return sizes.pop() if sizes else (None, None)
