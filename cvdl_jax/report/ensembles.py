"""Ensembles: several classifiers of one split, combined by the mean of their probabilities or by majority vote.

The members may be the models of a cross-validation, seeds, or different models. Their saved scores are enough, so that
nothing is evaluated again.

Reference: Hansen and Salamon 1990, "Neural Network Ensembles"; Breiman 1996, "Bagging Predictors", section 4.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import calibration
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.metrics.stats.paired_tests import mcnemar
from cvdl_jax.workdir import data_facts, predictions

TINY = 1e-300  # the least probability whose logarithm is taken


class Member(NamedTuple):
    """One classifier's scores of a split.

    Attributes:
        name: of its run folder.
        ids: of the examples, str [n].
        label: int [n].
        scores: float [n, c]; their softmax are its probabilities.
        classes: their names in the order of the scores; () where the run kept none.
        fingerprint: of the data that the examples were cut from; "" where the run kept none.
    """

    name: str
    ids: np.ndarray
    label: np.ndarray
    scores: np.ndarray
    classes: tuple[str, ...] = ()
    fingerprint: str = ""


def average(probabilities: np.ndarray) -> np.ndarray:
    """The mean of the members' probabilities: [m, n, c] -> [n, c]."""
    return np.asarray(probabilities, np.float64).mean(0)


def vote(probabilities: np.ndarray) -> np.ndarray:
    """The class that most members choose; of classes with as many votes, the one with the larger mean probability.

    Args:
        probabilities: float [m, n, c].

    Returns:
        int64 [n]. A member's own choice is its best class, the first of equals; so is the class of equal means.
    """
    p = np.asarray(probabilities, np.float64)
    votes = (p.argmax(-1)[..., None] == np.arange(p.shape[-1])).sum(0)  # [n, c]
    tied = votes == votes.max(-1, keepdims=True)
    return np.where(tied, average(p), -1.0).argmax(-1)


def folders(paths: Sequence[str]) -> list[Path]:
    """The run folders among paths: a folder with runs in it, such as a sweep's, stands for all of them, by name.

    Raises:
        DataError: for a folder without any run.
        ConfigError: for a run named twice, or fewer than two.
    """
    members: list[Path] = []
    for path in map(Path, paths):
        runs = sorted(p.parent for p in path.rglob("config.json"))
        inside = [run for run in runs if not any(run in other.parents for other in runs)]
        if not inside:
            raise DataError(f"--ensemble: {path} holds no run (no config.json in it or below); name a --workdir of one")
        members += inside
    twice = [path for path in members if [p.resolve() for p in members].count(path.resolve()) > 1]
    if twice:
        raise ConfigError(f"--ensemble: {twice[0]} is named twice; every member has one vote")
    if len(members) < 2:
        raise ConfigError(f"--ensemble needs at least two runs, got {len(members)}: {', '.join(map(str, members))}")
    return members


def read(folder: Path, split: str) -> Member | None:
    """The saved predictions of a run; None where it saved none of this split.

    Raises:
        DataError: if the file is damaged, or holds no scores of whole examples, or scores that are not finite.
    """
    path = folder / "predictions" / f"{split}.npz"
    if not path.is_file():
        return None
    return member(folder, predictions.read(path), str(path), data_facts.fingerprint(folder, split))


def member(folder: Path, arrays: dict[str, np.ndarray], what: str, fingerprint: str = "") -> Member:
    """A member from the arrays of an evaluation: "ids", "label" and "scores".

    Args:
        folder: of the run.
        arrays: of the evaluation.
        what: names it in messages.
        fingerprint: of the data that it was made on.

    Raises:
        DataError: see `read`.
    """
    evaluation = predictions.classified("", arrays)
    if evaluation is None or "ids" not in arrays:
        raise DataError(f"{what} has no scores [n, c] and labels [n]; an ensemble needs classifiers")
    if evaluation.skipped:
        raise DataError(f"{what}: {evaluation.skipped} examples have scores that are not finite, or no label")
    names = data_facts.class_names(folder)
    return Member(str(folder), evaluation.ids, evaluation.label, evaluation.scores, names, fingerprint)


def aligned(members: Sequence[Member]) -> list[Member]:
    """The members with their examples, and their classes by name, in the order of the first.

    Raises:
        DataError: if two have different examples, labels, classes or data, naming both.
    """
    first = members[0]
    place = {name: i for i, name in enumerate(first.ids)}
    in_order = []
    for member in members:
        both = f"{first.name} and {member.name}"
        if member.scores.shape[1] != first.scores.shape[1]:
            raise DataError(
                f"{both} tell {first.scores.shape[1]} and {member.scores.shape[1]} classes; expected the same"
            )
        different = set(first.ids) ^ set(member.ids)
        if different or len(member.ids) != len(first.ids):
            raise DataError(
                f"{both} were evaluated on different examples ({len(first.ids)} and {len(member.ids)}"
                f"{f', for example {min(different)}' if different else ''}); add --config.data.test=SPLIT to evaluate "
                "all of them on one split"
            )
        rows = np.argsort([place[name] for name in member.ids])
        if member.fingerprint and first.fingerprint and member.fingerprint != first.fingerprint:
            raise DataError(
                f"{both} were evaluated on data that have changed in between (fingerprints {first.fingerprint[:8]} and "
                f"{member.fingerprint[:8]}); an ensemble needs the same examples"
            )
        arrays = {"label": member.label[rows], "scores": member.scores[rows]}
        if member.classes and first.classes:
            arrays = _as_first(arrays, member, first, both)
        one = Member(member.name, member.ids[rows], arrays["label"], arrays["scores"], first.classes)
        if (one.label != first.label).any():
            raise DataError(f"{both} have different labels for {first.ids[np.argmax(one.label != first.label)]}")
        in_order.append(one)
    return in_order


def _as_first(arrays: dict[str, np.ndarray], member: Member, first: Member, both: str) -> dict[str, np.ndarray]:
    other = [name for name in member.classes if name not in first.classes]
    if other:
        raise DataError(f"{both} know different classes: {other[0]!r} is one of {member.name} alone")
    return predictions.reordered(arrays, member.classes, first.classes)


def combine(members: Sequence[Member]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Both ensembles of members, and every member beside them.

    Args:
        members: two or more, aligned.

    Returns:
        A dictionary for JSON: `examples`; `average` and `vote`, each with `right`, `accuracy`, `low`, `high` (95 %
        Wilson); `members`: likewise, with the p value of McNemar's exact test against the average; `mean`: of the
        members' accuracies; `disagreement`: the share of examples on which two members differ, over all pairs. Where
        they are probabilities, `loss` is the negative log-likelihood. And the arrays `scores` (log of the mean
        probabilities), `vote`, `label` and `ids`.
    """
    first, loss = members[0], calibration.negative_log_likelihood
    p = np.stack([calibration.softmax(member.scores) for member in members])  # [m, n, c]
    mean, voted, n = average(p), vote(p), len(first.label)
    log_mean = np.log(np.maximum(mean, TINY))
    guesses, hit = p.argmax(-1), mean.argmax(-1) == first.label
    pairs = [(guesses[i] != guesses[j]).mean() for i in range(len(p)) for j in range(i)]
    alone = [
        {"workdir": member.name, **facts(guess == first.label), "loss": loss(member.scores, first.label),
         "p": mcnemar(guess == first.label, hit).p}
        for member, guess in zip(members, guesses, strict=True)
    ]  # fmt: skip
    results = {
        "examples": n,
        "average": {**facts(hit), "loss": loss(log_mean, first.label)},
        "vote": facts(voted == first.label),
        "members": alone,
        "mean": float(np.mean([member["accuracy"] for member in alone])),
        "disagreement": float(np.mean(pairs)),
    }
    scores = log_mean.astype(np.float32)
    return results, {"ids": first.ids, "scores": scores, "vote": voted, "label": first.label}


def facts(hit: np.ndarray) -> dict[str, Any]:
    """How many of bool [n] are right, the share, and its 95 % Wilson interval."""
    right, n = int(hit.sum()), len(hit)
    low, high = wilson(right, n)
    return {"right": right, "accuracy": right / n, "low": low, "high": high}
