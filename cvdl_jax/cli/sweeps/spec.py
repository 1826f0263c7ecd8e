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

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cvdl_jax.cli.sweeps import grid as grids
from cvdl_jax.cli.sweeps import halving as halvings
from cvdl_jax.cli.sweeps import kfold as folding
from cvdl_jax.cli.sweeps import random as draws
from cvdl_jax.cli.tables.plan import Planned, make, slug
from cvdl_jax.cli.tables.spec import function, merged, split_only
from cvdl_jax.config import configs
from cvdl_jax.config.binding import check_name
from cvdl_jax.config.parsing import plain, read
from cvdl_jax.errors import ConfigError

FOLDER = Path("runs") / "sweeps"
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


class Sweep(NamedTuple):
    """A sweep file, read and checked.

    Attributes:
        file: as typed.
        arg: what followed its colon, without `only`.
        only: slugs of the trials to run; () for all.
        name: of the sweep's folder: the file's, unless it gives one; a smoke run has its own.
        title: of the sweep.
        caption: a sentence or more.
        config: what follows --config.
        overrides: "--config.key=value" for every trial.
        seeds: of every trial.
        metric: of the objective, as results.json has it.
        kind: how the trials were chosen, in words.
        trials: the configurations.
        kfold: how each of them is cross-validated, or None.
        halving: how they are given up, or None.
        varied: {dotted key: {trial's name: value}}.
    """

    file: str
    arg: str
    only: tuple[str, ...]
    name: str
    title: str
    caption: str
    config: str
    overrides: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: dict[str, Any]
    kind: str
    trials: tuple[Trial, ...]
    kfold: folding.KFold | None
    halving: halvings.Halving | None
    varied: dict[str, dict[str, Any]]

    def text(self, only: str = "") -> str:
        """What follows --sweep, for these trials."""
        parts = [part for part in (self.arg, f"only={only}" if only else "") if part]
        return ":".join([self.file, ",".join(parts)]) if parts else self.file


def load(text: str) -> Sweep:
    """Reads a sweep.

    Args:
        text: FILE or FILE:ARGS, as on the command line.

    Raises:
        ConfigError: for a missing file, or a key or value that is wrong, with the nearest right one.
    """
    file, _, args = text.partition(":")
    arg, only = split_only(args)
    found = plain(function(file, "get_sweep", "configs/sweeps")(arg or None))
    if not isinstance(found, Mapping):
        raise ConfigError(f"{file}: get_sweep must return a dict, got {type(found).__name__}")
    sweep = configs.call(_sweep, found, file, file=file, arg=arg, only=only)
    for name in only:
        check_name(name, [slug(t.name) for t in sweep.trials], f"{file}:only={name}: there is no such trial")
    return sweep


def _sweep(
    file: str,
    arg: str,
    only: tuple[str, ...],
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
    """A sweep from the keys of its file."""
    goal = configs.call(Objective, objective, f"{file}: objective")
    if "/" not in goal.metric or goal.metric.startswith("test/"):
        raise ConfigError(
            f"{file}: objective.metric={goal.metric!r} must be of an evaluation during training, such as "
            "validation/accuracy: what the test split had selected, it could no longer judge"
        )
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"{file}: seeds={seeds} must be one number or more, each once")
    if bool(grid) + bool(random) > 1 or not (grid or random or kfold):
        raise ConfigError(f"{file} needs one of grid and random, or kfold, which may stand with one of them")
    folded = configs.call(folding.KFold, kfold, f"{file}: kfold") if kfold else None
    if folded:
        folding.check(folded, f"{file}: kfold")
    overrides = tuple(f"--{each.lstrip('-')}" for each in overrides)
    kind, points = _points(file, grid, random)
    _check_keys(file, [key for key in (*grid, *random) if not (random and key in ("n", "seed"))], overrides)
    trials = _trials(points, Path(config.partition(":")[0]).stem)
    varied = {key: {trial.name: point[key] for trial, point in trials.items()} for key in points[0]}
    halved = configs.call(halvings.Halving, halving, f"{file}: halving") if halving else None
    if halved:
        taken = [*points[0], *(each.partition("=")[0].removeprefix("--config.") for each in overrides)]
        halvings.check(halved, len(trials), taken, f"{file}: halving")
    described = goal.described()
    smoke = "_smoke" if re.search(r"(^|,)\s*smoke\s*(=\s*(True|true)\s*)?(,|$)", arg) else ""
    name = f"{name or Path(file).stem}{smoke}"
    title = title or name.replace("_", " ")
    return Sweep(
        file, arg, only, name, title, caption, config, overrides, seeds, described, kind, tuple(trials), folded, halved,
        varied,
    )  # fmt: skip


def _points(file: str, grid: Mapping, random: Mapping) -> tuple[str, list[dict[str, Any]]]:
    """How the trials were chosen, and {key: value} of each."""
    if grid:
        found = grids.points(grid, f"{file}: grid")
        return f"a grid of {' x '.join(str(len(each)) for each in grid.values())} configurations", found
    if random:
        found = draws.points(random, f"{file}: random")
        return f"{len(found)} random draws (seed {random.get('seed', 0)})", found
    return "one configuration", [{}]


def _check_keys(file: str, keys: Iterable[str], overrides: Iterable[str]) -> None:
    """Refuses keys that are not dotted config keys, that runs have for themselves, or that are set twice."""
    fixed = {each.partition("=")[0].removeprefix("--config.") for each in overrides}
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
    found = {}
    for key, whole in keys.items():
        tails = [whole.split(".", n)[-1] for n in reversed(range(whole.count(".") + 1))]
        found[key] = next(t for t in tails if sum(other.endswith(t) for other in keys.values()) == 1 or t == whole)
    return found


def _shown(value: Any) -> str:
    """A value in a name; "+" separates names elsewhere."""
    return (value if isinstance(value, str) else repr(value)).replace("+", "")


def written(value: Any) -> str:
    """A value as the command line takes it: text that would be read as something else is quoted."""
    return value if isinstance(value, str) and read(value) == value and value[:1] not in "'\"" else repr(value)


def root(sweep: Sweep, workdir: str | Path | None = None) -> Path:
    """The folder of a sweep: --workdir, else runs/sweeps/NAME."""
    return Path(workdir) if workdir else FOLDER / sweep.name


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
    varied = {each.partition("=")[0] for trial in sweep.trials for each in trial.overrides}
    for each in overrides:
        if f"--{each.lstrip('-').partition('=')[0]}" in varied:
            raise ConfigError(f"{each.partition('=')[0]} is varied by {sweep.file}; leave it out, or change the file")
    common = merged(sweep.overrides, overrides)
    runs = []
    for trial in sweep.trials:
        mine = merged(common, trial.overrides)
        folds = [("", ())]
        if sweep.kfold:
            where = f"{sweep.file}: kfold"
            found = folding.overrides(sweep.kfold, load_config(trial.name, sweep.config, mine), where)
            folds = [(f" fold {i} of {len(found)}", each) for i, each in enumerate(found, 1)]
            _check_free(where, found[0], mine)
        for suffix, changes in folds:
            for seed in sweep.seeds:
                words = merged(mine, changes)
                runs.append(make(f"{trial.name}{suffix}", trial.name, sweep.config, words, seed, folder))
    return runs


def _check_free(where: str, changes: Iterable[str], overrides: Iterable[str]) -> None:
    """Refuses overrides of what the folds set."""
    fixed = {each.partition("=")[0] for each in changes}
    for each in overrides:
        if each.partition("=")[0] in fixed:
            raise ConfigError(f"{where} sets {each.partition('=')[0].lstrip('-')} itself; leave out {each}")


def load_config(name: str, spec: str, overrides: Iterable[str]) -> Any:
    """The configuration of a trial; errors name it."""
    try:
        return configs.load(spec, overrides)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error


def chosen(sweep: Sweep, runs: Iterable[Planned]) -> list[Planned]:
    """Those runs that `only` asks for."""
    return [each for each in runs if not sweep.only or slug(each.row) in sweep.only]
