"""Rows of a table against what was published, and against the best row."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import paired_tests
from cvdl_jax.workdir import predictions
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.run_state import DONE

ALPHA = 0.05
SEEDS = 5  # from this number of common seeds on, the seeds are tested
BEST, WORSE, SAME, FEW, NONE = "best", "worse", "not significant", "n too small", ""


def with_published(row: Mapping[str, Any], metric: Mapping[str, Any]) -> str:
    """The difference from the published value, or why there is none.

    Args:
        row: with `published`, `mean`, and what it was measured on and how: `data_name` and `protocol`.
        metric: of the table.

    Returns:
        "-0.12", "not comparable: why", or "" without a published value or a measured one.
    """
    published = row["published"]
    if published is None:
        return ""
    ours = {"data": row["data_name"], "metric": metric["label"], "protocol": row["protocol"]}
    why = [f"{key} theirs {published[key]!r}, ours {ours[key]!r}" for key in ours if published[key] != ours[key]]
    if why:
        return "not comparable: " + "; ".join(why)
    if row["mean"] is None:
        return ""
    return f"{row['mean'] - published['value']:+.{metric['digits']}f}"


def best_row(rows: Sequence[Mapping[str, Any]], metric: Mapping[str, Any]) -> int | None:
    """Index of the row with the best mean, the first of equals; None where nothing was measured."""
    sign = 1 if metric["better"] == "max" else -1
    known = [i for i, row in enumerate(rows) if row["mean"] is not None and math.isfinite(row["mean"])]
    return max(known, key=lambda i: (sign * rows[i]["mean"], -i), default=None)


def with_best(rows: Sequence[dict[str, Any]], metric: Mapping[str, Any]) -> None:
    """Fills in `significance`, `p` and `verdict` of every row: is its difference from the best row's real?

    With one common seed McNemar's exact test pairs the predictions of the two runs. From five common seeds on the exact
    sign-flip test pairs the seeds; McNemar's, on the first of them, is said too. Two to four seeds are too few.
    """
    chosen = best_row(rows, metric)
    for i, row in enumerate(rows):
        row.update(significance="", p=None, verdict=NONE)
        if chosen is None or row["mean"] is None:
            continue
        if i == chosen:
            row.update(significance="best", verdict=BEST)
        else:
            row.update(_pair(rows[chosen], row, metric))


def _pair(best: Mapping[str, Any], row: Mapping[str, Any], metric: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict on a row and the best one."""
    runs = [{run["seed"]: run for run in side["runs"] if run["state"] == DONE} for side in (best, row)]
    seeds = [seed for seed in runs[0] if seed in runs[1]]
    if not seeds:
        return {"significance": f"{FEW}: no seed in common with the best row", "verdict": FEW}
    examples = _mcnemar(runs[0][seeds[0]], runs[1][seeds[0]], metric)
    p_examples, said = examples if isinstance(examples, tuple) else (None, examples)
    if len(seeds) == 1:
        if p_examples is None:
            return {"significance": f"{FEW}: one common seed, and {said}", "verdict": FEW}
        verdict = WORSE if p_examples < ALPHA else SAME
        prefix = "" if verdict == WORSE else f"{SAME}: "
        return {"significance": f"{prefix}{said}", "p": p_examples, "verdict": verdict}
    more = f"; {said}" if p_examples is not None else ""
    if len(seeds) < SEEDS:
        return {"significance": f"{FEW}: {len(seeds)} common seeds{more}", "p": None, "verdict": FEW}
    return _seeds([runs[0][s]["value"] - runs[1][s]["value"] for s in seeds[: paired_tests.EXACT_SEEDS]], more)


def _seeds(differences: Sequence[float], more: str) -> dict[str, Any]:
    """The verdict of the sign-flip test."""
    n = len(differences)
    if not all(map(math.isfinite, differences)):
        return {"significance": f"{FEW}: a value is not finite", "verdict": FEW}
    p = paired_tests.sign_flip(differences)
    said = f"{paired_tests.format_p(p)} (sign-flip, {n} seeds)"
    if p < ALPHA:
        return {"significance": said + more, "p": p, "verdict": WORSE}
    if p <= paired_tests.least_p(n):  # all agree, and yet it cannot be said: too few, not equal
        why = f"{FEW}: all {n} seeds agree, but {n} cannot give less than {said}; {paired_tests.pairs_needed()} could"
        return {"significance": why + more, "p": p, "verdict": FEW}
    return {"significance": f"{SAME}: {said}{more}", "p": p, "verdict": SAME}


def _mcnemar(first: Mapping[str, Any], second: Mapping[str, Any], metric: Mapping[str, Any]) -> tuple[float, str] | str:
    """McNemar's test of two runs: its p and what to say of it; only why not, where it cannot be made."""
    evaluation, _, name = metric["key"].partition("/")
    if name != "accuracy":
        return f"{metric['key']} is no accuracy, so that examples cannot be paired"
    try:
        (ids, truth, right), (others, truth_there, right_there) = (
            hits(Path(run["workdir"]), evaluation, run["value"] / metric["scale"]) for run in (first, second)
        )
        if not (np.array_equal(ids, others) and np.array_equal(truth, truth_there)):
            raise DataError("the two runs were tested on different examples")
    except DataError as error:
        return str(error)
    test = paired_tests.mcnemar(right, right_there)
    p = paired_tests.format_p(test.p)
    return test.p, f"{p} (McNemar, seed {first['seed']}: {test.first_only} against {test.second_only} examples)"


def hits(workdir: Path, evaluation: str, accuracy: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which examples a run classified correctly, from its saved predictions.

    Args:
        workdir: of the run.
        evaluation: such as "test".
        accuracy: what the run reported, 0..1.

    Returns:
        (ids [n], true classes int [n], right bool [n]) in the order of the ids.

    Raises:
        DataError: if there are no such predictions, or they do not give the accuracy.
    """
    path = Workdir(workdir).predictions / f"{evaluation}.npz"
    answers = predictions.answers(predictions.read(path))
    if answers is None or not answers.classes:
        raise DataError(f"{path} holds no scores and labels")
    right = answers.guess == answers.truth
    if abs(right.mean() - accuracy) > 1e-6:
        raise DataError(f"{path} gives an accuracy of {right.mean():.6f}, the run reported {accuracy:.6f}")
    return answers.ids, answers.truth, right
