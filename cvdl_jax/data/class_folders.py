"""How folders of images are laid out: which folders are classes, and which say a split."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from cvdl_jax.data.digests import shown
from cvdl_jax.data.image_files import LeftOut, Tree
from cvdl_jax.errors import DataError

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
WORDS = {word: name for name, words in SPLITS.items() for word in words}
Empty = Literal["refuse", "keep", "ignore"]


def roots(path: str) -> tuple[Path, list[Path]]:
    """The folder of `folder:/path` and no others; of `folder:/one:/other` what holds both, and the two.

    Args:
        path: what follows "folder:"; a folder that exists may have a colon in its name.

    Raises:
        DataError: if one of several folders is inside another.
    """
    whole = Path(path).expanduser()
    if whole.is_dir() or os.pathsep not in path:
        return whole, []
    own = [Path(os.path.abspath(Path(part).expanduser())) for part in path.split(os.pathsep)]
    for one in own:
        for other in own:
            if one is not other and one.is_relative_to(other):
                raise DataError(f"{shown(one)} is inside {shown(other)}, or the same; each of them is to be a class")
    return Path(os.path.commonpath(own)), own


class Part:
    """A folder of class folders.

    Attributes:
        left_out: what is not used of it.
        outside: images that are in no class folder.
        classes: {class: everything below its folder}.
        filled: whether a class folder holds an image.
    """

    def __init__(self, folder: Path, root: Path, above: frozenset[str] = frozenset()):
        self.left_out = LeftOut(root)
        top = Tree(folder, self.left_out, deep=False, above=above)
        self.outside, self.real = top.files, top.real
        self.classes = {inner.name: Tree(inner, self.left_out, above=top.real) for inner in top.folders}
        self.filled = any(tree.files for tree in self.classes.values())


class Layout:
    """The splits and class folders of a folder.

    Args:
        root: the folder.
        own: folders below it that are the classes; () for those directly in it.

    Attributes:
        splits: {split: {class: its images}}; a class that a split has a folder for may be without images.
        folders: {split: {class: its folder}}.
        real: {split: {real path of a folder below it: class}}.
        left_out: what is not used.
    """

    def __init__(self, root: Path, own: Sequence[Path] = ()):
        self.root, self.left_out = root, LeftOut(root)
        self.splits: dict[str, dict[str, list[Path]]] = {}
        self.folders: dict[str, dict[str, Path]] = {}
        self.real: dict[str, dict[str, str]] = {}
        if own:
            return self._read_own(own)
        top = Tree(root, LeftOut(root), deep=False)
        said = {f.name: split for split, words in SPLITS.items() for f in top.folders if f.name.lower() in words}
        parts = {f.name: Part(f, root, top.real) for f in top.folders} if said else {}
        named = {said[name] for name in said if parts[name].filled}
        others = [name for name, part in parts.items() if name not in said and (part.filled or part.outside)]
        if "train" in named or (named and not others):
            self._read_splits(parts, said)
            self.left_out.add("images outside class folders", top.files)
        else:
            self._add("train", Part(root, root))

    def _read_own(self, own: Sequence[Path]) -> None:
        """Each folder is a class, all of it in the training split, or with folders that say their split."""
        trees: dict[str, dict[str, Tree]] = {}
        for folder in own:
            name, aside = folder.relative_to(self.root).as_posix(), LeftOut(self.root)
            top = Tree(folder, aside, deep=False)
            said = {inner: WORDS[inner.name.lower()] for inner in top.folders if inner.name.lower() in WORDS}
            inside = {inner: Tree(inner, aside, above=top.real) for inner in said}
            if "train" not in [said[inner] for inner, tree in inside.items() if tree.files]:
                trees.setdefault("train", {})[name] = Tree(folder, self.left_out)
                continue
            aside.add("images outside the folders of splits", top.files)
            aside.add("folders that are no split", [inner for inner in top.folders if inner not in said])
            self.left_out.merge(aside)
            for inner, tree in inside.items():
                if name in trees.setdefault(said[inner], {}):
                    raise DataError(f"{shown(folder)} has two folders of the split {said[inner]!r}; rename one of them")
                trees[said[inner]][name] = tree
        for split, classes in trees.items():
            self._take(split, classes)

    def _read_splits(self, parts: Mapping[str, Part], said: Mapping[str, str]) -> None:
        known: set[str] = set()
        for name in sorted(parts, key=lambda name: (name not in said, name)):  # those called as splits first
            part = parts[name]
            if not part.filled or (name not in said and not part.classes.keys() & known):
                self.left_out.add("folders that are no split", [self.root / name])
                continue
            known |= part.classes.keys() if name in said else set()
            same = [n for n in parts if parts[n].filled and said.get(n, n) == said.get(name, name)]
            self._add(name if len(same) > 1 else said.get(name, name), part)
        both = sorted(name for name in self.splits if said.get(name) == "train")
        if "train" not in self.splits and both:
            raise DataError(
                f"{shown(self.root)} has {shown(' and '.join(both))}, which are one split; rename one of them"
            )

    def _add(self, split: str, part: Part) -> None:
        """Takes a part as a split."""
        self._take(split, part.classes)
        self.left_out.merge(part.left_out)
        self.left_out.add("images outside class folders", part.outside)

    def _take(self, split: str, classes: Mapping[str, Tree]) -> None:
        """Takes class folders as a split, unless a link makes one folder two classes."""
        real = self.real[split] = {}
        for name, tree in classes.items():
            for path in tree.reached:
                if real.setdefault(path, name) != name:
                    raise DataError(
                        f"{shown(path)} is reached as the class {shown(name)!r} and as the class {shown(real[path])!r} "
                        f"of {shown(self.root)}; remove one of the links"
                    )
        self.splits[split] = {name: tree.files for name, tree in classes.items()}
        self.folders[split] = {name: tree.root for name, tree in classes.items()}

    def classes(self, empty: Empty) -> list[str]:
        """The sorted names of the classes.

        Raises:
            DataError: naming a class folder without images, unless it is a class, or none, by the setting.
        """
        names = sorted({name for classes in self.splits.values() for name in classes})
        filled = {name for classes in self.splits.values() for name, files in classes.items() if files}
        lacking = [name for name in names if name not in filled]
        if lacking and filled and empty == "refuse":
            raise DataError(
                f"the class folder {shown(lacking[0])!r} of {shown(self.root)} holds no image that Pillow can read"
                f"{f', nor do {len(lacking) - 1} others' if lacking[1:] else ''}; fill or remove it, or set "
                "--config.data.empty_classes=keep (a class without examples) or =ignore (no class)"
            )
        if empty == "ignore":
            self.left_out.add("class folders without images", [self.root / name for name in lacking])
        return names if filled and empty == "keep" else sorted(filled)
