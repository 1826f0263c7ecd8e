"""Reads the file of a sweep: `get_sweep(arg=None)` returns plain numbers and strings, checked here key by key.

    def get_sweep(arg=None):                                     # configs/sweeps/mine.py
        arg = configs.parse_arg(arg, seeds=(0, 1, 2))
        return {
            "title": "MLP on digits", "config": "configs/classify/mlp.py", "overrides": ["config.total_epochs=20"],
            "seeds": arg.seeds, "objective": {"metric": "validation/accuracy", "mode": "max"},
            "grid": {"optim.lr": [1e-3, 3e-3], "optim.weight_decay": [0.0, 0.1]},
        }

Instead of `grid`: `"random": {"optim.lr": {"log_uniform": (1e-4, 1e-1)}, "n": 20, "seed": 0}` (see `random.py`).
`"kfold": {"folds": 5, "split": "train+validation"}` (see `kfold.py`) stands by itself or with one of them;
`"halving": {"budget": "total_epochs", "start": 3}` (see `halving.py`) with one of them gives up the worse trials early.
`--sweep FILE:only=NAME` runs some of the trials (NAME+NAME, in the spelling of their folders).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from cvdl_jax.cli.sweeps import grid as grids
from cvdl_jax.cli.sweeps import halving as halvings
from cvdl_jax.cli.sweeps import kfold as folding
from cvdl_jax.cli.sweeps import random as draws
from cvdl_jax.cli.tables.plan import Planned, load_config, make
from cvdl_jax.cli.tables.study import Study, check_only, check_seeds, dashed, merged, read_file
from cvdl_jax.config import configs
from cvdl_jax.config.parsing import read
from cvdl_jax.errors import ConfigError

LONGEST = 100  # characters of a trial's name, which becomes that of a folder


class Objective(NamedTuple):
    """What trials are compared by.

    Attributes:
        metric: of an evaluation that runs during training, such as validation/accuracy; never of the test split.
        mode: which is better, "max" or "min".
        label: what people read.
        unit: "%" shows a fraction as percent; None for that where the metric is an accuracy.
        digits: after the point.
    """

    metric: str
    mode: Literal["max", "min"] = "max"
    label: str = ""
    unit: str | None = None
    digits: int | None = None

    def described(self) -> dict[str, Any]:
        """The metric as results.json has it."""
        unit = self.unit if self.unit is not None else "%" if self.metric.rpartition("/")[2] == "accuracy" else ""
        digits = self.digits if self.digits is not None else 2 if unit == "%" else 4
        label = self.label or self.metric.replace("/", " ")
        scale = 100.0 if unit == "%" else 1.0
        return {"key": self.metric, "label": label, "unit": unit, "better": self.mode, "scale": scale, "digits": digits}


class Trial(NamedTuple):
    """One configuration of a sweep: its name, and the overrides that make it."""

    name: str
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Sweep(Study):
    """A sweep file, read and checked.

    Attributes:
        config: what follows --config.
        overrides: "--config.key=value" for every trial.
        seeds: of every trial.
        kind: how the trials were chosen, in words.
        trials: the configurations.
        kfold: how each of them is cross-validated, or None.
        halving: how they are given up, or None.
        varied: {dotted key: {trial's name: value}}.
    """

    flag: ClassVar[str] = "sweep"
    config: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    kind: str
    trials: tuple[Trial, ...]
    kfold: folding.KFold | None
    halving: halvings.Halving | None
    varied: dict[str, dict[str, Any]]


def load(text: str) -> Sweep:
    """Reads a sweep.

    Args:
        text: FILE or FILE:ARGS, as on the command line.

    Raises:
        ConfigError: for a missing file, or a key or value that is wrong, with the nearest right one.
    """
    named, values = read_file(text, "sweep")
    sweep = configs.call(_sweep, values, named["file"], named=named)
    check_only(sweep, [trial.name for trial in sweep.trials], "trial")
    return sweep


def _sweep(
    named: dict,
    config: str,
    objective: Mapping,
    title: str = "",
    caption: str = "",
    overrides: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (0,),
    name: str = "",
    grid: Mapping = {},
    random: Mapping = {},
    kfold: Mapping = {},
    halving: Mapping = {},
) -> Sweep:
    """A sweep from the keys of its file; `name` is read already, with the rest of what `named` has."""
    file = named["file"]
    goal = configs.call(Objective, objective, f"{file}: objective")
    if "/" not in goal.metric or goal.metric.startswith("test/"):
        raise ConfigError(
            f"{file}: objective.metric={goal.metric!r} must be of an evaluation during training, such as "
            "validation/accuracy: what the test split had selected, it could no longer judge"
        )
    check_seeds(seeds, file)
    if bool(grid) + bool(random) > 1 or not (grid or random or kfold):
        raise ConfigError(f"{file} needs one of grid and random, or kfold, which may stand with one of them")
    folded = configs.call(folding.KFold, kfold, f"{file}: kfold") if kfold else None
    if folded:
        folding.check(folded, f"{file}: kfold")
    overrides = dashed(overrides)
    kind, points = _points(file, grid, random)
    _check_keys(file, [key for key in (*grid, *random) if not (random and key in ("n", "seed"))], overrides)
    trials = _trials(points, Path(config.partition(":")[0]).stem)
    varied = {key: {trial.name: point[key] for trial, point in trials.items()} for key in points[0]}
    halved = configs.call(halvings.Halving, halving, f"{file}: halving") if halving else None
    if halved:
        taken = [*points[0], *(override.partition("=")[0].removeprefix("--config.") for override in overrides)]
        halvings.check(halved, len(trials), taken, f"{file}: halving")
    return Sweep(
        **named, title=title or named["name"].replace("_", " "), caption=caption, metric=goal.described(),
        config=config, overrides=overrides, seeds=seeds, kind=kind, trials=tuple(trials), kfold=folded, halving=halved,
        varied=varied,
    )  # fmt: skip


def _points(file: str, grid: Mapping, random: Mapping) -> tuple[str, list[dict[str, Any]]]:
    """How the trials were chosen, and {key: value} of each."""
    if grid:
        shape = " x ".join(str(len(values)) for values in grid.values())
        return f"a grid of {shape} configurations", grids.points(grid, f"{file}: grid")
    if random:
        drawn = draws.points(random, f"{file}: random")
        return f"{len(drawn)} random draws (seed {random.get('seed', 0)})", drawn
    return "one configuration", [{}]


def _check_keys(file: str, keys: Iterable[str], overrides: Iterable[str]) -> None:
    """Refuses keys that are not dotted config keys, that runs have for themselves, or that are set twice."""
    fixed = {override.partition("=")[0].removeprefix("--config.") for override in overrides}
    for key in keys:
        if key.startswith("config."):
            raise ConfigError(f"{file}: write {key!r} without its first word, as {key.removeprefix('config.')!r}")
        if key == "seed":
            raise ConfigError(f"{file}: config.seed is set by `seeds`; list the seeds there")
        if key in fixed:
            raise ConfigError(f"{file}: {key} is varied, and set in overrides too; keep one of them")


def _trials(points: Iterable[Mapping[str, Any]], alone: str) -> dict[Trial, Mapping[str, Any]]:
    """Names and overrides, with their points; a point that was drawn before is the same trial."""
    points = list(points)
    short = _shortest(points[0])
    trials = {}
    for point in points:
        words = [f"{short[key]}={_shown(value)}" for key, value in point.items()]
        name = ", ".join(words) or alone
        overrides = tuple(f"--config.{key}={written(value)}" for key, value in point.items())
        if len(name) > LONGEST:
            name = f"{name[: LONGEST - 10]}... {configs.digest(dict(enumerate(overrides)))[:6]}"
        trials[Trial(name, overrides)] = point
    return trials


def _shortest(keys: Iterable[str]) -> dict[str, str]:
    """The last words of each key that tell it from the others: optim.lr is "lr", loss.name is "loss"."""
    keys = {key: key.removesuffix(".name") for key in keys}
    short = {}
    for key, whole in keys.items():
        tails = [whole.split(".", n)[-1] for n in reversed(range(whole.count(".") + 1))]
        short[key] = next(t for t in tails if sum(other.endswith(t) for other in keys.values()) == 1 or t == whole)
    return short


def _shown(value: Any) -> str:
    """A value in a name; "+" separates names elsewhere."""
    return (value if isinstance(value, str) else repr(value)).replace("+", "")


def written(value: Any) -> str:
    """A value as the command line takes it: text that would be read as something else is quoted."""
    return value if isinstance(value, str) and read(value) == value and value[:1] not in "'\"" else repr(value)


def planned(sweep: Sweep, overrides: Iterable[str], folder: str | Path) -> list[Planned]:
    """The runs of a sweep: trial by trial, fold by fold, seed by seed.

    Args:
        sweep: from `load`.
        overrides: of the command line, for every trial; they replace the file's own of the same key.
        folder: of the sweep.

    Raises:
        ConfigError: for a configuration that is wrong, naming the trial.
    """
    overrides = tuple(overrides)
    varied = {override.partition("=")[0] for trial in sweep.trials for override in trial.overrides}
    for override in dashed(overrides):
        key = override.partition("=")[0]
        if key in varied:
            raise ConfigError(f"{key} is varied by {sweep.file}; leave it out, or change the file")
    common = merged(sweep.overrides, overrides)
    runs = []
    for trial in sweep.trials:
        mine = merged(common, trial.overrides)
        folds = [("", ())]
        if sweep.kfold:
            where = f"{sweep.file}: kfold"
            changes = folding.overrides(sweep.kfold, load_config(trial.name, sweep.config, mine), where)
            folds = [(f" fold {i} of {len(changes)}", change) for i, change in enumerate(changes, 1)]
            _check_free(where, changes[0], mine)
        for suffix, change in folds:
            for seed in sweep.seeds:
                words = merged(mine, change)
                runs.append(make(f"{trial.name}{suffix}", trial.name, sweep.config, words, seed, folder))
    return runs


def _check_free(where: str, changes: Iterable[str], overrides: Iterable[str]) -> None:
    """Refuses overrides of what the folds set."""
    fixed = {change.partition("=")[0] for change in changes}
    for override in overrides:
        key = override.partition("=")[0]
        if key in fixed:
            raise ConfigError(f"{where} sets {key.lstrip('-')} itself; leave out {override}")
