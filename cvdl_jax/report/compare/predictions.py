"""The saved predictions of a run, `predictions/<split>.npz`, and whether two runs predicted the same examples."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.workdir.folder import Workdir, read_json
from cvdl_jax.workdir.predictions import arrays, files

CLASSES, NUMBERS = "classes", "numbers"
SPLITS = ("train", "validation", "test", "split")  # what config.data chooses examples by
NO_ANSWER = -1  # the class of scores that are not finite, or of a score of exactly 0: always wrong


class Predictions(NamedTuple):
    """What a run predicted of a split, in the order of the ids.

    Attributes:
        run: its folder, as typed.
        split: such as "test".
        kind: "classes" of a classifier, "numbers" of a regressor.
        ids: of the examples, str [n]; their places where the run saved none.
        truth: classes int [n], or numbers float [n, ...].
        guess: of the same shape; NO_ANSWER where a classifier gave none.
        score: of two classes, larger for the second one, float [n]; else None.
        classes: how many, 0 of numbers.
        data: name, version and fingerprint of the data; {} where the run has no data set.
        section: config.data.
    """

    run: str
    split: str
    kind: str
    ids: np.ndarray
    truth: np.ndarray
    guess: np.ndarray
    score: np.ndarray | None
    classes: int
    data: dict[str, Any]
    section: dict[str, Any]


def read(run: str | Path, split: str) -> Predictions:
    """The predictions of a run.

    Args:
        run: its folder.
        split: of which evaluation.

    Raises:
        ConfigError: for a split that the run has not evaluated.
        DataError: for a run without predictions, or with such as cannot be compared example by example.
    """
    folder = Workdir(run)
    saved = {path.stem: path for path in files(folder.predictions)}
    if not saved:
        raise DataError(
            f"--compare {run} holds no predictions; a run writes them when it ends. Continue it with: python launch.py "
            f"--workdir {run}"
        )
    if split not in saved:
        raise ConfigError(f"--split={split!r} is not among the predictions of {run}; {nearest(split, saved)}")
    found = arrays(saved[split])
    if isinstance(found, str):
        raise DataError(f"--compare {run}: {found}")
    kind, truth, guess, score, classes = _understood(found, run, saved[split])
    ids = found["ids"].astype(str) if "ids" in found else np.array([f"{i:09d}" for i in range(len(truth))])
    order = np.argsort(ids, kind="stable")
    score = score[order] if score is not None else None
    meta, section = folder.read_meta(), read_json(folder.config).get("data") or {}
    result = Predictions(
        str(run), split, kind, ids[order], truth[order], guess[order], score, classes, meta.get("data") or {}, section
    )
    _check_reported(result, folder)
    return result


def _understood(found: dict[str, np.ndarray], run: Any, path: Path) -> tuple[str, Any, Any, Any, int]:
    """Kind, truth, guess, score and number of classes of the arrays of a file."""
    label, scores, score = (found.get(name) for name in ("label", "scores", "score"))
    whole = label is not None and label.ndim == 1 and np.issubdtype(label.dtype, np.integer) and len(label) > 0
    if whole and scores is not None and scores.shape[:1] == label.shape and scores.ndim == 2:
        guess = np.where(np.isnan(scores).any(1), NO_ANSWER, scores.argmax(1))
        margin = scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else None
        return CLASSES, label, guess, margin, scores.shape[1]
    if whole and score is not None and score.shape == label.shape and np.isin(label, (0, 1)).all():
        return CLASSES, label, np.select([score > 0, score < 0], [1, 0], NO_ANSWER), score, 2
    target, prediction = found.get("target"), found.get("prediction")
    if target is not None and prediction is not None and target.shape == prediction.shape and target.size:
        return NUMBERS, target.astype(np.float64), prediction.astype(np.float64), None, 0
    raise DataError(
        f"--compare {run}: {path} holds {', '.join(sorted(found))}. What can be compared example by example are "
        "classes (scores and label) and numbers (prediction and target); metrics of whole sets, such as the average "
        "precision of a detector, are compared over seeds, in a table: python launch.py --table FILE"
    )


def _check_reported(found: Predictions, folder: Workdir) -> None:
    """Refuses predictions that are not those of the run's results."""
    reported = read_json(folder.results)["metrics"] if folder.results.exists() else {}
    accuracy = reported.get(f"{found.split}/accuracy")
    if found.kind != CLASSES or accuracy is None:
        return
    here = float((found.guess == found.truth).mean())
    if abs(here - accuracy) > 1e-6:
        raise DataError(
            f"--compare {found.run}: its predictions give an accuracy of {here:.6f}, its results.json says "
            f"{accuracy:.6f}; one of them is not of this run"
        )


def check_same(first: Predictions, second: Predictions) -> str:
    """Refuses two runs that did not predict the same examples.

    Returns:
        A note where their data differ in a way that does not matter, else "".

    Raises:
        DataError: naming the runs and what differs.
    """
    pair = f"--compare {first.run} {second.run}"
    same = "a paired comparison needs the same examples"
    for key in ("name", "version"):
        if first.data.get(key) != second.data.get(key):
            a, b = (f"{each.data.get('name')} {each.data.get('version') or ''}".strip() for each in (first, second))
            raise DataError(f"{pair}: the data differ, {a} and {b}; {same}")
    if (first.kind, first.classes) != (second.kind, second.classes):
        a, b = (f"{each.classes} classes" if each.classes else "numbers" for each in (first, second))
        raise DataError(f"{pair}: one predicts {a}, the other {b}")
    if not np.array_equal(first.ids, second.ids):
        raise DataError(f"{pair}: {_different_ids(first, second)}; {same}: the same config.data.{first.split}")
    wrong = _different_truth(first, second)
    if wrong:
        raise DataError(f"{pair}: {wrong}; {same}")
    if first.data.get("fingerprint") == second.data.get("fingerprint"):
        return ""
    others = [{k: v for k, v in each.section.items() if k not in SPLITS} for each in (first, second)]
    if others[0] != others[1] or first.section == second.section:
        prints = [str(each.data.get("fingerprint"))[:8] for each in (first, second)]
        raise DataError(f"{pair}: the data were changed between them (fingerprints {' and '.join(prints)}); {same}")
    return "The runs train on different splits; the ids and labels of the examples compared are the same."


def _different_ids(first: Predictions, second: Predictions) -> str:
    only = {a.run: sorted(set(a.ids) - set(b.ids)) for a, b in ((first, second), (second, first))}
    parts = [f"{len(ids)} only in {run}, such as {str(ids[0])!r}" for run, ids in only.items() if ids]
    sizes = f"{len(first.ids)} and {len(second.ids)} {first.split} examples"
    return f"{sizes}, {'; '.join(parts) or 'some of them more than once'}"


def _different_truth(first: Predictions, second: Predictions) -> str:
    if first.truth.shape != second.truth.shape:
        return f"the targets have shapes {first.truth.shape} and {second.truth.shape}"
    differ = (first.truth != second.truth).reshape(len(first.truth), -1).any(1)
    if not differ.any():
        return ""
    i = int(differ.argmax())
    return (
        f"{differ.sum()} of {len(differ)} labels differ, such as that of {str(first.ids[i])!r}: {first.truth[i]} and "
        f"{second.truth[i]}"
    )
