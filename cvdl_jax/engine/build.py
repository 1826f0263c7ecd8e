"""From a configuration to what runs: data, info, task. The only way to an experiment is the path the config names.

An experiment is a module with `make(config, info) -> Task` and READS, the keys of a configuration that it reads beside
those of the loop (`LOOP`): `READS = ("model", "optim", "data")`. A key that is set, and that nobody reads, is refused:
it would have no effect.
"""

import importlib
import warnings
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Task
from cvdl_jax.data import class_weights, scaling
from cvdl_jax.data import load as data_load
from cvdl_jax.engine.program import Program, to_unit
from cvdl_jax.errors import ConfigError, nearest

# What the loop, or this module, reads for every experiment.
LOOP = (
    "experiment", "seed", "total_epochs", "total_steps", "total_examples", "batch_size", "eval_batch_size", "eval",
    "log", "checkpoint", "select", "diagnostics", "batch_stats", "init_from", "parallel", "steps_per_call",
)  # fmt: skip
EXPERIMENTS = configs.ROOT / "experiments"  # beside the package, and importable as it is


class Run(NamedTuple):
    """A configuration with everything built from it; nothing compiled, nothing on a device."""

    config: ConfigDict
    data: data_load.Data | None
    info: Info
    task: Task


def build(config: ConfigDict, begun: bool = False) -> Run:
    """Loads the data and makes the task of a configuration.

    Args:
        config: from `configs.load`, or the `config.json` of a run.
        begun: whether it is that of a run which has saved something; what had no effect then is no error now.

    Returns:
        A Run.

    Raises:
        ConfigError, DataError: naming the key or the folder, and what to type next.
    """
    configs.check(config)
    experiment = experiment_of(config, begun)
    return with_data(config, experiment, load_data(config))


def with_data(config: ConfigDict, experiment: ModuleType, data: data_load.Data | None) -> Run:
    """`build`, after its data sets are loaded.

    Args:
        config: checked.
        experiment: of `experiment_of`.
        data: of `load_data`.
    """
    info = make_info(config, data)
    task = experiment.make(fitted(config, data), info)
    if config.batch_stats != "running":
        from cvdl_jax.engine import batch_statistics

        task = batch_statistics.evaluated_by(task, info, config.batch_stats)
    if config.diagnostics:
        from cvdl_jax.analysis import diagnostics

        task = configs.call(diagnostics.diagnosed, config.diagnostics, "config.diagnostics", task=task, info=info)
    return Run(config, data, info, task)


def fitted(config: ConfigDict, data: data_load.Data | None) -> ConfigDict:
    """The configuration with numbers for whatever it says is to be fitted on the training split."""
    return class_weights.resolved(scaling.resolved(config, data), data)


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
    )


def batch_spec(example: dict[str, jax.ShapeDtypeStruct], batch_size: int) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch as the task sees it, from those of one stored example."""
    raw = {name: jax.ShapeDtypeStruct((batch_size, *s.shape), s.dtype) for name, s in example.items()}
    return jax.eval_shape(to_unit, raw)


def load_experiment(name: str) -> ModuleType:
    """The module `experiments/<name>.py` (a dot is a folder), or the file that `name` is the path of.

    Raises:
        ConfigError: if there is no such experiment, naming the nearest one, or it has no `make`.
    """
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise ConfigError(f"config.experiment={name!r}: there is no such file")
        module = configs.load_module(Path(name))
    else:
        paths = (path.relative_to(EXPERIMENTS).with_suffix("") for path in EXPERIMENTS.rglob("*.py"))
        known = sorted(".".join(path.parts) for path in paths if path.name != "__init__")
        if name not in known:
            raise ConfigError(f"config.experiment={name!r} is not in {EXPERIMENTS.name}/; {nearest(name, known)}")
        module = importlib.import_module(f"{EXPERIMENTS.name}.{name}")
    if not hasattr(module, "make"):
        raise ConfigError(f"config.experiment={name!r} defines no make(config, info)")
    return module


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


def make_program(built: Run, steps_per_call: int | str = "auto") -> Program:
    """The compiled functions of a run, not compiled yet.

    Args:
        built: from `build`.
        steps_per_call: what an earlier start of the run recorded; "auto" for a new one.
    """
    config, data = built.config, built.data
    mesh = parallel.make_mesh(fsdp=config.parallel.fsdp)
    eval_batch_size = config.eval_batch_size or config.batch_size
    parallel.check_batch(config.batch_size, mesh)
    parallel.check_batch(eval_batch_size, mesh)
    if steps_per_call == "auto":
        steps_per_call = config.steps_per_call
    splits = data.splits if data is not None else {}
    arrays = {name: split.arrays for name, split in splits.items() if split.arrays is not None}
    spec = splits["train"].spec if "train" in splits else {}
    mode = config.parallel.mode
    return Program(
        built.task, config.seed, mesh, spec, config.batch_size, eval_batch_size, arrays, steps_per_call, mode, splits
    )
