"""A data set as a run knew it, without its examples: what a model needs of its data, as facts that a file can hold.

A run keeps `facts(data)` in its folder. `described(facts)` is the data set again: shapes, sizes, names of classes; to
read an example of it is an error. `matched` brings a data set that was opened later to what the run knew: classes are
matched by name, and a split whose fingerprint is another one cannot be read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any
from weakref import WeakKeyDictionary

from cvdl_jax.data import captions, relabel
from cvdl_jax.data.catalogue import OF_USERS
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.load import Data
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import Source
from cvdl_jax.data.split import Split
from cvdl_jax.errors import DataError

_FINGERPRINTS: WeakKeyDictionary[Source, str] = WeakKeyDictionary()  # a folder has as many files as it has images


class Absent(Source):
    """Examples that cannot be read, described.

    Args:
        name: of the data set.
        version: of the data set.
        split: as the user wrote it.
        size: number of examples.
        features: of an example.
        digest: the fingerprint.
        reason: why they cannot be read, and what to do.
    """

    def __init__(
        self, name: str, version: str, split: str, size: int, features: dict[str, Feature], digest: str, reason: str
    ):
        self.name, self.version, self.split, self.features, self.location = name, version, split, features, ""
        self.intervals, self._size, self._digest, self.reason = [], size, digest, reason

    def __len__(self) -> int:
        return self._size

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Nothing: raises DataError with the reason."""
        raise DataError(self.reason)

    def identify(self, index: int) -> str:
        """Nothing: raises DataError with the reason."""
        raise DataError(self.reason)

    def fingerprint(self) -> str:
        """That of the data when they were described."""
        return self._digest


def facts(data: Data) -> dict[str, Any]:
    """What a model needs of its data, as values that JSON has.

    Args:
        data: opened.

    Returns:
        {"name", "version", "fingerprint", "order_seed", "num_classes", "class_names", "splits"}; of each split "split",
        "size", "stage", "features", and the fingerprint of the "files" that it is cut from.
    """
    splits = {
        name: {
            "split": split.source.split,
            "size": split.size,
            "files": _files(split.source),
            "fingerprint": fingerprint(split.source),
            "stage": split.stage.settings(),
            "features": {key: asdict(feature) for key, feature in split.features.items()},
        }
        for name, split in data.splits.items()
    }
    return {
        "name": data.name,
        "version": data.version,
        "fingerprint": data.fingerprint,
        "order_seed": data.order_seed,
        "num_classes": data.num_classes,
        "class_names": list(data.class_names),
        "splits": splits,
    }


def described(known: Mapping[str, Any]) -> Data:
    """The data set of `facts`, whose examples cannot be read."""
    reason = f"the examples of {known['name']} are not opened by what needs only the run's model"
    splits = {name: _described(known, name, reason) for name in known["splits"]}
    return Data(
        splits, known["num_classes"], tuple(known["class_names"]), known["name"], known["version"],
        known["fingerprint"], "", known["order_seed"],
    )  # fmt: skip


def _described(known: Mapping[str, Any], name: str, reason: str) -> Split:
    of = known["splits"][name]
    features = {key: Feature(**_tuples(feature)) for key, feature in of["features"].items()}
    source = Absent(known["name"], known["version"], of["split"], of["size"], features, of["fingerprint"], reason)
    stage = _tuples({**of["stage"], "captions": _tuples(of["stage"].get("captions", {}))})
    return Split(name, source, HostStage(**stage), features)


def matched(data: Data, known: Mapping[str, Any]) -> Data:
    """A data set as the run of `facts` knew it.

    Args:
        data: opened now, perhaps in another place, perhaps with other splits.
        known: from `facts`.

    Returns:
        The data set with the run's classes. A split that is not what the run knew is there, but cannot be read; so is
        one that has examples of a class which the run does not know.
    """
    old = described(known).splits
    sources = [split.source for split in data.splits.values()]
    same = any(_then(source, known) == fingerprint(source) for source in sources)
    splits = {name: _matched(split, known, old, same) for name, split in data.splits.items()}
    names = tuple(known["class_names"])
    return replace(data, splits=splits, num_classes=known["num_classes"], class_names=names)


def _matched(split: Split, known: Mapping[str, Any], old: Mapping[str, Split], same: bool) -> Split:
    like = old.get(split.name) or next(iter(old.values()))
    features = {key: like.features.get(key, feature) for key, feature in split.features.items()}
    reason = changed(split.source, known, same)
    now = split.stage.captions
    told = {**like.stage.captions, "entry": now["entry"]} if now else {}
    if now != told:  # the words are the run's, whatever those of the data are now
        split = replace(split, stage=replace(split.stage, captions=told), arrays=None)
        captions.look(split.source, told)
    if not reason:
        try:
            return relabel.by_name(split, features, f"{split.source.split!r} of {split.source.name}")
        except DataError as error:
            reason = str(error)
    source = split.source
    gone = Absent(source.name, source.version, source.split, len(source), features, source.fingerprint(), reason)
    return replace(split, source=gone, features=features, arrays=None)


def changed(source: Source, known: Mapping[str, Any], same: bool) -> str:
    """In what way the files of a split are not those that the run of `facts` knew; "" if they are.

    Args:
        source: of a split.
        known: from `facts`.
        same: whether another split beside it is the run's, so that one which the run did not use is of its data set.
    """
    then, now = _then(source, known), fingerprint(source)
    named = (source.name, source.version) == (known["name"], known["version"])
    if now == then or (then is None and (same or (named and not source.name.startswith(OF_USERS)))):
        return ""
    what = f"{source.split!r} of {' '.join(filter(None, (source.name, source.version)))}"
    where = f" in {source.location}" if source.location else ""
    if then is None:
        was = f"it was made with {' '.join(filter(None, (known['name'], known['version'])))}, which has no such part"
    else:
        was = f"its fingerprint was {then[:8]} and is {now[:8]}"
    return (
        f"{what}{where} is not what the run was made with ({was}); restore the data, or name their place with "
        "--config.data.name and --config.data.data_dir; to test the run on other data add --external NAME --split SPLIT"
    )


def _then(source: Source, known: Mapping[str, Any]) -> str | None:
    """The fingerprint that the files of a source had for the run of `facts`; None for files that it did not use."""
    return next((of["fingerprint"] for of in known["splits"].values() if of["files"] == _files(source)), None)


def fingerprint(source: Source) -> str:
    """Of all examples that a source, or what it was chosen from, takes its own from."""
    if hasattr(source, "base"):
        return fingerprint(source.base)
    if source not in _FINGERPRINTS:
        _FINGERPRINTS[source] = source.fingerprint()
    return _FINGERPRINTS[source]


def _files(source: Source) -> str:
    """The whole splits that a source takes examples of: "train", "test+train"."""
    return "+".join(sorted({interval.split for interval in source.intervals}))


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
