"""k-fold cross-validation: every example is validated on once, by a run that was not trained on it.

The folds are ranges of the examples as they are stored, so that a split in TFDS's syntax names them:
`train[0:120]+train[180:600]`. In a set that is ordered (by class, by subject) contiguous folds differ in kind; `blocks`
takes every fold from that many places, spread evenly over the set.

`stratified` draws the folds at random instead, each with the proportions of the classes, at most one example off; the
runs then have `config.data.split = dict(folds=5, fold=i, stratified=True, seed=0)`. What is folded is the development
set, training and validation examples together; the test examples stay apart.

Reference: T. Hastie, R. Tibshirani and J. Friedman, "The Elements of Statistical Learning", 2nd ed., section 7.10.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from cvdl_jax.data.sources import Interval, Source, check_disjoint
from cvdl_jax.data.subset import equal_sizes
from cvdl_jax.errors import ConfigError


class KFold(NamedTuple):
    """How a set of examples is cut into folds.

    Attributes:
        folds: how many.
        split: what is folded, in TFDS's syntax, such as "train" or "train+validation".
        blocks: contiguous pieces of a fold.
        test: whether each run is tested too; the summary shows the test metrics of the selected configuration only.
        stratified: random folds that keep the proportions of the classes.
        seed: of the stratified draw.
    """

    folds: int
    split: str = "train"
    blocks: int = 1
    test: bool = False
    stratified: bool = False
    seed: int = 0


def check(kfold: KFold, where: str) -> None:
    """Refuses numbers that make no folds.

    Raises:
        ConfigError: naming the number.
    """
    if kfold.folds < 2:
        raise ConfigError(f"{where}: folds={kfold.folds} must be at least 2")
    if kfold.blocks < 1:
        raise ConfigError(f"{where}: blocks={kfold.blocks} must be at least 1")
    if kfold.stratified and kfold.blocks > 1:
        raise ConfigError(f"{where}: blocks={kfold.blocks} cuts stored order, stratified=True draws; leave one out")
    if kfold.seed and not kfold.stratified:
        raise ConfigError(f"{where}: seed={kfold.seed} is of stratified folds; add stratified=True, or leave it out")


def fold(intervals: Sequence[Interval], folds: int, blocks: int = 1) -> list[tuple[list[Interval], list[Interval]]]:
    """The folds of a set of examples.

    Args:
        intervals: the examples, ranges of whole splits.
        folds: k, at least 2.
        blocks: contiguous pieces of each fold.

    Returns:
        k times (to train on, to validate on): disjoint, together everything, the validation parts disjoint between
        folds and of sizes that differ by at most one.

    Raises:
        ConfigError: if there are fewer examples than pieces.
    """
    n = sum(stop - start for _, start, stop in intervals)
    if n < folds * blocks:
        raise ConfigError(f"{n} examples cannot be cut into {folds} folds of {blocks} pieces; use fewer")
    # Piece b of fold i: as even as whole numbers allow, first over the folds, then over the pieces of a fold.
    mine = [equal_sizes(size, blocks) for size in equal_sizes(n, folds)]
    sizes = [[mine[i][b] for i in range(folds)] for b in range(blocks)]
    pieces: list[list[tuple[int, int]]] = [[] for _ in range(folds)]
    place = 0
    for row in sizes:
        for i, size in enumerate(row):
            pieces[i].append((place, place + size))
            place += size
    every = sorted(piece for mine in pieces for piece in mine)
    return [(cut(intervals, [p for p in every if p not in set(mine)]), cut(intervals, mine)) for mine in pieces]


def cut(intervals: Sequence[Interval], ranges: Sequence[tuple[int, int]]) -> list[Interval]:
    """Ranges of the joined examples as ranges of whole splits; neighbours are joined.

    Args:
        intervals: the examples.
        ranges: (start, stop) in them, ascending.
    """
    pieces: list[Interval] = []
    for start, stop in ranges:
        before = 0
        for split, first, last in intervals:
            low, high = max(start, before), min(stop, before + last - first)
            if low < high:
                piece = Interval(split, first + low - before, first + high - before)
                if pieces and pieces[-1].split == split and pieces[-1].stop == piece.start:
                    pieces[-1] = Interval(split, pieces[-1].start, piece.stop)
                else:
                    pieces.append(piece)
            before += last - first
    return pieces


def text(intervals: Sequence[Interval]) -> str:
    """Ranges in TFDS's syntax: `train[0:120]+train[180:600]`."""
    return "+".join(f"{split}[{start}:{stop}]" for split, start, stop in intervals)


def overrides(kfold: KFold, config: Any, where: str) -> list[tuple[str, ...]]:
    """What each fold changes in a configuration.

    The checkpoint of the last step is evaluated: one that the fold's own validation examples had selected would look
    better than it is.

    Args:
        kfold: how to fold.
        config: the resolved configuration; its data section names the set.
        where: name for messages.

    Returns:
        "--config.key=value" for every fold.

    Raises:
        ConfigError: for a configuration without data, or folds that hold examples of the test split.
        DataError: if the data or the split do not exist.
    """
    from cvdl_jax.data.catalogue import open_source

    if not config.data.get("name"):
        raise ConfigError(f"{where}: the configuration has no data set (config.data.name) that could be folded")
    name, data_dir, test = (config.data.get(key, "") for key in ("name", "data_dir", "test"))
    source = open_source(name, kfold.split, data_dir, config.data.get("label", ""))
    if test:
        check_disjoint(source.intervals, open_source(name, test, data_dir).intervals, name, kfold.split, test)
    common = [] if kfold.test or not test else ["--config.data.test="]
    common += ["--config.select.metric="] if config.select.metric else []
    if kfold.stratified:
        return [(*changes, *common) for changes in stratified(kfold, source, where)]
    if name.startswith("folder:") and kfold.blocks == 1:
        raise ConfigError(
            f"{where}: a folder of images is ordered by class, so that contiguous folds would lack whole classes; set "
            "blocks, for example to ten times the number of classes, or stratified=True"
        )
    common += ["--config.data.split={}"] if config.data.get("split") else []
    return [
        (f"--config.data.train={text(train)}", f"--config.data.validation={text(validation)}", *common)
        for train, validation in fold(source.intervals, kfold.folds, kfold.blocks)
    ]


def stratified(kfold: KFold, source: Source, where: str) -> list[tuple[str, ...]]:
    """What each stratified fold changes in a configuration.

    Raises:
        ConfigError: if a class has fewer examples than there are folds, naming both.
    """
    from cvdl_jax.data import load, subset

    cuts = [subset.Cut((), kfold.folds, i, True, kfold.seed) for i in range(kfold.folds)]
    try:
        subset.check(cuts[0], "", "")
        subset.apply(cuts[0], source, lambda: load.labels(source))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    splits = [{key: value for key, value in cut._asdict().items() if key != "fractions"} for cut in cuts]
    whole = (f"--config.data.train={kfold.split}", "--config.data.validation=")
    return [(*whole, f"--config.data.split={split!r}") for split in splits]
