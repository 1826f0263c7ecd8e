"""From a configuration to what runs: data, info, task. The only way to an experiment is the path the config names.

An experiment is a module with `make(config, info) -> Task` and READS, the keys of a configuration that it reads beside
those of the loop (`LOOP`): `READS = ("model", "optim", "data")`. A key that is set, and that nobody reads, is refused:
it would have no effect.
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from cvdl_jax.config import configs, places
from cvdl_jax.core import parallel
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Task
from cvdl_jax.data import class_weights, encoded_texts, opened, scaling
from cvdl_jax.data import load as data_load
from cvdl_jax.engine.program import Program, to_unit
from cvdl_jax.errors import ConfigError, nearest

FITTED = ("normalise", "class_weights")  # sections that may be fitted on the training split
# What the loop, or this module, reads for every experiment.
LOOP = (
    "experiment", "seed", "total_epochs", "total_steps", "total_examples", "batch_size", "eval_batch_size", "eval",
    "log", "checkpoint", "select", "diagnostics", "batch_stats", "init_from", "init", "parallel", "steps_per_call",
    "subgroups",
)  # fmt: skip
EXPERIMENTS = configs.ROOT / "experiments"  # beside the package, and importable as it is


class Run(NamedTuple):
    """A configuration with everything built from it; nothing compiled, nothing on a device.

    Attributes:
        config: as it was given.
        data: its data set.
        info: what the experiment was told.
        task: what the experiment made.
        fitted: the configuration with numbers for what it says is to be fitted on the data.
        opened: {data set: what is kept} of what the experiment itself opened, such as a text; see `data/opened.py`.
    """

    config: ConfigDict
    data: data_load.Data | None
    info: Info
    task: Task
    fitted: ConfigDict | None = None
    opened: Mapping[str, Any] = MappingProxyType({})


def build(
    config: ConfigDict,
    known: Mapping[str, Any] = {},
    open_data: Callable[[ConfigDict], data_load.Data | None] | None = None,
    saved: Path | None = None,
    begun: bool = False,
    remembered: Mapping[str, Any] | None = None,
) -> Run:
    """Loads the data and makes the task of a configuration.

    Args:
        config: from `configs.load`, or the `config.json` of a run.
        known: numbers that a run has fitted before, see `fitted_numbers`; what is missing is fitted.
        open_data: `config -> data set`; `load_data` by default.
        saved: a checkpoint whose state the task is to take up, see `as_begun`; None for a new run.
        begun: whether it is that of a run which has saved something; what had no effect then is no error now.
        remembered: what the run kept of data that its experiment opens, to stand for them; None opens them.

    Returns:
        A Run.

    Raises:
        ConfigError, DataError: naming the key or the folder, and what to type next.
    """
    configs.check(config)
    experiment = experiment_of(config, begun)
    return with_data(config, experiment, (open_data or load_data)(config), known, saved, remembered)


def with_data(
    config: ConfigDict,
    experiment: ModuleType,
    data: data_load.Data | None,
    known: Mapping[str, Any] = {},
    saved: Path | None = None,
    remembered: Mapping[str, Any] | None = None,
) -> Run:
    """`build`, after its data sets are loaded.

    Args:
        config: checked.
        experiment: of `experiment_of`.
        data: of `load_data`.
        known: see `build`.
        saved: see `build`.
        remembered: see `build`.
    """
    info = make_info(config, data)
    numbers = fitted(config, data, known)
    with opened.noting(remembered) as others:
        task = experiment.make(as_begun(numbers, saved), info)
    if config.batch_stats != "running":
        from cvdl_jax.engine import batch_statistics

        task = batch_statistics.evaluated_by(task, info, config.batch_stats)
    if config.diagnostics:
        from cvdl_jax.analysis import diagnostics

        task = configs.call(diagnostics.diagnosed, config.diagnostics, "config.diagnostics", task=task, info=info)
    return Run(config, data, info, task, numbers, others)


def fitted(config: ConfigDict, data: data_load.Data | None, known: Mapping[str, Any] = {}) -> ConfigDict:
    """The configuration with numbers for whatever it says is to be fitted on the training split.

    Args:
        config: of a run; it is not changed.
        data: only the training split is read.
        known: see `fitted_numbers`.
    """
    plain = configs.to_plain(config)
    kept = {name: one["is"] for name, one in known.items() if plain[name] == one["of"]}
    if kept:
        config = configs.from_plain({**plain, **kept})
    return class_weights.resolved(scaling.resolved(config, data), data)


def as_begun(config: ConfigDict, saved: Path | None) -> ConfigDict:
    """The configuration with averages as the run of a checkpoint keeps them: they once had no statistics of their own.

    Args:
        config: of the run; it is not changed.
        saved: folder of a checkpoint; None for a run that begins.
    """
    if saved is None or not config.ema or "statistics" in config.ema:
        return config
    from cvdl_jax.workdir import checkpoint  # imports Orbax, which no new run waits for

    names = checkpoint.names(saved)
    layers = {name.rpartition("/")[0] for name in names if "/batch_stats/" in name}
    normalised = tuple(f"{layer.replace('/batch_stats/', '/ema/')}/" for layer in layers)
    if not any(name.startswith(normalised) for name in names) or any("/ema_statistics/" in name for name in names):
        return config
    warnings.warn(
        f"{saved.parent.parent} was begun when averaged weights (config.ema) had no statistics of batch normalisation "
        "of their own: they are evaluated with those of the present weights, as then. For figures of the averaged "
        "weights themselves: --mode eval --config.batch_stats=exact",
        stacklevel=2,
    )
    changed = config.copy_and_resolve_references()
    changed.ema.statistics = False
    return changed


def fitted_numbers(built: Run) -> dict[str, dict[str, Any]]:
    """What was fitted on the data of a run: {section: {"of": what the configuration says, "is": the numbers}}."""
    asked, made = configs.to_plain(built.config), configs.to_plain(built.fitted)
    return {name: {"of": asked[name], "is": made[name]} for name in FITTED if asked[name] != made[name]}


def load_data(config: ConfigDict) -> data_load.Data | None:
    """The data sets of a configuration; None where `config.data` is empty."""
    if not config.data:
        return None
    return configs.call(data_load.load, config.data, "config.data")


def make_info(config: ConfigDict, data: data_load.Data | None) -> Info:
    """What the experiment is told; checks that a batch is no larger than the training split."""
    sizes = {name: split.size for name, split in data.splits.items()} if data else {}
    train = data.splits.get("train") if data else None
    if train is not None and config.batch_size > train.size:
        raise ConfigError(
            f"config.batch_size={config.batch_size} is larger than the training split, {train.size} examples of "
            f"{data.name!r}; use at most {train.size}"
        )
    steps_per_epoch = train.size / config.batch_size if train is not None else float("inf")
    total_steps = configs.duration(
        config, "total", path="config", steps_per_epoch=steps_per_epoch, batch_size=config.batch_size
    )
    spec = batch_spec(train.spec, config.batch_size) if train is not None else {}
    return Info(
        num_classes=data.num_classes if data else None,
        class_names=tuple(data.class_names) if data else (),
        spec=spec,
        sizes=sizes,
        batch_size=config.batch_size,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        seed=config.seed,
        vocabulary=(data.vocabulary if data else ()) or (encoded_texts.pieces(train.features) if train else ()),
    )


def batch_spec(example: dict[str, jax.ShapeDtypeStruct], batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch as the task sees it, from those of one stored example."""
    raw = {name: jax.ShapeDtypeStruct((batch_size, *s.shape), s.dtype) for name, s in example.items()}
    return jax.eval_shape(to_unit, raw)


def load_experiment(name: str) -> ModuleType:
    """The module `experiments/<name>.py` (a dot is a folder), or the file that `name` is the path of.

    `experiments/` is that of the package, or a folder of the user's in the current one.

    Raises:
        ConfigError: if there is no such experiment, naming the nearest one, the file has no `make`, or there are two.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ConfigError(f"config.experiment={name!r}: there is no such file")
        module = configs.load_module(Path(name))
    else:
        ours, own = _experiments(EXPERIMENTS), _experiments(places.folder(EXPERIMENTS.name))
        if name not in ours | own:
            raise ConfigError(
                f"config.experiment={name!r} is not in {EXPERIMENTS.name}/, neither here nor of the package; "
                f"{nearest(name, sorted(ours | own))}"
            )
        if name in ours and name in own and own[name].read_bytes() != ours[name].read_bytes():
            places.refuse_ours(name, own[name], f"{EXPERIMENTS.name}/{ours[name].name}")
        with places.explained(name):
            module = places.import_ours(f"{EXPERIMENTS.name}.{name}") if name in ours else places.load_module(own[name])
    if not hasattr(module, "make"):
        raise ConfigError(f"config.experiment={name!r} defines no make(config, info)")
    return module


def _experiments(folder: Path | None) -> dict[str, Path]:
    """The experiments of a folder: every file in it with a function `make`, by its name, in which a dot is a folder."""
    files = {path: path.relative_to(folder).with_suffix("") for path in folder.rglob("*.py")} if folder else {}
    return {".".join(name.parts): path for path, name in files.items() if "\ndef make(" in path.read_text("utf-8")}


def experiment_of(config: ConfigDict, begun: bool = False) -> ModuleType:
    """The experiment of a configuration, which reads all that is set in it.

    A file of a user without READS may read everything, and so does one whose READS is None.

    Args:
        config: of the run.
        begun: see `build`.

    Raises:
        ConfigError: naming a key that it would not read, or that it reads and the configuration lacks.
    """
    experiment = load_experiment(config.experiment)
    reads = getattr(experiment, "READS", None)
    if reads is None:
        return experiment
    unused = [key for key in config if key not in (*LOOP, *reads)]
    if begun:
        for key in (key for key in unused if configs.is_set(config, key)):
            warnings.warn(f"config.{key} has no effect in experiment {config.experiment!r}", stacklevel=2)
        return experiment
    configs.refuse_sections(config, unused)
    for key in (key for key in reads if key not in config):
        raise ConfigError(
            f"experiment {config.experiment!r} reads config.{key}, which this config does not have; begin it with "
            f"configs.base({key}=...)"
        )
    return experiment


def make_program(built: Run, steps_per_call: int | str = "auto", reading: bool = False) -> Program:
    """The compiled functions of a run, not compiled yet.

    Args:
        built: from `build`.
        steps_per_call: what an earlier start of the run recorded; "auto" for a new one.
        reading: whether the run is only read, evaluated or asked: then it is spread over as many devices as it can be,
            whatever its configuration says of them.
    """
    config, data = built.config, built.data
    eval_batch_size = config.eval_batch_size or config.batch_size
    sizes = (config.batch_size, eval_batch_size)
    mode, mesh = config.parallel.mode, None
    if reading:
        steps_per_call, mode, mesh = 1, "jit", parallel.fitting_mesh(config.parallel.fsdp, sizes)
    mesh = mesh or parallel.make_mesh(fsdp=config.parallel.fsdp)
    for size in sizes:
        parallel.check_batch(size, mesh)
    if steps_per_call == "auto":
        steps_per_call = config.steps_per_call
    splits = data.splits if data is not None else {}
    arrays = {name: split.arrays for name, split in splits.items() if split.arrays is not None}
    spec = splits["train"].spec if "train" in splits else {}
    return Program(
        built.task, config.seed, mesh, spec, config.batch_size, eval_batch_size, arrays, steps_per_call, mode, splits
    )
