"""The predictions of two runs that are compared: those of each, and whether both are of the same examples."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.workdir import data_facts, predictions
from cvdl_jax.workdir.folder import Workdir, read_json

SPLITS = ("train", "validation", "test", "split")  # what config.data chooses examples by


class Predictions(NamedTuple):
    """What a run predicted of a split, in the order of the ids.

    Attributes:
        run: its folder, as typed.
        split: such as "test".
        ids: see `workdir.predictions.Answers`, as for the next four.
        truth: classes int [n], or numbers float64 [n, ...].
        guess: of the same shape.
        score: of two classes, float [n]; else None.
        classes: how many, 0 of numbers.
        data: name, version and fingerprint of the data; {} where the run has no data set.
        section: config.data.
        names: of the classes, sorted, as truth and guess count them; () where the run kept none.
        fingerprint: of the data that the split was cut from; "" where the run kept none.
    """

    run: str
    split: str
    ids: np.ndarray
    truth: np.ndarray
    guess: np.ndarray
    score: np.ndarray | None
    classes: int
    data: dict[str, Any]
    section: dict[str, Any]
    names: tuple[str, ...] = ()
    fingerprint: str = ""


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
    saved = {path.stem: path for path in predictions.files(folder.predictions)}
    if not saved:
        raise DataError(
            f"--compare {run} holds no predictions; a run writes them when it ends. Continue it with: python launch.py "
            f"--workdir {run}"
        )
    if split not in saved:
        raise ConfigError(f"--split={split!r} is not among the predictions of {run}; {nearest(split, saved)}")
    names, arrays = data_facts.class_names(run), predictions.read(saved[split])
    arrays = predictions.reordered(arrays, names, sorted(names)) if names else arrays
    answers = predictions.answers(arrays)
    if answers is None:
        raise DataError(
            f"--compare {run}: {saved[split]} holds {', '.join(sorted(arrays))}. What can be compared example by "
            "example are classes (scores and label) and numbers (prediction and target); metrics of whole sets, such "
            "as the average precision of a detector, are compared over seeds, in a table: python launch.py --table FILE"
        )
    meta, section = folder.read_meta(), read_json(folder.config).get("data") or {}
    result = Predictions(
        str(run), split, *answers, meta.get("data") or {}, section,
        tuple(sorted(names)) if answers.classes else (), data_facts.fingerprint(run, split),
    )  # fmt: skip
    _check_reported(result, folder)
    return result


def _check_reported(saved: Predictions, folder: Workdir) -> None:
    """Refuses predictions that are not those of the run's results."""
    reported = read_json(folder.results)["metrics"] if folder.results.exists() else {}
    accuracy = reported.get(f"{saved.split}/accuracy")
    if not saved.classes or accuracy is None:
        return
    here = float((saved.guess == saved.truth).mean())
    if abs(here - accuracy) > 1e-6:
        raise DataError(
            f"--compare {saved.run}: its predictions give an accuracy of {here:.6f}, its results.json says "
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
    same_files = bool(first.fingerprint) and first.fingerprint == second.fingerprint  # perhaps under another name
    if not same_files and any(first.data.get(key) != second.data.get(key) for key in ("name", "version")):
        a, b = (f"{run.data.get('name')} {run.data.get('version') or ''}".strip() for run in (first, second))
        raise DataError(f"{pair}: the data differ, {a} and {b}; {same}")
    if first.classes != second.classes:
        a, b = (f"{run.classes} classes" if run.classes else "numbers" for run in (first, second))
        raise DataError(f"{pair}: one predicts {a}, the other {b}")
    if first.names and second.names and first.names != second.names:
        only = sorted(set(first.names) ^ set(second.names))[0]
        raise DataError(f"{pair}: they know different classes, {only!r} is one of a single run; {same}")
    if not np.array_equal(first.ids, second.ids):
        raise DataError(f"{pair}: {_different_ids(first, second)}; {same}: the same config.data.{first.split}")
    wrong = _different_truth(first, second)
    if wrong:
        raise DataError(f"{pair}: {wrong}; {same}")
    if first.data.get("fingerprint") == second.data.get("fingerprint"):
        return ""
    if first.fingerprint and second.fingerprint and first.fingerprint != second.fingerprint:
        prints = f"{first.fingerprint[:8]} and {second.fingerprint[:8]}"
        raise DataError(f"{pair}: the data were changed between them (fingerprints {prints}); {same}")
    others = [{k: v for k, v in run.section.items() if k not in SPLITS} for run in (first, second)]
    if others[0] != others[1] or first.section == second.section:
        prints = [str(run.data.get("fingerprint"))[:8] for run in (first, second)]
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
    a, b = (run.names[run.truth[i]] if run.names else run.truth[i] for run in (first, second))
    return f"{differ.sum()} of {len(differ)} labels differ, such as that of {str(first.ids[i])!r}: {a} and {b}"
