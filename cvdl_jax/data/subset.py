"""Cuts a set of examples into parts, by fractions or into folds, and reads some examples of a source as a split.

    config.data.train = "train+validation"                                     # what is cut
    config.data.split = dict(fractions=(0.7, 0.15, 0.15), stratified=True)     # train, validation, test
    config.data.split = dict(fractions=(0.8, 0.2))                             # the test split stays config.data.test
    config.data.split = dict(folds=5, fold=0, stratified=True, seed=1)         # fold 0 of 5 is validation

The size of a part is its fraction of n, rounded by largest remainder, so that the sizes add up to n: 1,000,000 examples
by 98/1/1 are 980,000, 10,000 and 10,000. With `stratified` every class is cut in the same proportions, at most one
example off, and the parts keep their sizes. Which example goes where depends on (n, labels, seed) alone.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config.binding import Counted, Inside, check_name
from cvdl_jax.data import order
from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError

PATH = "config.data.split"
NAMES = ("train", "validation", "test")


class Cut(NamedTuple):
    """How `config.data.train` is cut: by `fractions` or into `folds`.

    Attributes:
        fractions: of train, validation and, with a third one, test.
        folds: k of a k-fold cross-validation.
        fold: which of them, 0 ... k - 1, is validation; the others are train.
        stratified: keep the proportions of the classes, at most one example off for each class and part.
        seed: of the draw. It is not the run's seed, so that runs of several seeds share their splits.
    """

    fractions: tuple[Inside, ...] = ()
    folds: Counted = 0
    fold: Counted = 0
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
        self.intervals, self.features = base.intervals, base.features  # those of the whole source

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Decoded examples at the given places; see `Source`."""
        return self.base.read([int(self.indices[i]) for i in indices])

    def read_entries(self, indices: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
        """Some entries of them; see `Source`."""
        return self.base.read_entries([int(self.indices[i]) for i in indices], names)

    def labels(self) -> np.ndarray | None:
        """The classes of the chosen examples, where the base knows them."""
        labels = self.base.labels()
        return None if labels is None else labels[self.indices]

    def identify(self, index: int) -> str:
        """The name of the example in the whole source."""
        return self.base.identify(int(self.indices[index]))

    def fingerprint(self) -> str:
        """A hash of the data and of the chosen places."""
        return self._chosen_of(self.base.fingerprint())

    def former_fingerprint(self) -> str:
        """A hash of that of the base and of the chosen places."""
        return self._chosen_of(self.base.former_fingerprint())

    def cache_key(self) -> str:
        """A hash of that of the base and of the chosen places."""
        return self._chosen_of(self.base.cache_key())

    def _chosen_of(self, base: str) -> str:
        chosen = hashlib.sha256(self.indices.astype("<i8").tobytes()).hexdigest()
        return hashlib.sha256(f"{base} {self.base.intervals} {chosen}".encode()).hexdigest()


def kept(
    sources: Mapping[str, Source], only: Sequence[str], first: int, labels: Callable[[Source], np.ndarray]
) -> dict[str, Source]:
    """The sources without the examples that a config leaves out.

    Args:
        sources: of each split.
        only: names of classes, in all splits; () for all. The classes keep their numbers.
        first: examples of the training split, its first ones after that; 0 for all.
        labels: the classes of all examples of a source, int [n].

    Raises:
        ConfigError: for a name that is no class, a split without examples of these classes, or too few of them.
    """
    chosen: dict[str, Source] = dict(sources)
    for key, source in sources.items() if only else ():
        labelled = labels(source)  # refuses a source without
        known = next(f for f in source.features.values() if f.kind == "label" and f.shape == ()).class_names
        for name in only:
            check_name(name, known, f"config.data.only: {source.name} has no class {name!r}")
        places = np.flatnonzero(np.isin(labelled, [list(known).index(name) for name in only]))
        if not len(places):
            raise ConfigError(f"config.data.only={tuple(only)}: the split {key} has no example of these classes")
        chosen[key] = Subset(source, places, source.split)
    if first:
        train = chosen.get("train")
        if train is None or len(train) < first:
            raise ConfigError(
                f"config.data.first={first}: {0 if train is None else len(train)} examples are there to train on; a "
                "smaller number is needed, or 0 for all"
            )
        chosen["train"] = Subset(train, np.arange(first), train.split)
    return chosen


def check(cut: Cut, validation: str, test: str) -> None:
    """Refuses a cut that is impossible, or that contradicts the other splits of the config.

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
        check_fractions(cut.fractions, f"{PATH}.fractions")
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
        labels: returns the classes of its examples, int [n]; called only if the cut is stratified.

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
    parts = assign(n, cut.folds or cut.fractions, cut.seed, classes)
    if cut.folds:
        rest = np.sort(np.concatenate([rows for i, rows in enumerate(parts) if i != cut.fold]))
        parts = [rest, parts[cut.fold]]
    shown = f"{cut.folds} folds" if cut.folds else "/".join(f"{100 * f:g}" for f in cut.fractions)
    how = f"{'stratified, ' if cut.stratified else ''}seed {cut.seed}"
    what = [f"{source.split}: {name} of {shown} ({how})" for name in NAMES]
    if cut.folds:
        what = [f"{source.split}: {side}fold {cut.fold} of {shown} ({how})" for side in ("all but ", "")]
    return {name: Subset(source, rows, text) for name, rows, text in zip(NAMES, parts, what, strict=False)}


def _check_classes(cut: Cut, labels: np.ndarray, parts: int, source: Source) -> None:
    """Refuses classes with fewer examples than there are parts."""
    known, counts = np.unique(labels, return_counts=True)
    least = int(np.argmin(counts))
    if counts[least] < parts:
        key = f"folds={cut.folds}" if cut.folds else f"fractions={cut.fractions}"
        raise ConfigError(
            f"{PATH}.{key}, stratified: class {known[least]} of {source.split!r} of {source.name} has "
            f"{counts[least]} examples, fewer than {parts} parts; use at most {counts[least]}, or stratified=False"
        )


def check_fractions(fractions: Sequence[float], path: str = "fractions") -> None:
    """Refuses fractions that are not two or three positive numbers with sum 1.

    Args:
        fractions: of each part.
        path: name for messages.

    Raises:
        ConfigError: naming the fractions, and what they must be.
    """
    shown = f"{path}={tuple(fractions)}"
    if len(fractions) not in (2, 3):
        raise ConfigError(f"{shown} must be two numbers (train, validation) or three (train, validation, test)")
    if not all(isfinite(f) and 0 < f < 1 for f in fractions):
        raise ConfigError(f"{shown}: each must lie in (0, 1), for example (0.7, 0.15, 0.15)")
    if abs(sum(map(_exact, fractions)) - 1) > Fraction(1, 10**6):
        total = float(sum(map(_exact, fractions)))
        raise ConfigError(f"{shown} add up to {total:.6g}, expected 1, for example (0.7, 0.15, 0.15)")


def _exact(fraction: float) -> Fraction:
    """The decimal that was typed: 0.7 is 7/10, not the nearest binary number."""
    return Fraction(repr(float(fraction)))


def sizes(n: int, fractions: Sequence[float]) -> list[int]:
    """How many of n examples each part gets, by largest remainder; of equal remainders the earlier part wins.

    Args:
        n: number of examples.
        fractions: of each part, adding up to 1.

    Returns:
        Sizes that add up to n, each within one of n times its fraction.

    Raises:
        ConfigError: if a part would be empty, naming it.
    """
    exact = [n * _exact(f) for f in fractions]
    parts = [int(x) for x in exact]
    by_remainder = sorted(range(len(exact)), key=lambda j: (parts[j] - exact[j], j))
    for j in by_remainder[: n - sum(parts)]:
        parts[j] += 1
    for j, size in enumerate(parts):
        if size == 0:
            raise ConfigError(
                f"{n} examples cut by {tuple(fractions)} leave part {j + 1} (fraction {fractions[j]}) empty; use a "
                f"fraction of at least {1 / n if n else 1:.3g}, or a larger set"
            )
    return parts


def equal_sizes(n: int, parts: int) -> list[int]:
    """Sizes of `parts` equal parts of n, the larger ones first: 10 in 3 is [4, 3, 3]."""
    return [n // parts + (i < n % parts) for i in range(parts)]


def allocate(classes: Sequence[int], parts: Sequence[int], shares: Sequence[Fraction]) -> np.ndarray:
    """How many examples of each class each part gets: proportional, at most one off, with both totals exact.

        |a[c, j] - classes[c] shares[j]| <= 1,    sum_j a[c, j] = classes[c],    sum_c a[c, j] = parts[j]

    Every cell gets its share rounded down; the examples that are left of a class go, one each, to the parts that lack
    most. That both totals come out exact is Ryser's construction of a 0/1 matrix with given sums.

    Args:
        classes: examples of each class; they add up to n.
        parts: sizes of the parts; they add up to n, each within one of n times its share.
        shares: of the parts, adding up to 1.

    Returns:
        int64 [classes, parts].

    Raises:
        ValueError: if classes and parts have different totals.

    Reference: H. J. Ryser 1957, "Combinatorial properties of matrices of zeros and ones", theorem 2.1.
    """
    counts, room = np.asarray(classes, np.int64), np.asarray(parts, np.int64)
    if counts.sum() != room.sum():
        raise ValueError(f"classes hold {counts.sum()} examples, parts {room.sum()}; expected the same")
    cells = np.array([[int(int(n) * share) for share in shares] for n in counts], np.int64)  # [c, j]
    left, lack = counts - cells.sum(1), room - cells.sum(0)
    for c in np.argsort(-left, kind="stable"):
        chosen = np.argsort(-lack, kind="stable")[: left[c]]
        cells[c, chosen] += 1
        lack[chosen] -= 1
    return cells


def assign(n: int, fractions: Sequence[float] | int, seed: int, labels: np.ndarray | None = None) -> list[np.ndarray]:
    """Draws at random which of n examples each part gets.

    Args:
        n: number of examples.
        fractions: of the parts, adding up to 1, or a number of equal parts.
        seed: of the draw, at least 0.
        labels: int [n], to keep the proportions of the classes; None for one draw over all.

    Returns:
        For each part its examples, int64, ascending: disjoint, together 0 ... n - 1.

    Raises:
        ConfigError: if a part would be empty.
    """
    if isinstance(fractions, int):
        parts, shares = equal_sizes(n, fractions), [Fraction(1, fractions)] * fractions
    else:
        parts, shares = sizes(n, fractions), [_exact(f) for f in fractions]
    drawn = np.argsort(order.random_bits(seed, order.SPLIT, 0, 0, n), kind="stable").astype(np.int64)
    labels = np.zeros(n, np.int64) if labels is None else np.asarray(labels)
    known, where, counts = np.unique(labels[drawn], return_inverse=True, return_counts=True)
    cells = allocate(counts, parts, shares)
    members: list[list[np.ndarray]] = [[] for _ in parts]
    for c in range(len(known)):
        for j, rows in enumerate(np.split(drawn[where == c], np.cumsum(cells[c])[:-1])):
            members[j].append(rows)
    return [np.sort(np.concatenate(rows)) for rows in members]
