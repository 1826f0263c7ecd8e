"""Image files below a folder, and what is left out of the rest: no images, broken links, links that go in circles."""

import os
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from cvdl_jax.data.digests import shown
from cvdl_jax.data.schema import orientation, to_array, why
from cvdl_jax.errors import DataError

# Made by programs beside what people put there; names that begin with a dot are skipped too.
_BY_PROGRAMS = ("__macosx", "__pycache__", "@eadir", "lost+found", "$recycle.bin", "system volume information")
# Pillow only says what these are, or asks another program, or they are no pictures.
_NOT_DECODED = ("BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF")
_SHOWN = 5


class LeftOut:
    """What of a folder is not used, said in one warning.

    Args:
        root: the folder; names are shown below it.
    """

    def __init__(self, root: Path):
        self._root = root
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, paths: Iterable[Path | str]) -> None:
        """Notes paths of one kind, in the plural: "broken links"."""
        names = [shown(os.path.relpath(path, self._root)) for path in paths]
        self._kinds.setdefault(kind, []).extend(names)

    def merge(self, other: "LeftOut") -> None:
        """Notes what another one has, of the same folder."""
        for kind, names in other._kinds.items():
            self._kinds.setdefault(kind, []).extend(names)

    def warn(self) -> None:
        """Says what there is to say."""
        parts = []
        for kind, names in self._kinds.items():
            more = ", ..." if len(names) > _SHOWN else ""
            parts += [f"{len(names)} {kind} ({', '.join(names[:_SHOWN])}{more})"] if names else []
        if parts:
            warnings.warn(f"{shown(self._root)}: left out: {'; '.join(parts)}", stacklevel=3)


class Tree:
    """A folder as it is: links to folders are followed, but not to one that is above them, and none twice.

    Args:
        root: the folder.
        left_out: told what is not used.
        deep: look below it too.
        above: real paths of the folders through which it was reached.

    Attributes:
        root: the folder.
        files: the images, sorted by path.
        folders: those directly in it, sorted, hidden ones left out.
        real: real paths of this folder and of those above it.
        reached: real paths of this folder and of all that were looked into.
    """

    def __init__(self, root: Path, left_out: LeftOut, deep: bool = True, above: frozenset[str] = frozenset()):
        self.root, self._left_out = root, left_out
        self._paths: list[str] = []
        self.reached: set[str] = set()
        real = os.path.realpath(root)
        self.real = above | {real}
        self.folders = sorted(Path(path) for path in self._look(str(root), real, self.real, deep))
        self.files = sorted(map(Path, self._paths))

    def _look(self, folder: str, real: str, above: frozenset[str], deep: bool) -> list[str]:
        """Notes the images of a folder, and below it; returns its folders."""
        self.reached.add(real)
        folders = []
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"the folder {shown(folder)} cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.startswith(".") or entry.name.lower() in _BY_PROGRAMS:
                continue
            kind = _kind(entry)
            if kind == "folder":
                target = os.path.realpath(entry.path) if entry.is_symlink() else os.path.join(real, entry.name)
                if target in above or os.path.join(real, "").startswith(os.path.join(target, "")):
                    self._left_out.add("links to a folder above them", [entry.path])
                else:
                    folders.append((entry.path, target))
            elif kind != "file":
                self._left_out.add(kind, [entry.path])
            elif os.path.splitext(entry.name)[1].lower() in suffixes():
                self._paths.append(entry.path)
            else:
                self._left_out.add("files that are no images", [entry.path])
        for path, target in folders if deep else ():
            if target in self.reached:
                self._left_out.add("links to a folder that is here already", [path])
            else:
                self._look(path, target, above | {target}, True)
        return [path for path, _ in folders]


def _kind(entry: os.DirEntry) -> str:
    """What an entry of a folder is, a link being what it leads to."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
    except OSError:  # a link to itself
        pass
    return "broken links" if entry.is_symlink() else "special files"


@lru_cache(maxsize=1)
def suffixes() -> frozenset[str]:
    """Endings of the files that Pillow decodes, in lower case, with the dot."""
    from PIL import Image

    Image.init()
    kinds = Image.OPEN.keys() - set(_NOT_DECODED)
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in kinds)


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """Reads an image file as RGB, or as RGB with alpha, upright.

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
            f"the image {shown(path)} cannot be read ({shown(why(error))}); replace or remove it, or leave out what "
            "cannot be read: --config.data.skip_bad=True"
        ) from error


def common_size(files: Sequence[Path], skip_bad: bool) -> tuple[int | None, int | None]:
    """(h, w) if all images have one size, from their headers; else (None, None).

    Args:
        files: of the images.
        skip_bad: pass over those whose header cannot be read.

    Raises:
        DataError: naming those whose header cannot be read.
    """
    from PIL import Image

    sizes, bad, first = set(), [], None
    for file in files:
        try:
            with Image.open(file) as image:
                turned = orientation(image) > 4 and image.format != "TIFF"  # whose size is that of the turned image
                sizes.add((image.width, image.height) if turned else (image.height, image.width))
        except Exception as error:  # as in read_image
            bad.append(shown(file))
            first = first or error
        if len(sizes) > 1 and (skip_bad or not bad):
            break
    if bad and not skip_bad:
        names = ", ".join(bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
        which = f"the image {names}" if len(bad) == 1 else f"{len(bad)} of {len(files)} images"
        rest = "" if len(bad) == 1 else f": {names}"
        raise DataError(
            f"{which} cannot be read{rest} ({shown(why(first))}); replace or remove, or leave out what cannot be read: "
            "--config.data.skip_bad=True"
        ) from first
    return sizes.pop() if len(sizes) == 1 else (None, None)
