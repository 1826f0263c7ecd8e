"""Trains a run, or loads a finished (or stopped) one: for notebooks, and for every mode that starts from one.

metrics = runs.train("configs/classify/lenet5.py", "runs/digits_lenet5", ["config.optim.lr=0.001"])
task, state, config = runs.load("runs/digits_lenet5")
scores = task.predict(state, {"image": images})["scores"]     # images uint8, or float in 0..1, [b, h, w, c]

A run means later what it meant when it was trained: see `engine/kept.py`. Its data are not needed.
"""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from cvdl_jax.analysis.logits import Logits
from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.task import State, Task
from cvdl_jax.engine import entries, kept
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.engine.program import Program
from cvdl_jax.engine.signals import INTERRUPTED
from cvdl_jax.errors import CheckpointError, ConfigError, UserError
from cvdl_jax.optim.ema import restart_averages
from cvdl_jax.workdir import checkpoint
from cvdl_jax.workdir.folder import Workdir, read_json


def train(config: str | ConfigDict, workdir: str | Path, overrides: Sequence[str] = ()) -> dict[str, float]:
    """Trains, or continues, a run, as `python launch.py --config ... --workdir ...` does.

    Args:
        config: "configs/classify/lenet5.py:data=mnist", or what `configs.load` returned.
        workdir: folder of the run.
        overrides: "config.optim.lr=0.1" and the like.

    Returns:
        The final metrics, {"test/accuracy": 0.98, ...}; those of a run that is finished already.

    Raises:
        UserError: for anything the user can mend.
        KeyboardInterrupt: after Ctrl-C, when the last complete step is saved; the same call continues.
        SystemExit: likewise after SIGTERM, with code 75.
    """
    from cvdl_jax.engine import out_of_memory, xla_flags
    from cvdl_jax.report.pages import run_page

    xla_flags.prepare()
    if isinstance(config, str):
        config = configs.load(config, overrides)
    else:
        config = configs.from_plain(configs.to_plain(configs.apply_overrides(configs.from_plain(config), overrides)))
    engine = importlib.import_module("cvdl_jax.engine.train")  # which loads runs itself, for config.init_from
    with out_of_memory.explained(config):
        code = engine.train(config, str(workdir), sys.argv, run_page.write, early=False)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise SystemExit(code)
    return read_json(Workdir(workdir).results)["metrics"]


def load(workdir: str | Path, which: str | int = "best") -> tuple[Task, State, ConfigDict]:
    """The task, state and configuration of a run. The training data are not opened.

    Args:
        workdir: folder of the run.
        which: "best", "latest" or a step.

    Returns:
        (task, state, config); `task.predict` takes what the data set stores, and checks it: see `entries.checked`.

    Raises:
        UserError: if the folder holds no run or no such checkpoint.
    """
    built, state, _ = load_evaluated(workdir, which)
    return entries.checked(built), state, built.config


def _with_averages(state: State, step: int) -> State:
    print(
        f"config.batch_stats='exact': the statistics of the training split were not kept for step {step}; predict "
        "normalises by the running averages",
        flush=True,
    )
    return state


def logits_fn(workdir: str | Path, which: str | int = "best", weights: str = "auto", batch_size: int = 0) -> Logits:
    """The scores of a trained classifier as a function of its images alone, for explanations and attacks.

    Args:
        workdir: folder of the run.
        which: "best", "latest" or a step.
        weights: "auto" (the average where the run keeps one), "ema" or "raw".
        batch_size: the most images that pass through the model at once; 0 for that of the run's evaluations.

    Returns:
        `images [b, h, w, c], bytes or floats in 0..1, -> scores [b, k]`; normalisation is inside.

    Raises:
        UserError: for a run that gives no scores of classes from one input.
    """
    built, state, step = load_built(workdir, which)
    if built.config.batch_stats == "exact" and weights == "auto":
        state = kept.with_statistics(workdir, state, step) or _with_averages(state, step)
    return logits_of(built, with_weights(state, weights), batch_size)


def logits_of(built: Run, state: State, batch_size: int = 0) -> Logits:
    """As `logits_fn`, of a run that is loaded.

    Args:
        built: of `load_built`.
        state: of the same; its weights may be others.
        batch_size: see `logits_fn`.

    Raises:
        UserError: see `logits_fn`.
    """
    config, spec, classes = built.config, built.info.spec, built.info.num_classes
    name = "image" if "image" in spec else "features"
    scores = None
    if built.task.predict is not None and name in spec and classes is not None:
        one = {name: jax.ShapeDtypeStruct((1, *spec[name].shape[1:]), spec[name].dtype)}
        try:
            outputs = jax.eval_shape(built.task.predict, state, one)
            key = "scores" if "scores" in outputs else "logits"  # those of several labels
            scores = outputs.get(key)
        except KeyError:  # it predicts from more than this
            pass
    if scores is None or scores.shape != (1, classes):
        raise UserError(
            f"experiment {config.experiment!r} gives no scores of classes from {name!r} alone, which explanations and "
            "attacks ask; use the run of a classifier, such as configs/classify/lenet5.py"
        )
    host, low, high = jax.device_get(state), *((0.0, 1.0) if name == "image" else (None, None))

    def function(x: jax.Array) -> jax.Array:
        return built.task.predict(host, {name: x})[key]

    size = batch_size or config.eval_batch_size or config.batch_size
    of = jax.nn.softmax if key == "scores" else jax.nn.sigmoid
    return Logits(function, size, spec[name].shape[1:], low, high, built.info.class_names or (), of)


def features_of(built: Run, state: State, path: str) -> Callable[[State, Mapping[str, jax.Array]], jax.Array]:
    """What a run's network has learned to see in images: `(state, batch) -> float [b, d]`.

    Args:
        built: of `load_built`.
        state: of the same.
        path: of the section that names the run, for messages.

    Raises:
        ConfigError: for a run whose task names none.
    """
    task = built.task
    if task.features is not None:
        return task.features
    if task.predict is not None and "features" in jax.eval_shape(task.predict, state, dict(built.info.spec)):
        return lambda state, batch: task.predict(state, batch)["features"]
    raise ConfigError(
        f"{path} is a run of experiment {built.config.experiment!r} whose features nobody has named, or are not of "
        "images alone; name a run that learned without labels, such as one of configs/regimes/simclr.py or "
        "configs/generate/autoencoder.py"
    )


def load_built(workdir: str | Path, which: str | int = "best", with_data: bool = False) -> tuple[Run, State, int]:
    """As `load`, with everything that was built.

    Args:
        workdir: folder of the run.
        which: "best", "latest" or a step.
        with_data: whether examples of its data will be read.

    Returns:
        (built run, state, step).
    """
    built = kept.open_run(workdir, with_data=with_data)
    path = checkpoint_path(Path(workdir), which)
    return built, restore_state(path, built), int(path.name)


def load_evaluated(workdir: str | Path, which: str | int = "best", with_data: bool = False) -> tuple[Run, State, int]:
    """As `load_built`, with the batch statistics that the run's evaluations normalised by, where they were kept."""
    built, state, step = load_built(workdir, which, with_data)
    if built.config.batch_stats == "exact":
        state = kept.with_statistics(workdir, state, step) or _with_averages(state, step)
    return built, state, step


def restore_state(path: Path, built: Run) -> State:
    """The state saved in `checkpoints/<step>`, laid out on this machine's devices."""
    tree, _ = checkpoint.restore_step(path, make_program(built, reading=True).abstract_tree())
    return tree["state"]


def checkpoint_path(folder: Path, which: str | int = "best") -> Path:
    """The checkpoint of a run.

    Args:
        folder: a workdir, or a folder `checkpoints/<step>` itself.
        which: "best" (what validation selected, else the latest), "latest" or a step.

    Raises:
        CheckpointError: saying which steps there are.
    """
    folder = Workdir(folder).path
    if folder.name.isdigit() and (folder / "state").is_dir():
        return folder.absolute()
    checkpoints = Workdir(folder).checkpoints
    steps = checkpoint.committed_steps(checkpoints)
    if not steps:
        raise CheckpointError(f"{folder} holds no checkpoint; name a workdir of a run, or .../checkpoints/<step>")
    if which == "latest":
        step = steps[-1]
    elif which == "best":
        step = checkpoint.read_memory(checkpoints / str(steps[-1])).get("best_step") or steps[-1]
    else:
        step = _number(which)
    if step not in steps:
        raise CheckpointError(f"{folder} has no checkpoint of step {step}; it has {steps}")
    return (checkpoints / str(step)).absolute()


def _number(which: str | int) -> int:
    try:
        return int(which)
    except ValueError as error:
        raise ConfigError(f"--checkpoint={which!r}: expected 'best', 'latest' or a step number") from error


def with_weights(state: State, weights: str) -> State:
    """The state with the weights that an evaluation should use.

    Args:
        state: a restored state.
        weights: "auto" (the average where the run keeps one), "ema" or "raw".

    Raises:
        UserError: if "ema" is asked of a run without one.
    """
    if weights == "auto":
        return state
    if weights not in ("ema", "raw"):
        raise ConfigError(f"--weights={weights!r}: expected 'auto', 'ema' or 'raw'")
    if "ema" not in state.extra:
        if weights == "ema":
            raise UserError(
                "--weights=ema: this run kept no average of its weights (config.ema is empty); use --weights=raw"
            )
        return state
    return state if weights == "ema" else restart_averages(state)


def compile_functions(program: Program, names: list[str]) -> None:
    """Compiles some of a program's functions on the calling thread, for modes without a loop."""
    jobs: dict[str, Any] = program.jobs()
    for name in names:
        jobs[name]()
    parallel.wait_for_all("compiled")
