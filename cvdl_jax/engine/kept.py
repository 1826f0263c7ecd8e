"""What a run keeps of its data, and how a finished run is built from it, so that it means the same later.

Names of classes, shapes, fitted statistics: a model is nothing without them, and a folder of images may change or move.
A run writes them into `data.json` when it starts. `open_run` builds a run from them: without its data, or with them,
matched to what the run knew (`data/described.py`). A run of before there was such a file takes them from its data.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core.task import State
from cvdl_jax.core.trees import path_name
from cvdl_jax.data import described
from cvdl_jax.data import opened as notes
from cvdl_jax.data.load import Data
from cvdl_jax.engine.build import Run, build, fitted_numbers, load_data
from cvdl_jax.errors import DataError
from cvdl_jax.workdir import data_facts, predictions
from cvdl_jax.workdir.folder import PLACE, Workdir, read_json


def record(workdir: Workdir, built: Run, steps_per_call: int, argv: Sequence[str]) -> None:
    """Writes what a run is and where it comes from, and what it keeps of its data; a run that goes on has it already.

    Args:
        workdir: locked, with a configuration.
        built: the run, its data opened.
        steps_per_call: see `Workdir.record_start`.
        argv: the command line.

    Raises:
        UserError: if the data are not those that the run began with.
    """
    workdir.record_start(built, steps_per_call, list(argv))
    begun = workdir.begun() and workdir.data.exists()
    accepted = built.data is not None and built.data.accept_changed  # other examples of the same classes
    if not begun or accepted:
        data = None if built.data is None else described.facts(built.data)
        facts = {"data": data, "fitted": fitted_numbers(built), "opened": dict(built.opened)}
        data_facts.write(workdir.path, facts)


def build_on(workdir: Workdir, config: ConfigDict) -> Run:
    """A run that starts or goes on in a folder, with the numbers that it fitted on the data when it began."""
    kept = data_facts.read(workdir.path) if workdir.begun() else None
    built = build(config, kept["fitted"] if kept else {}, saved=_saved(workdir), begun=workdir.begun())
    if kept:
        refuse_changed(workdir.path, built, kept["opened"])
    return built


def _saved(workdir: Workdir) -> Path | None:
    """A checkpoint of a run, whose steps all hold the same arrays; None where there is none."""
    from cvdl_jax.workdir import checkpoint  # imports Orbax, which no new run waits for

    if (workdir.path / "state").is_dir():
        return workdir.path
    folders = [folder for folder in (workdir.checkpoints, workdir.nonfinite) if checkpoint.committed_steps(folder)]
    return folders[0] / str(checkpoint.committed_steps(folders[0])[-1]) if folders else None


def refuse_changed(workdir: str | Path, built: Run, opened: Mapping[str, str]) -> None:
    """Refuses a run whose experiment itself opens data, such as a text, that are not what they were.

    Args:
        workdir: of the run.
        built: with the data as they are now.
        opened: {data set: what was noted} as the run kept them.

    Raises:
        DataError: naming the data set.
    """
    for name, now in built.opened.items():
        then, now = (notes.fingerprint_of(x) for x in (opened.get(name, now), now))
        if then != now:
            raise DataError(
                f"{name} is not what {workdir} was made with (its fingerprint was {then[:8]} and is {now[:8]}); "
                "restore the data"
            )


def open_run(
    workdir: str | Path, overrides: Iterable[str] = (), with_data: bool = True, with_opened: bool | None = None
) -> Run:
    """A run as it was made, from its folder.

    Args:
        workdir: of the run.
        overrides: of its configuration; with other splits it can be evaluated on them.
        with_data: whether to open its data, for what reads examples. Without them, everything is known of the data
            but the examples.
        with_opened: whether its experiment opens what it opens by itself, such as a text; `with_data` by default.

    Raises:
        ConfigError, DataError: see `build`.
        CheckpointError: if what was kept is damaged.
    """
    overrides = list(overrides)
    config = configs.apply_overrides(read_config(workdir), overrides)
    plain = configs.from_plain(configs.to_plain(config))
    return open_as(workdir, plain, with_data, bool(overrides), with_data if with_opened is None else with_opened)


def open_as(
    workdir: str | Path, config: ConfigDict, with_data: bool = True, changed: bool = False, with_opened: bool = True
) -> Run:
    """As `open_run`, with a configuration that was made of the run's own.

    Args:
        workdir: of the run.
        config: to build.
        with_data: see `open_run`.
        changed: whether the configuration may ask for other data than the run's.
        with_opened: see `open_run`.
    """
    kept = data_facts.read(workdir)
    if kept is None:
        built = build(config, saved=_saved(Workdir(workdir)), begun=True)
        if built.data is not None:
            print(_taken(workdir, built.data, changed), flush=True)
        return built
    known = kept["data"]

    def open_data(config: ConfigDict) -> Data | None:
        if known is None or not with_data:
            return None if known is None else described.described(known)
        return described.matched(load_data(config), known)

    saved, remembered = _saved(Workdir(workdir)), None if with_opened else kept["opened"]
    built = build(config, kept["fitted"], open_data, saved, begun=True, remembered=remembered)
    refuse_changed(workdir, built, kept["opened"])
    return built


def save_statistics(workdir: Workdir, step: int, state: State) -> None:
    """Keeps the batch statistics that evaluations of a step used, where they are those of the training split.

    Args:
        workdir: of the run.
        step: the selected one.
        state: as its evaluations saw it, on this host.
    """
    leaves = jax.tree_util.tree_leaves_with_path(_statistics(state))
    arrays = {path_name(path): np.asarray(x) for path, x in leaves}
    predictions.write(workdir.statistics, {**arrays, "step": np.asarray(step)})


def with_statistics(workdir: str | Path, state: State, step: int) -> State | None:
    """A state with the batch statistics that were kept of a step; None where none of this step were.

    Raises:
        DataError: if the file is damaged.
    """
    path = Workdir(workdir).statistics
    saved = predictions.read(path) if path.exists() else {"step": np.asarray(-1)}
    if int(saved["step"]) != step:
        return None

    def kept(name: Any, x: jax.Array) -> jax.Array:
        return jax.device_put(saved[path_name(name)].astype(x.dtype), x.sharding)

    wanted = _statistics(state)
    if any(path_name(name) not in saved for name, _ in jax.tree_util.tree_leaves_with_path(wanted)):
        return None
    return state._replace(extra={**state.extra, **jax.tree_util.tree_map_with_path(kept, wanted)})


def _statistics(state: State) -> dict[str, Any]:
    """What evaluations may normalise by: statistics of the present weights and, where there are any, of the average."""
    return {key: state.extra[key] for key in ("batch_stats", "ema_statistics") if key in state.extra}


def changes(workdir: str | Path, overrides: Iterable[str]) -> list[str]:
    """The overrides that change a run: not those that say where its data are, which their fingerprint has checked."""
    places = [f"config.data.{key}" for key in PLACE] if Workdir(workdir).data.exists() else []
    return [override for override in overrides if override.lstrip("-").partition("=")[0] not in places]


def read_config(workdir: str | Path) -> ConfigDict:
    """The resolved configuration of a run."""
    return configs.from_plain(configs.completed(read_json(Workdir(workdir).config)))


def _taken(workdir: str | Path, data: Data, changed: bool) -> str:
    """What to say of a run that kept nothing of its data."""
    then = (Workdir(workdir).read_meta().get("data") or {}).get("fingerprint")
    said = f"{workdir} was made before runs kept what they need of their data; it comes from {data.name} as it is now"
    if then and then != data.fingerprint and not changed:
        said += (
            f". WARNING: its fingerprint is {data.fingerprint[:8]} and was {then[:8]}: names of classes, their order "
            "and fitted statistics may not be those that the run was trained with"
        )
    return said


def refuse_absent(built: Run, names: Iterable[str]) -> None:
    """Refuses evaluations whose examples are not those that the run knew.

    Args:
        built: from `open_run`.
        names: of evaluations.

    Raises:
        DataError: saying what has changed.
    """
    needed: list[Any] = []
    for name in names:
        evaluation = built.task.evals[name]
        needed += [evaluation.data, *([evaluation.before.data] if evaluation.before is not None else [])]
    for name in needed:
        split = built.data.splits.get(name) if isinstance(name, str) and built.data is not None else None
        if split is not None and isinstance(split.source, described.Absent):
            raise DataError(split.source.reason)
