"""The saved predictions of a run, `predictions/<evaluation>.npz`: what such a file holds, how it is written and read.

A run writes a file for each evaluation when it ends. Every array has one row per example, in the order of the split:

    ids                 str [n]           names of the examples, "test/12"; absent where there is no data set
    label               int [n]           true classes, negative where an example has none; or
                        float [n, c]      of multi-label classification, 1 for every class that an example has
    scores              float [n, c]      of a classifier, whose softmax are its probabilities; or
    score               float [n]         of one of two classes with a single output, above 0 for class 1
    target, prediction  float [n, ...]    of a regressor
    group/ENTRY         str [n]           the group of each example, of the entries of config.subgroups

and whatever else the evaluation keeps of each example, such as the boxes of a detector [n, d, 4].
"""

import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.workdir.folder import replacing

GROUP = "group/"  # before the name of an entry
NO_ANSWER = -2  # the class of scores with a NaN, or of a score of exactly 0: always wrong; -1 is an absent label


class Classified(NamedTuple):
    """The examples of one evaluation that have finite scores and a label, in the order of the split.

    Attributes:
        name: of the evaluation.
        index: places of the examples in their split, int [n].
        ids: of the examples, str [n].
        label: int [n].
        scores: float [n, c].
        skipped: how many examples are not among them.
        groups: {entry: the group of each example, str [n]}.
    """

    name: str
    index: np.ndarray
    ids: np.ndarray
    label: np.ndarray
    scores: np.ndarray
    skipped: int
    groups: Mapping[str, np.ndarray] = MappingProxyType({})

    @property
    def guess(self) -> np.ndarray:
        """The class with the best score, int [n]."""
        return self.scores.argmax(1)


class Answers(NamedTuple):
    """What was answered on every example, in the order of the ids.

    Attributes:
        ids: of the examples, str [n]; their places where the file has none.
        truth: classes int [n], or numbers float64 [n, ...].
        guess: of the same shape; NO_ANSWER where a classifier gave none.
        score: of two classes, larger for the second one, float [n]; else None.
        classes: how many; 0 of numbers.
    """

    ids: np.ndarray
    truth: np.ndarray
    guess: np.ndarray
    score: np.ndarray | None
    classes: int


def write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes a file of predictions atomically: readers see the old file or the new one, whole.

    Args:
        path: `predictions/<evaluation>.npz`; its folder is made.
        arrays: {name: [n, ...]}, see the module.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        np.savez(file, **arrays)


def files(folder: Path) -> list[Path]:
    """The files of a run's folder of predictions: test first, as it is what counts."""
    paths = [path for path in folder.glob("*.npz") if not path.name.endswith(".tmp.npz")]  # of earlier versions
    return sorted(paths, key=lambda path: (path.stem != "test", path))


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by their names.

    Raises:
        DataError: if it is missing or damaged, naming it and what to type.
    """
    run = path.parent.parent
    command = f"python launch.py --workdir {shlex.quote(str(run))}"
    if not path.is_file():
        raise DataError(f"{path} does not exist; a run writes it when it ends: {command}")
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # np.load leaves a bad file open
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        if (run / "external" / f"{path.stem}.json").is_file():  # another data set, which no end of a run evaluates
            way = f"write it again: python launch.py --mode eval --workdir {shlex.quote(str(run))} --external SET"
        else:
            way = f"a run that has ended writes it again if you remove {run / 'DONE'} and type: {command}"
        raise DataError(f"{path} cannot be read ({error}); {way}") from error


def classified(name: str, arrays: dict[str, np.ndarray]) -> Classified | None:
    """The classified examples among the arrays of an evaluation; None if it did not classify whole examples."""
    scores, label = arrays.get("scores"), arrays.get("label")
    if scores is None or label is None or scores.ndim != 2 or label.shape != scores.shape[:1]:
        return None
    if not np.issubdtype(label.dtype, np.integer) or not np.issubdtype(scores.dtype, np.floating) or not len(scores):
        return None
    ids = arrays.get("ids", np.arange(len(label))).astype(str)
    kept = np.isfinite(scores).all(1) & (label >= 0) & (label < scores.shape[1])
    groups = {key.removeprefix(GROUP): x.astype(str)[kept] for key, x in arrays.items() if key.startswith(GROUP)}
    return Classified(name, np.flatnonzero(kept), ids[kept], label[kept], scores[kept], int((~kept).sum()), groups)


def evaluations(folder: Path) -> Iterator[Classified | DataError]:
    """Every evaluation of a run that classified whole examples, and what is wrong with a file that cannot be read."""
    for path in files(folder):
        try:
            evaluation: Classified | DataError | None = classified(path.stem, read(path))
        except DataError as error:
            evaluation = error
        if evaluation is not None:
            yield evaluation


def reordered(arrays: Mapping[str, np.ndarray], names: Sequence[str], order: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of a classifier with its classes in another order; other arrays stay.

    Args:
        arrays: of an evaluation.
        names: of the classes, in their order now.
        order: the same names in the wanted order.
    """
    new = np.asarray([list(order).index(name) for name in names], int)
    out, label = dict(arrays), arrays.get("label")
    if label is not None and label.ndim == 1 and np.issubdtype(label.dtype, np.integer):
        known = (label >= 0) & (label < len(new))
        out["label"] = np.where(known, new[np.where(known, label, 0)], label)
    if label is not None and label.ndim == 2 and label.shape[1] == len(new) and out.get("scores", label).ndim == 2:
        out["label"] = label[:, np.argsort(new)]
    if "scores" in out and out["scores"].ndim == 2 and out["scores"].shape[1] == len(new):
        out["scores"] = out["scores"][:, np.argsort(new)]
    if "score" in out and len(new) == 2 and tuple(names) != tuple(order):
        out["score"] = -out["score"]
    return out


def answers(arrays: dict[str, np.ndarray]) -> Answers | None:
    """The answers among the arrays of an evaluation; None if they are neither classes nor numbers of whole examples."""
    label, scores, score = (arrays.get(name) for name in ("label", "scores", "score"))
    target, prediction = arrays.get("target"), arrays.get("prediction")
    whole = label is not None and label.ndim == 1 and np.issubdtype(label.dtype, np.integer) and len(label) > 0
    if whole and scores is not None and scores.shape[:1] == label.shape and scores.ndim == 2:
        truth, guess, classes = label, np.where(np.isnan(scores).any(1), NO_ANSWER, scores.argmax(1)), scores.shape[1]
        score = scores[:, 1] - scores[:, 0] if classes == 2 else None
    elif whole and score is not None and score.shape == label.shape and np.isin(label, (0, 1)).all():
        truth, guess, classes = label, np.select([score > 0, score < 0], [1, 0], NO_ANSWER), 2
    elif target is not None and prediction is not None and target.shape == prediction.shape and target.size:
        truth, guess, score, classes = target.astype(np.float64), prediction.astype(np.float64), None, 0
    else:
        return None
    ids = arrays["ids"].astype(str) if "ids" in arrays else np.array([f"{i:09d}" for i in range(len(truth))])
    order = np.argsort(ids, kind="stable")
    return Answers(ids[order], truth[order], guess[order], None if score is None else score[order], classes)
