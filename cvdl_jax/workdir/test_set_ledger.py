"""How often a run has looked at a test set: `evaluations.json`, counted, and locked after the first look.

A test set judges a model once. Whoever evaluates other checkpoints or other weights on it and keeps the best has
selected by it, and the figure is no longer an estimate of anything. So the first evaluation of a test split, which the
end of a run makes on the checkpoint that validation selected, is counted; any other one is refused unless it is asked
for with `--again`, and then it is counted too. The same evaluation repeated gives the same figure, shows nothing new
and is not counted.

Reference: Bishop 2006, "Pattern Recognition and Machine Learning", section 1.3.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir.folder import Workdir, now, read_json, write_json

NAME = "evaluations.json"
EXTERNAL = "external"  # the evaluation of another data set, and the folder of its comparisons


class Look(NamedTuple):
    """What makes two evaluations the same.

    Attributes:
        split: the evaluation, test, or "external " and the data set.
        step: of the checkpoint.
        weights: raw or ema.
        changes: overrides of the run's configuration.
    """

    split: str
    step: int
    weights: str
    changes: tuple[str, ...] = ()

    def words(self) -> str:
        """For people: "step 600, raw weights, --config.data.test=test[:9]"."""
        return ", ".join([f"step {self.step}", f"{self.weights} weights", *self.changes])


def look(config: Mapping[str, Any], split: str, step: int, weights: str, changes: Sequence[str] = ()) -> Look:
    """One evaluation of a run.

    Args:
        config: of the run; "auto" weights are the average where it keeps one.
        split: the evaluation's name.
        step: of the checkpoint.
        weights: auto, ema or raw.
        changes: overrides of the command line.
    """
    used = weights if weights != "auto" else "ema" if config.get("ema") else "raw"
    return Look(split, int(step), used, tuple(sorted(change.lstrip("-") for change in changes)))


def looks(workdir: str | Path, split: str = "test") -> list[dict[str, Any]]:
    """The different evaluations of a split so far, the oldest first.

    Args:
        workdir: of the run.
        split: the evaluation's name.

    Returns:
        [{split, step, weights, changes, time, metrics}]; the end of the run is the first where it was.
    """
    folder = Workdir(workdir)
    entries = _at_the_end(folder, split)
    later = read_json(folder.path / NAME) if (folder.path / NAME).exists() else []
    known = set(map(_look_of, entries))
    return entries + [entry for entry in later if entry["split"] == split and _look_of(entry) not in known]


def _at_the_end(folder: Workdir, split: str) -> list[dict[str, Any]]:
    """The evaluation that the end of the run made, from its results."""
    if not folder.results.exists():
        return []
    results = read_json(folder.results)
    metrics = {key: value for key, value in results["metrics"].items() if key.startswith(f"{split}/")}
    if not metrics:
        return []
    one = look(read_json(folder.config), split, results["selected_step"], "auto")
    return [{**one._asdict(), "time": "at the end of the run", "metrics": metrics}]


def _look_of(entry: Mapping[str, Any]) -> Look:
    return Look(entry["split"], entry["step"], entry["weights"], tuple(entry["changes"]))


def is_new(workdir: str | Path, one: Look) -> bool:
    """Whether a look would show something that no earlier one has shown."""
    return one not in map(_look_of, looks(workdir, one.split))


def check(workdir: str | Path, one: Look, again: bool) -> None:
    """Refuses a further look at a test set that was looked at before.

    Args:
        workdir: of the run.
        one: what is to be evaluated.
        again: whether the user insists.

    Raises:
        ConfigError: saying how often and when it was looked at, and what to type to look again.
    """
    before = looks(workdir, one.split)
    if again or not before or not is_new(workdir, one):
        return
    seen = "; ".join(f"{_look_of(entry).words()} ({entry['time']})" for entry in before)
    raise ConfigError(
        f"{one.split!r} of {workdir} was evaluated {times(len(before))}: {seen}. Another look at it ({one.words()}) "
        "would make it a second validation set: use --split validation, or add --again to look all the same, which is "
        "counted and shown in the report"
    )


def record(workdir: str | Path, one: Look, metrics: Mapping[str, float]) -> int:
    """Counts an evaluation, unless it was made before.

    Args:
        workdir: of the run.
        one: what was evaluated.
        metrics: what came of it.

    Returns:
        How many different evaluations of this split there are now.

    Raises:
        DataError: if it cannot be written down.
    """
    path = Workdir(workdir).path / NAME
    if is_new(workdir, one):
        entries = read_json(path) if path.exists() else []
        try:
            write_json(path, [*entries, {**one._asdict(), "time": now(), "metrics": dict(metrics)}])
        except OSError as error:
            raise DataError(
                f"{path} cannot be written ({error.strerror}), so that the evaluation of {one.split!r} would not be "
                "counted; make the folder writable"
            ) from error
    return len(looks(workdir, one.split))


def keep(workdir: str | Path, splits: Iterable[str]) -> bool:
    """Counts what a run looked at when it ended, before it goes on and its results are those of a later end.

    Args:
        workdir: of the run.
        splits: names of its final evaluations.

    Returns:
        Whether there was such a look.
    """
    folder = Workdir(workdir)
    path = folder.path / NAME
    entries = read_json(path) if path.exists() else []
    made = [{**entry, "time": "at an earlier end"} for split in splits for entry in _at_the_end(folder, split)]
    known = set(map(_look_of, entries))
    write_json(path, [*entries, *(entry for entry in made if _look_of(entry) not in known)])
    return bool(made)


def times(n: int) -> str:
    """How often, in words: once, twice, 3 times."""
    return {0: "never", 1: "once", 2: "twice"}.get(n, f"{n} times")
