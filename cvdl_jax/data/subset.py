"""Some examples of a source, by their places: what a split by fractions or a fold is made of.

config.data.train = "train+validation"                                     # what is cut
config.data.split = dict(fractions=(0.7, 0.15, 0.15), stratified=True)     # train, validation, test
config.data.split = dict(fractions=(0.8, 0.2))                             # the test split stays config.data.test
config.data.split = dict(folds=5, fold=0, stratified=True, seed=1)         # fold 0 of 5 is validation
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.data import fractions as cutting
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError

PATH = "config.data.split"
NAMES = ("train", "validation", "test")


class Cut(NamedTuple):
    """How `config.data.train` is cut; one of `fractions` and `folds`.

    Attributes:
        fractions: of train, validation and, with a third one, test.
        folds: k of a k-fold cross-validation.
        fold: which of them, 0 ... k - 1, is validation; the others are train.
        stratified: keep the proportions of the classes, at most one example off for each class and part.
        seed: of the draw; it is not the run's seed, so that runs of several seeds share their splits.
    """

    fractions: tuple[float, ...] = ()
    folds: int = 0
    fold: int = 0
    stratified: bool = False
    seed: int = 0


class Subset(Source):
    """Some examples of a source, in its order.

    Args:
        base: the source.
        indices: ascending places in it.
        split: what to call it.
    """

    def __init__(self, base: Source, indices: np.ndarray, split: str):
        self.base, self.indices = base, indices
        self.name, self.version, self.split, self.location = base.name, base.version, split, base.location
        self.intervals, self.features = base.intervals, base.features  # of the whole that it is taken from

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return self.base.read([int(self.indices[i]) for i in indices])

    def identify(self, index: int) -> str:
        """The name that the example has in the whole split."""
        return self.base.identify(int(self.indices[index]))

    def fingerprint(self) -> str:
        """A hash of the data and of the choice among them."""
        chosen = hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()
        return hashlib.sha256(f"{self.base.fingerprint()} {self.base.intervals} {chosen}".encode()).hexdigest()


def check(cut: Cut, validation: str, test: str) -> None:
    """Refuses a cut that is impossible, or that the names of splits contradict.

    Args:
        cut: from `config.data.split`.
        validation: `config.data.validation`, which must be empty.
        test: `config.data.test`, empty if the cut makes a test split.

    Raises:
        ConfigError: naming the key, its value, and what to type.
    """
    if bool(cut.fractions) == bool(cut.folds):
        raise ConfigError(f"{PATH} needs one of fractions=(0.7, 0.15, 0.15) and folds=5, got {cut}")
    if cut.fractions:
        cutting.check_fractions(cut.fractions, f"{PATH}.fractions")
    elif cut.folds < 2:
        raise ConfigError(f"{PATH}.folds={cut.folds} must be at least 2")
    if not 0 <= cut.fold < max(cut.folds, 1):
        raise ConfigError(f"{PATH}.fold={cut.fold} must lie in 0 ... {max(cut.folds, 1) - 1}")
    if not 0 <= cut.seed < 2**32:
        raise ConfigError(f"{PATH}.seed={cut.seed} must lie in 0 ... 2**32 - 1")
    made = NAMES[: max(len(cut.fractions), 2)]
    for name, given in (("validation", validation), ("test", test)):
        if given and name in made:
            raise ConfigError(
                f"{PATH} makes the {name} split out of config.data.train, but config.data.{name}={given!r} is set "
                f"too; add --config.data.{name}= (and name what is to be cut in config.data.train)"
            )


def apply(cut: Cut, source: Source, labels: Callable[[], np.ndarray]) -> dict[str, Subset]:
    """The splits that a cut makes of a source.

    Args:
        cut: checked.
        source: what is cut.
        labels: the classes of its examples, int [n]; asked for only if the cut is stratified.

    Returns:
        {"train", "validation" and perhaps "test": Subset}, disjoint, together the source.

    Raises:
        ConfigError: if a part would be empty, or a class has fewer examples than there are parts.
    """
    n = len(source)
    if cut.folds and n < cut.folds:
        raise ConfigError(f"{PATH}.folds={cut.folds}: {source.split!r} of {source.name} has {n} examples; use fewer")
    classes = labels() if cut.stratified else None
    if classes is not None:
        _check_classes(cut, classes, cut.folds or len(cut.fractions), source)
    found = cutting.assign(n, cut.folds or cut.fractions, cut.seed, classes)
    if cut.folds:
        rest = np.sort(np.concatenate([rows for i, rows in enumerate(found) if i != cut.fold]))
        found = [rest, found[cut.fold]]
    shown = f"{cut.folds} folds" if cut.folds else "/".join(f"{100 * f:g}" for f in cut.fractions)
    how = f"{'stratified, ' if cut.stratified else ''}seed {cut.seed}"
    what = [f"{source.split}: {name} of {shown} ({how})" for name in NAMES]
    if cut.folds:
        what = [f"{source.split}: {side}fold {cut.fold} of {shown} ({how})" for side in ("all but ", "")]
    return {name: Subset(source, rows, text) for name, rows, text in zip(NAMES, found, what, strict=False)}


def _check_classes(cut: Cut, labels: np.ndarray, parts: int, source: Source) -> None:
    """Refuses classes that cannot be in every part."""
    known, counts = np.unique(labels, return_counts=True)
    least = int(np.argmin(counts))
    if counts[least] < parts:
        key = f"folds={cut.folds}" if cut.folds else f"fractions={cut.fractions}"
        raise ConfigError(
            f"{PATH}.{key}, stratified: class {known[least]} of {source.split!r} of {source.name} has "
            f"{counts[least]} examples, fewer than {parts} parts; use at most {counts[least]}, or stratified=False"
        )
