"""Two classes of a set as two sets of images, for translation between them: `config.data.domains`.

    config.data.domains = ("photos", "paintings")                  # an "image" of the one and an "image_other"
    config.data.domains, config.data.paired = ("edges", "shoes"), True                # "image" and "image_after"

Unpaired, an example is an image of each, which have nothing to do with each other. There are as many examples as the
larger set has images. In training each set goes through epochs of its own, in an order of its own, so that the smaller
one begins anew before the larger one ends; in other splits image k of the smaller one stands at k, k + m, ... for its m
images, and `once` [2] is 1 where each of the two images is there for the first time: an evaluation counts these.

Paired, an example is two files of one path below the folders of their classes, whatever their endings, and of one size.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvdl_jax.config.binding import check_name
from cvdl_jax.data.digests import shown
from cvdl_jax.data.folder import FolderSource, canonical_split, check_apart
from cvdl_jax.data.image_files import common_size, read_image
from cvdl_jax.data.order import TwoSets
from cvdl_jax.data.pairs import AFTER, ONCE, OTHER
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source, parse_split, places
from cvdl_jax.data.split import Split
from cvdl_jax.errors import ConfigError, DataError

PATH = "config.data.domains"
_SHOWN = 5


class Paired(Source):
    """Pairs of images of one path below two class folders.

    Args:
        base: the folder.
        split: in TFDS's syntax; a pair is one example.
        domains: the two classes.
        pairs: of the folder, from `_pairs`.
    """

    def __init__(self, base: FolderSource, split: str, domains: Sequence[str], pairs: Mapping[str, list]):
        sizes = {part: len(those) for part, those in pairs.items()}
        self.name, self.version, self.split, self.location = base.name, base.version, split, base.location
        self.intervals = parse_split(canonical_split(split, sizes), sizes, f"{base.name}, in pairs,")
        self.base = base.sibling("+".join(dict.fromkeys(interval.split for interval in self.intervals)))
        self.features = {"image": base.features["image"], AFTER: base.features["image"]}
        self._pairs, self._domains = pairs, domains

    def _chosen(self, indices: Sequence[int]) -> list[tuple[str, Path, Path]]:
        return [self._pairs[part][i] for part, i in places(self.intervals, indices)]

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return [{"image": read_image(one), AFTER: read_image(two)} for _, one, two in self._chosen(indices)]

    def identify(self, index: int) -> str:
        """The paths of both images, below the folder."""
        ((_, *files),) = self._chosen([index])
        return " + ".join(shown(file.relative_to(self.location).as_posix()) for file in files)

    def fingerprint(self) -> str:
        """A hash of that of the folder and of the two classes."""
        return _of(self.base.fingerprint(), self._domains)

    def cache_key(self) -> str:
        """A hash of that of the folder and of the two classes."""
        return _of(self.base.cache_key(), self._domains)


class Unpaired(Source):
    """An image of each of two classes.

    Args:
        base: a source with a class label.
        labels: of all its examples, int [n].
        numbers: of the two classes.
        domains: their names.

    Raises:
        DataError: for a class without images.
    """

    def __init__(self, base: Source, labels: np.ndarray, numbers: Sequence[int], domains: Sequence[str]):
        self.base, self.domains = base, domains
        self.name, self.version, self.split, self.location = base.name, base.version, base.split, base.location
        self.intervals = base.intervals
        self._places = [np.flatnonzero(labels == number) for number in numbers]
        for name, those in zip(domains, self._places, strict=True):
            if not len(those):
                raise DataError(
                    f"{base.split!r} of {base.name} has no image of {name!r}, and {PATH}={tuple(domains)} needs some "
                    "in every split; add them, or name other splits in config.data"
                )
        self.sizes = tuple(map(len, self._places))
        self.left_out = len(labels) - sum(self.sizes)
        image = base.features["image"]
        self.features = {"image": image, OTHER: image, ONCE: Feature("tensor", (2,), "int32")}
        self.order = TwoSets(max(self.sizes), min(self.sizes))
        self._larger = int(np.argmax(self.sizes))

    def __len__(self) -> int:
        return max(self.sizes)

    def _chosen(self, index: int) -> list[int]:
        """The place in each class of row `index`, which may be beyond the end: see `order.TwoSets`."""
        large, small = self.order.members(index)
        return [small, large] if self._larger else [large, small]

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        chosen = [self._chosen(i) for i in indices]
        flat = [int(places[k]) for row in chosen for places, k in zip(self._places, row, strict=True)]
        images = [row["image"] for row in self.base.read_entries(flat, ["image"])]
        once = [np.asarray([k == i for k in row], np.int32) for i, row in zip(indices, chosen, strict=True)]
        return [
            {"image": images[2 * i], OTHER: images[2 * i + 1], ONCE: first} for i, first in enumerate(once)
        ]  # fmt: skip

    def identify(self, index: int) -> str:
        """The names of both images in the source."""
        return " + ".join(
            self.base.identify(int(those[k])) for those, k in zip(self._places, self._chosen(index), strict=True)
        )

    def fingerprint(self) -> str:
        """A hash of that of the source and of the two classes."""
        return _of(self.base.fingerprint(), self.domains)

    def former_fingerprint(self) -> str:
        """A hash of what that of the source was, and of the two classes."""
        return _of(self.base.former_fingerprint(), self.domains)

    def cache_key(self) -> str:
        """A hash of that of the source and of the two classes."""
        return _of(self.base.cache_key(), self.domains)


def _of(base: str, domains: Sequence[str]) -> str:
    return hashlib.sha256(f"{base} {tuple(domains)}".encode()).hexdigest()


def in_pairs(sources: dict[str, Source], domains: Sequence[str], paired: bool, skip_bad: bool) -> dict[str, Source]:
    """Folders of class folders as sources of pairs, where these are wanted.

    Args:
        sources: {"train", "validation", "test": FolderSource}, not cut yet.
        domains: the two classes, or ().
        paired: whether pairs are wanted.
        skip_bad: whether images that cannot be read are dealt with elsewhere.

    Raises:
        ConfigError: for what are not two classes, sets that are no folders, or a name that is no class.
        DataError: naming files without a partner, or of another size than it.
    """
    if paired and not domains:
        raise ConfigError(f"config.data.paired=True pairs the images of two classes; name them in {PATH}")
    if domains and (len(domains) != 2 or domains[0] == domains[1]):
        raise ConfigError(f"{PATH}={tuple(domains)} must be the names of two classes, such as ('photos', 'paintings')")
    if not paired:
        return sources
    made, pairs = {}, {}
    for key, source in sources.items():
        if not isinstance(source, FolderSource):
            raise ConfigError(
                f"config.data.paired=True knows pairs by the names of their files, which {source.name} has not; use "
                "config.data.name=folder:/path, or a set that has 'image_after'"
            )
        _numbers(source, domains)
        for other in sources.values():
            check_apart(source, other)
        pairs = pairs or {part: _pairs(source, part, domains, skip_bad) for part in source.parts}
        made[key] = Paired(source, source.split, domains, pairs)
    return made


def _pairs(source: FolderSource, part: str, domains: Sequence[str], skip_bad: bool) -> list[tuple[str, Path, Path]]:
    """(path without ending, file of the first class, of the second) of every pair of a whole split, sorted."""
    known: list[dict[str, Path]] = []
    for name in domains:
        files: dict[str, Path] = {}
        for path, file in source.files_of(part, name).items():
            stem = PurePosixPath(path).with_suffix("").as_posix()
            if stem in files:
                raise DataError(
                    f"{source.name}, {part!r}: {shown(name)!r} has {shown(files[stem].name)} and {shown(file.name)}, "
                    "and a pair has one of each; rename or remove one of them"
                )
            files[stem] = file
        known.append(files)
    alone = [
        f"{shown(name)}/{shown(stem)}" for name, files, others in ((domains[0], *known), (domains[1], *known[::-1]))
        for stem in sorted(files.keys() - others.keys())
    ]  # fmt: skip
    if alone:
        more = ", ..." if len(alone) > _SHOWN else ""
        raise DataError(
            f"{source.name}, {part!r}: {len(alone)} image{'s have' if alone[1:] else ' has'} no partner of the same "
            f"name in the other folder: {', '.join(alone[:_SHOWN])}{more}; add the partners or remove these, or leave "
            "out config.data.paired, to train without pairs"
        )
    pairs = [(stem, known[0][stem], known[1][stem]) for stem in sorted(known[0])]
    for stem, *files in pairs if not source.features["image"].fixed else ():
        sizes = [common_size([file], skip_bad) for file in files]
        if sizes[0] != sizes[1] and (None, None) not in sizes:
            one, two = (f"{h}x{w}" for h, w in sizes)
            raise DataError(
                f"{source.name}, {part!r}: the pair {shown(stem)!r} has {one} pixels in {shown(domains[0])!r} and "
                f"{two} in {shown(domains[1])!r}; both images of a pair need one size"
            )
    return pairs


def _numbers(source: Source, domains: Sequence[str]) -> list[int]:
    """The numbers of the two classes. Raises ConfigError for what is no class, or a set without images of classes."""
    label, image = source.features.get("label"), source.features.get("image")
    if label is None or label.kind != "label" or label.shape != () or image is None:
        raise ConfigError(f"{PATH} chooses two classes of images, and {source.name} has no 'image' with a 'label'")
    names = label.class_names or tuple(map(str, range(label.num_classes or 0)))
    for name in domains:
        check_name(name, names, f"{PATH}: {source.name} has no class {name!r}")
    return [names.index(name) for name in domains]


def without_pairs(
    sources: dict[str, Source], domains: Sequence[str], paired: bool, labels: Callable[[Source], np.ndarray]
) -> dict[str, Source]:
    """The sources as rows of an image of each of two classes, where these are wanted and not in pairs.

    Args:
        sources: of each split, cut already.
        domains: the two classes, or ().
        paired: whether they are pairs already.
        labels: source -> the classes of all its examples, int [n].

    Raises:
        ConfigError: for a name that is no class.
        DataError: for a split without images of one of them.
    """
    if paired or not domains:
        return sources
    numbers = {key: _numbers(source, domains) for key, source in sources.items()}
    return {key: Unpaired(source, labels(source), numbers[key], domains) for key, source in sources.items()}


def mixed_anew(splits: dict[str, Split]) -> dict[str, Split]:
    """The splits, the training split with an order in which each of the two sets goes through epochs of its own.

    Raises:
        ConfigError: for numbers of examples, of which there are none.
    """
    train = splits.get("train")
    if train is None or not isinstance(train.source, Unpaired):
        return splits
    if train.stage.numbered or train.groups is not None:
        raise ConfigError(f"{PATH} draws pairs anew; leave out config.data.numbered, episodes and text")
    return {**splits, "train": replace(train, groups=train.source.order)}


def said(split: Split) -> str:
    """How the images of two sets are counted; "" for other splits."""
    source = split.source
    if not isinstance(source, Unpaired):
        return ""
    counts = " and ".join(
        f"{n} images of {shown(name)!r}" for name, n in zip(source.domains, source.sizes, strict=True)
    )
    anew = shown(source.domains[int(np.argmin(source.sizes))])
    how = f"; an epoch is {len(source)}, in which {anew!r} is shown {len(source) / min(source.sizes):.3g} times"
    uneven = min(source.sizes) < len(source)
    how = "" if split.name != "train" else how if uneven else f"; an epoch is {len(source)} of each"
    rest = f"; {source.left_out} of other classes are left out" if source.left_out else ""
    return f"{source.name}, {source.split}: {counts}{how}{rest}"
