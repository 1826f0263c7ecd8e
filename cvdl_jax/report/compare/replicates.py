"""Two methods with several runs each: paired by seed on one test set, or by fold of one cross-validation."""

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from cvdl_jax.errors import DataError
from cvdl_jax.metrics.stats import paired_tests
from cvdl_jax.metrics.stats.intervals import TOO_FEW, student_t_within
from cvdl_jax.report.compare.methods import Method
from cvdl_jax.report.compare.predictions import Predictions


def common(first: Method, second: Method) -> list[Any]:
    """What both methods have a run of: seeds, or folds.

    Raises:
        DataError: if there is nothing, or only one of them has folds.
    """
    if first.folds != second.folds:
        folded, other = (first, second) if first.folds else (second, first)
        raise DataError(
            f"--compare: {folded.name} is a cross-validation and {other.name} is not; compare it with one on the same "
            "folds"
        )
    names = [[run.fold if method.folds else run.seed for run in method.runs] for method in (first, second)]
    units = [unit for unit in dict.fromkeys(names[0]) if unit in names[1]]
    if not units:
        what = "fold" if first.folds else "seed"
        shown = " and ".join(", ".join(map(str, dict.fromkeys(own))) for own in names)
        raise DataError(
            f"--compare: {first.name} and {second.name} have no {what} in common ({shown}), so that their runs cannot "
            f"be paired; run both with the same {what}s"
        )
    return units


def unpaired(first: Method, second: Method, units: Sequence[Any]) -> list[str]:
    """Which runs are compared, in a sentence, where some of them have no partner; [] where all have one."""
    what = "fold" if first.folds else "seed"
    left = {
        method.name: [str(unit) for run in method.runs if (unit := run.fold if method.folds else run.seed) not in units]
        for method in (first, second)
    }
    if not any(left.values()):
        return []
    used = f"{what}{'s' if len(units) > 1 else ''} {', '.join(map(str, units))}"
    rest = [f"{what}{'s' if len(own) > 1 else ''} {', '.join(own)} of {name}" for name, own in left.items() if own]
    return [f"{first.name} and {second.name} are compared by {used} alone; without a partner: {'; '.join(rest)}."]


def spread(values: Sequence[float], what: str, share: bool) -> dict[str, Any]:
    """Mean, deviation and Student's t interval of a metric, which may be a share in 0..1, over seeds or folds."""
    kind = f"Student-t over {len(values)} {what}"
    summary = {"value": fmean(values), "std": None, "low": None, "high": None, "interval": kind}
    if len(values) < 2:
        return summary | {"why": f"only one of the {what} was run"}
    ends = student_t_within(values, *((0, 1) if share else (-math.inf, math.inf)))
    if ends is None:
        return summary | {"std": stdev(values), "why": TOO_FEW.format(what=what)}
    return summary | {"std": stdev(values), "low": ends[0], "high": ends[1]}


def over_seeds(values: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Seed by seed: the exact sign-flip test, on which the verdict rests, and the paired t test.

    Args:
        values: (first, second) of each common seed, two or more.
    """
    differences = [second - first for first, second in values]
    n = len(differences)
    test = paired_tests.paired_t(differences)
    p = paired_tests.sign_flip(differences[: paired_tests.EXACT_SEEDS])
    return {
        **_ends(test, "paired t"), "p_t": _number(test.p), "p": p, "test": "sign-flip", "n": n,
        "too_small": n < paired_tests.pairs_needed(),
    }  # fmt: skip


def over_folds(values: Sequence[tuple[float, float]], test_over_train: float) -> dict[str, Any]:
    """Fold by fold: Nadeau and Bengio's corrected resampled t test.

    Args:
        values: (first, second) of each common fold, two or more.
        test_over_train: size of a fold over what was trained on.
    """
    test = paired_tests.corrected_resampled_t([second - first for first, second in values], test_over_train)
    ends = _ends(test, "corrected resampled t")
    p = _number(test.p)
    return {**ends, "p": p, "test": "corrected resampled t", "n": len(values), "too_small": p is None}


def fold_ratio(folds: Mapping[Any, Predictions]) -> float:
    """n_test / n_train of folds: each was validated on, the others trained on.

    Raises:
        DataError: if two folds share examples, or there is only one.
    """
    ids = [set(fold.ids) for fold in folds.values()]
    total = sum(map(len, ids))
    if len(ids) < 2 or len(set.union(*ids)) < total:
        names = ", ".join(fold.run for fold in folds.values())
        raise DataError(
            f"--compare: the folds {names} must be two or more that share no examples; compare what each was validated "
            "on: --split validation"
        )
    size = total / len(ids)
    return size / (total - size)


def _ends(test: paired_tests.TTest, interval: str) -> dict[str, Any]:
    return {"difference": test.mean, "low": test.low, "high": test.high, "interval": interval}


def _number(p: float) -> float | None:
    """None for NaN, which JSON does not know."""
    return None if math.isnan(p) else p
