"""What `--compare` names: runs, runs of several seeds, folders of runs, folds of a cross-validation; as methods."""

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.report.compare.predictions import SPLITS
from cvdl_jax.workdir.folder import Workdir, read_json


class Run(NamedTuple):
    """One run: its folder, its seed, what it is validated on, and digests of its configuration.

    Attributes:
        path: of the folder, as typed.
        seed: of the run.
        fold: what it is validated on: config.data.validation, config.data.split.
        key: what runs of one method have in common: everything but the seed.
        loose: the same, but for the splits.
    """

    path: Path
    seed: int
    fold: str
    key: str
    loose: str


class Method(NamedTuple):
    """What is compared.

    Attributes:
        name: for people.
        runs: one; one per seed; or one per fold (and seed).
        folds: whether its runs are folds.
    """

    name: str
    runs: tuple[Run, ...]
    folds: bool = False


def methods(arguments: Sequence[str]) -> list[Method]:
    """The methods that the arguments name.

    A folder that holds runs, and a pattern in quotes, are one method for each configuration in them. Run folders that
    differ in nothing but the seed are one method, provided that there is another to compare it with.

    Args:
        arguments: of --compare.

    Returns:
        Two or more, in the order of the arguments.

    Raises:
        ConfigError: for an argument that names no run, or one that is named twice, or fewer than two methods.
    """
    named: list[Method] = []
    single: list[Run] = []
    for argument in arguments:
        paths = expand(argument)
        runs = [describe(path) for path in paths]
        if paths == [Path(argument)]:
            single += runs
            named.append(Method(str(paths[0]), tuple(runs)))
        else:
            named += _inside(argument, runs)
    named = _merged(named, single)
    paths = [run.path.resolve() for method in named for run in method.runs]
    twice = [path for i, path in enumerate(paths) if path in paths[:i]]
    if twice:
        raise ConfigError(f"--compare names the run {twice[0]} twice")
    if len(named) < 2:
        raise ConfigError(
            f"--compare {' '.join(arguments)} is one method; name another run to compare it with, as in --compare "
            f"{arguments[0]} runs/other"
        )
    return named


def expand(argument: str) -> list[Path]:
    """The run folders that an argument names: itself, those in it, or those that match it.

    Raises:
        ConfigError: if there are none.
    """
    path = Path(argument)
    if Workdir(path).config.exists():
        return [path]
    if path.is_dir():
        inside = [folder for folder in sorted(path.iterdir()) if Workdir(folder).config.exists()]
        if not inside:
            raise ConfigError(f"--compare {argument} is no run and holds none: there is no config.json")
        return inside
    matches = [Path(folder) for folder in sorted(glob.glob(argument)) if Workdir(folder).config.exists()]
    if matches:
        return matches
    if glob.has_magic(argument):
        raise ConfigError(f"--compare {argument!r} matches no run folder")
    beside = [str(folder) for folder in path.parent.iterdir() if folder.is_dir()] if path.parent.is_dir() else []
    raise ConfigError(f"--compare {argument} does not exist; {nearest(argument, beside)}")


def describe(path: Path) -> Run:
    """A run folder, from its config.json."""
    config = configs.completed(read_json(Workdir(path).config))
    data = {key: value for key, value in (config.get("data") or {}).items() if key != "data_dir"}  # where, not what
    plain = {**{key: value for key, value in config.items() if key != "seed"}, "data": data}
    loose = {key: value for key, value in plain.items() if key not in ("data", "select")}
    loose["data"] = {key: value for key, value in data.items() if key not in SPLITS}
    fold = " ".join(str(data[key]) for key in ("validation", "split") if data.get(key))
    return Run(path, config.get("seed", 0), fold, configs.digest(plain), configs.digest(loose))


def _inside(argument: str, runs: Sequence[Run]) -> list[Method]:
    """The methods among the runs of one argument."""
    methods = []
    for group in _grouped(runs, "loose"):
        strict = _grouped(group, "key")
        folds = [runs[0].fold for runs in strict]
        if len(strict) > 1 and len(set(folds)) == len(folds):
            methods.append(Method(_common(group), tuple(group), folds=True))
        else:
            methods += [Method(_common(runs), tuple(runs)) for runs in strict]
    for method in methods:
        _check_seeds(method)
    return [methods[0]._replace(name=argument)] if len(methods) == 1 else methods


def _check_seeds(method: Method) -> None:
    """Refuses runs that cannot be told apart."""
    units = [(run.seed, run.fold) for run in method.runs]
    if len(set(units)) < len(units):
        raise ConfigError(
            f"--compare: {method.name} holds two runs with the same configuration and seed; name the runs one by one"
        )


def _merged(named: Sequence[Method], single: Sequence[Run]) -> list[Method]:
    """Runs named one by one that are seeds of one configuration become one method, where two methods remain."""
    groups = _grouped(single, "key")
    seeds_differ = all(len({run.seed for run in group}) == len(group) for group in groups)
    if not seeds_differ or len(groups) + len(named) - len(single) < 2:
        return list(named)
    merged = {group[0].path: Method(_common(group), tuple(group)) for group in groups}
    later = {run.path for group in groups for run in group[1:]}
    alone = {run.path for run in single}
    return [merged[m.runs[0].path] if m.runs[0].path in alone else m for m in named if m.runs[0].path not in later]


def _grouped(runs: Iterable[Run], attribute: str) -> list[list[Run]]:
    """Runs with the same attribute, in their order."""
    groups: dict[Any, list[Run]] = {}
    for run in runs:
        groups.setdefault(getattr(run, attribute), []).append(run)
    return list(groups.values())


def _common(runs: Sequence[Run]) -> str:
    """A name of several folders: what they begin with."""
    if len(runs) == 1:
        return str(runs[0].path)
    names = [str(run.path) for run in runs]
    different = (i for i, letters in enumerate(zip(*names, strict=False)) if len(set(letters)) > 1)
    return names[0][: next(different, min(map(len, names)))].rstrip("0123456789") + "*"
