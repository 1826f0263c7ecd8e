"""Successive halving: all trials on a small budget, the best third of them on three times that, and so on.

    "random": {...}, "halving": {"budget": "total_epochs", "start": 3, "factor": 3, "rungs": 3}

A rung is a sweep of ordinary runs in a folder of its own. They begin anew with the longer budget, rather than go on,
because a learning-rate schedule depends on the length of its run; the first rungs are cheap. Like every selection it
looks at validation only.

Reference: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
figure 1; Li et al. 2018, "Hyperband", for the factor.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

from cvdl_jax.errors import ConfigError
from cvdl_jax.report import table_cells


class Halving(NamedTuple):
    """The schedule of a successive halving.

    Attributes:
        budget: the key that says how long a run is.
        start: its value in the first rung.
        factor: the budget grows by it from rung to rung, and the number of trials falls by it.
        rungs: how many; the last is `start * factor^(rungs - 1)` long.
    """

    budget: Literal["total_epochs", "total_steps"]
    start: int
    factor: int = 3
    rungs: int = 3


def check(halving: Halving, trials: int, keys: Iterable[str], where: str) -> None:
    """Refuses numbers with which nothing would be halved.

    Args:
        halving: from the sweep's file.
        trials: how many there are.
        keys: dotted keys that the trials or the overrides set.
        where: name for messages.

    Raises:
        ConfigError: naming the key.
    """
    for name, least in (("start", 1), ("factor", 2), ("rungs", 2)):
        value = getattr(halving, name)
        if value < least:
            raise ConfigError(f"{where}.{name}={value} must be at least {least}")
    needed = halving.factor ** (halving.rungs - 1)
    if trials < needed:
        raise ConfigError(
            f"{where}: {halving.rungs} rungs of factor {halving.factor} need {needed} trials or more, there are "
            f"{trials}; draw more, or set fewer rungs"
        )
    taken = {"total_epochs", "total_steps"} & set(keys)
    if taken:
        raise ConfigError(f"{where}.budget sets the length of the runs; leave config.{taken.pop()} out")


def budgets(halving: Halving) -> list[int]:
    """The length of the runs of each rung."""
    return [halving.start * halving.factor**k for k in range(halving.rungs)]


def rung(sweep: Any, k: int, names: Sequence[str] | None) -> Any:
    """The sweep that is the k-th rung.

    Args:
        sweep: with `halving`.
        k: from 0.
        names: of the trials that are left; None for all.
    """
    value = budgets(sweep.halving)[k]
    unit = sweep.halving.budget.removeprefix("total_")
    trials = tuple(trial for trial in sweep.trials if names is None or trial.name in names)
    return replace(
        sweep,
        title=f"{sweep.title}: rung {k + 1} of {sweep.halving.rungs}, {value} {unit}",
        overrides=(*sweep.overrides, f"--config.{sweep.halving.budget}={value}"),
        trials=trials,
    )


def survivors(rows: Sequence[Mapping[str, Any]], factor: int) -> list[str]:
    """The trials that go on: the best 1 / factor of a rung.

    Args:
        rows: of the rung, the best first.
        factor: of the halving.
    """
    return [row["name"] for row in rows[: max(1, len(rows) // factor)]]


def trials(rungs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every trial with its score in each rung that it was in: [{"name", "scores"}], the order of the first rung."""
    scores = [{row["name"]: row["mean"] for row in results["rows"]} for results in rungs]
    return [{"name": name, "scores": [rung[name] for rung in scores if name in rung]} for name in scores[0]]


def told(rungs: Sequence[Mapping[str, Any]]) -> str:
    """A sentence for the caption: how many trials every rung had, and how good the best of them was."""
    parts = []
    for results in rungs:
        value = table_cells.value(results["rows"][0], results["metric"])
        parts.append(f"{results['title'].rpartition(', ')[2]}: {len(results['rows'])} trials, the best {value}")
    return f"Successive halving ({'; '.join(parts)})."
