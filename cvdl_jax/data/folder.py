"""Folders of images: `folder:/path`, one sub-folder per class, or `folder:/one:/other`, each of them a class.

If `/path` holds a folder called as a split (`train`, `Training`, `val`, `valid`, `test` ...) that holds class folders,
the folders of `/path` are splits; otherwise everything is the split `train`. Of several folders each may hold splits,
and is called by its path below the folder that they have in common. Classes are the sorted names of the class folders
of all splits. Images are RGB, or grey with `channels=1`. What is left out is counted and named in one warning.
"""

import copy
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.data.class_folders import SPLITS, WORDS, Empty, Layout, roots
from cvdl_jax.data.digests import Digests, digests, edges, shown
from cvdl_jax.data.image_files import LeftOut, Tree, common_size, read_image
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Interval, Source, parse_split, places
from cvdl_jax.errors import DataError

_EDGE = 1 << 12  # bytes at both ends of a file that are always read for the fingerprint


class FolderSource(Source):
    """A split of a folder of class folders.

    Args:
        path: of the folder, or of several with colons between them.
        split: in TFDS's syntax.
        empty: what a class folder without images is: an error, a class without examples, or no class.
        skip_bad: whether images that cannot be read are dealt with elsewhere; else the first look refuses them.

    Raises:
        DataError: if the folder is missing or holds no images in class folders.
    """

    def __init__(self, path: str, split: str, empty: Empty = "refuse", skip_bad: bool = False):
        root, own = roots(path)
        for missing in [one for one in own or [root] if not one.is_dir()]:
            raise DataError(
                f"the image folder {shown(missing)} does not exist; write --config.data.name=folder:/path/to/images, "
                "or --config configs/classify/folder.py:path=/path/to/images"
            )
        self._root, self._given, self._digests = root, path, None
        layout = Layout(root, own)
        names = layout.classes(empty)
        if not names:
            raise DataError(
                f"{shown(root)} has no class folders with images (found: {_listing(root)}); expected "
                f"{shown(root)}/CLASS/image.png or {shown(root)}/train/CLASS/image.png"
            )
        self._files: dict[str, list[tuple[Path, int]]] = {
            part: [(file, names.index(name)) for name in sorted(classes) for file in classes[name]]
            for part, classes in layout.splits.items()
        }
        self.real, self._folders = layout.real, layout.folders
        layout.left_out.warn()
        called = ":".join(one.name for one in own or [root])
        self.name, self.version, self.split, self.location = f"folder:{shown(called)}", "", split, str(root)
        self.intervals = self._intervals(split)
        shape = common_size([file for files in self._files.values() for file, _ in files], skip_bad)
        self.features = {
            "image": Feature("image", (*shape, 3), "uint8"),
            "label": Feature("label", (), "int32", len(names), tuple(shown(name) for name in names)),
        }

    def _intervals(self, split: str) -> list[Interval]:
        sizes = {part: len(files) for part, files in self._files.items()}
        return parse_split(canonical_split(split, sizes), sizes, f"folder {shown(self._root)}", self._cut(sizes))

    def sibling(self, split: str) -> "FolderSource":
        """Another split of the folder, which is not listed again."""
        other = copy.copy(self)
        other.split, other.intervals, other._digests = split, self._intervals(split), None
        return other

    def files_of(self, split: str, name: str) -> dict[str, Path]:
        """The images of a class of a whole split: {path below the folder of the class: file}."""
        folder = self._folders[split].get(name)
        number = self.features["label"].class_names.index(shown(name))
        files = [file for file, label in self._files[split] if label == number]
        return {} if folder is None else {file.relative_to(folder).as_posix(): file for file in files}

    @property
    def parts(self) -> list[str]:
        """The names of its whole splits."""
        return list(self._files)

    def _cut(self, sizes: Mapping[str, int]) -> str:
        """What to type where a split is asked for that the folder has not."""
        if "train" not in sizes:
            return ""
        missing = [part for part in ("validation", "test") if part not in sizes]
        fractions = {1: "0.85,0.15", 2: "0.7,0.15,0.15"}.get(len(missing), "")
        if not fractions or missing == ["test"]:
            return "; leave the test split out: --config.data.test=" if missing == ["test"] else ""
        given = " ".join(f"--config.data.{part}={part if part in sizes else ''}" for part in SPLITS)
        return (
            f"; cut it from the images there are: {given} --config.data.split.fractions={fractions} "
            "--config.data.split.stratified=True (and --config.data.image_size=64,64 where sizes vary), or use "
            f"--config configs/classify/folder.py:path={shown(self._given)}"
        )

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        examples = [self._files[split][i] for split, i in places(self.intervals, indices)]
        return [{"image": read_image(file), "label": np.int32(label)} for file, label in examples]

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; labels need no file."""
        if "image" in names:
            return super().read_entries(indices, names)
        return [{name: np.int32(self._files[s][i][1]) for name in names} for s, i in places(self.intervals, indices)]

    def labels(self) -> np.ndarray:
        """The classes of all examples, int32 [n]."""
        chosen = [self._files[split][start:stop] for split, start, stop in self.intervals]
        return np.asarray([label for files in chosen for _, label in files], np.int32)

    def whole_labels(self, split: str, entry: str = "label") -> np.ndarray:
        """The classes of a whole split, which stands in their order."""
        return np.asarray([label for _, label in self._files[split]], np.int32)

    def identify(self, index: int) -> str:
        """The path of the image, below the folder."""
        ((split, place),) = places(self.intervals, [index])
        return shown(self._files[split][place][0].relative_to(self._root).as_posix())

    def fingerprint(self) -> str:
        """A hash of the path and content of every file of its whole splits; see `digests.py`."""
        if self._digests is None:
            self._digests = digests(self._root, self._own(), _EDGE)
        return self._hash(self._digests.of)

    def former_fingerprint(self) -> str:
        """A hash of the name, size, first and last bytes of every file."""
        return self._hash([edges(file, _EDGE) for file in self._own()])

    def cache_key(self) -> str:
        """The fingerprint, with the times of files of which it knows samples."""
        return self.fingerprint() + self._digests.written

    def _own(self) -> list[Path]:
        """The files of the whole splits that it takes examples of."""
        return [file for split in sorted({i.split for i in self.intervals}) for file, _ in self._files[split]]

    def _hash(self, files: Sequence[str]) -> str:
        digest = hashlib.sha256()
        for file, text in zip(self._own(), files, strict=True):
            digest.update(os.fsencode(file.relative_to(self._root).as_posix()) + f" {text}\n".encode())
        return digest.hexdigest()


class FlatSource(Source):
    """The images of folders without classes, in the order of their names, or single images; for predictions.

    Args:
        paths: of folders and images.
        channels: 3 for RGB, 4 for RGB with alpha, which is 255 where an image has none.
    """

    def __init__(self, paths: str | Sequence[str], channels: int = 3):
        given = [paths] if isinstance(paths, str | Path) else paths
        roots = [Path(os.path.abspath(Path(path).expanduser())) for path in given]
        for root in roots:
            if not root.exists():
                raise DataError(f"{shown(root)} does not exist; write --input FOLDER, or --input IMAGE ...")
        self._root = Path(os.path.commonpath([root if root.is_dir() else root.parent for root in roots]))
        left_out = LeftOut(self._root)
        listed = [Tree(root, left_out).files if root.is_dir() else [root] for root in roots]
        self._files = list(dict.fromkeys(file for files in listed for file in files))
        left_out.warn()
        if not self._files:
            raise DataError(f"{shown(roots[0])} holds no image that Pillow can read (found: {_listing(roots[0])})")
        self.name, self.version, self.split = f"folder:{shown(self._root.name)}", "", "all"
        self.location = str(self._root)
        self.intervals = [Interval("all", 0, len(self._files))]
        self.features = {"image": Feature("image", (*common_size(self._files, True), channels), "uint8")}
        self._digests: Digests | None = None
        self._channels = channels

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return [{"image": read_image(self._files[i], self._channels)} for i in indices]

    def identify(self, index: int) -> str:
        """The path of the image, below the folder that holds all of them."""
        return shown(self._files[index].relative_to(self._root).as_posix())

    def fingerprint(self) -> str:
        """A hash of the name and content of every file."""
        self._digests = self._digests or digests(self._root, self._files, _EDGE)
        return hashlib.sha256("\n".join(self._digests.of).encode()).hexdigest()


class Survey(NamedTuple):
    """What a folder of class folders holds.

    Attributes:
        images: {split: number of images}.
        smallest_class: training images of the class that has fewest.
        size: (h, w) of all images; or a square of the median shorter side, where they differ.
    """

    images: dict[str, int]
    smallest_class: int
    size: tuple[int, int]


def survey(path: str) -> Survey | None:
    """Looks at a folder, for a configuration; None where there is none with training images.

    Args:
        path: of the folder, or of several with colons between them.
    """
    root, own = roots(path)
    splits = Layout(root, own).splits if all(one.is_dir() for one in own or [root]) else {}
    classes = [files for files in splits.get("train", {}).values() if files]
    if not classes:
        return None
    files = [file for part in splits.values() for one in part.values() for file in one]
    size = common_size(files, True)
    if None in size:
        some = [common_size([files[i]], True) for i in np.linspace(0, len(files) - 1, 200).astype(int)]
        size = (int(np.median([min(one) for one in some if None not in one])),) * 2
    counts = {split: sum(map(len, part.values())) for split, part in splits.items()}
    return Survey(counts, min(map(len, classes)), size)


def canonical_split(split: str, sizes: Mapping[str, int]) -> str:
    """A split with the names that its folders have by what they say: `val[:50]` is `validation[:50]`."""
    parts = []
    for part in split.split("+"):
        base, bracket, rest = part.strip().partition("[")
        name = WORDS.get(base.strip().lower(), base)
        parts.append((base if base.strip() in sizes or name not in sizes else name) + bracket + rest)
    return "+".join(parts)


def check_apart(first: Source, second: Source) -> None:
    """Refuses two splits of folders that hold the same folder, reached by a link.

    Raises:
        DataError: naming it.
    """
    if not (isinstance(first, FolderSource) and isinstance(second, FolderSource)):
        return
    one, other = ({i.split for i in source.intervals} for source in (first, second))
    if one & other:
        return
    reached = [{path for part in parts for path in s.real[part]} for parts, s in ((one, first), (other, second))]
    for path in sorted(reached[0] & reached[1]):
        raise DataError(
            f"{first.name}: {first.split!r} and {second.split!r} share the folder {shown(path)}, by a link; remove it "
            "from one of them, or leave one of the splits out"
        )


def _listing(root: Path) -> str:
    return ", ".join(sorted(shown(p.name) for p in root.iterdir())[:12]) or "nothing"
