"""What `predictions/*.npz` tells of a classifier: confusions, precision and recall, the most confident mistakes."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Classified(NamedTuple):
    """The classified examples of one evaluation.

    Attributes:
        name: of the evaluation.
        index: places of the examples in their split, int [n].
        ids: of the examples, str [n].
        label: int [n].
        scores: float [n, c].
        skipped: how many examples are not among them: scores that are not finite, or no label.
    """

    name: str
    index: np.ndarray
    ids: np.ndarray
    label: np.ndarray
    scores: np.ndarray
    skipped: int

    @property
    def guess(self) -> np.ndarray:
        """The class with the best score, int [n]."""
        return self.scores.argmax(1)


class ClassMetrics(NamedTuple):
    """Precision, recall and F1 of each class; NaN where a class was never predicted, or is not among the labels."""

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray


def files(folder: Path) -> list[Path]:
    """The prediction files of a run: test first, as it is what counts."""
    found = sorted(folder.glob("*.npz")) if folder.is_dir() else []
    return sorted((p for p in found if not p.name.endswith(".tmp.npz")), key=lambda p: p.stem != "test")


def arrays(path: Path) -> dict[str, np.ndarray] | str:
    """The arrays of a file, or in words why it cannot be read."""
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # np.load leaves a bad file open
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        return f"{path.name} cannot be read: {error}"


def classified(name: str, found: dict[str, np.ndarray]) -> Classified | None:
    """The classified examples of an evaluation, None if it did not classify whole examples.

    Args:
        name: of the evaluation.
        found: its arrays; "scores" [n, c] and "label" int [n] are what a classifier saves.
    """
    scores, label = found.get("scores"), found.get("label")
    if scores is None or label is None or scores.ndim != 2 or label.shape != scores.shape[:1]:
        return None
    if not np.issubdtype(label.dtype, np.integer) or not np.issubdtype(scores.dtype, np.floating) or not len(scores):
        return None
    ids = found.get("ids", np.arange(len(label))).astype(str)
    kept = np.isfinite(scores).all(1) & (label >= 0) & (label < scores.shape[1])
    return Classified(name, np.flatnonzero(kept), ids[kept], label[kept], scores[kept], int((~kept).sum()))


def evaluations(folder: Path) -> Iterator[Classified | str]:
    """Every evaluation of a run that classified whole examples; in words why a file cannot be read."""
    for path in files(folder):
        found = arrays(path)
        if isinstance(found, str):
            yield found
            continue
        each = classified(path.stem, found)
        if each is not None:
            yield each


def confusions(each: Classified) -> np.ndarray:
    """How often class i (row) was called class j (column), int [c, c]."""
    c = each.scores.shape[1]
    return np.bincount(each.label.astype(np.int64) * c + each.guess, minlength=c * c).reshape(c, c)


def class_metrics(counts: np.ndarray) -> ClassMetrics:
    """Precision, recall and F1 = 2 TP / (2 TP + FP + FN) from confusions int [c, c]."""
    hits, actual, predicted = np.diag(counts), counts.sum(1), counts.sum(0)

    def ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.full(len(below), np.nan), where=below > 0)

    return ClassMetrics(ratio(hits, predicted), ratio(hits, actual), ratio(2 * hits, actual + predicted))


def probabilities(scores: np.ndarray) -> np.ndarray:
    """Softmax of scores [n, c] in float64."""
    e = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def mistakes(each: Classified) -> np.ndarray:
    """Which examples got a wrong class, the most confident first; ties in the order of the split."""
    wrong = np.flatnonzero(each.guess != each.label)
    confidence = probabilities(each.scores[wrong])[np.arange(len(wrong)), each.guess[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")]
