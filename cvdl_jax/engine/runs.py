"""Loads a finished (or stopped) run: for notebooks, and for every mode that starts from one.

task, state, config = runs.load("runs/digits_lenet5")
scores = task.predict(state, {"image": images})["scores"]     # images uint8, or float in 0..1, [b, h, w, c]

A run means later what it meant when it was trained: see `engine/kept.py`. Its data are not needed.
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvdl_jax.core import parallel
from cvdl_jax.core.task import State, Task
from cvdl_jax.engine import entries, kept
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import CheckpointError, ConfigError, UserError
from cvdl_jax.optim.ema import restart_averages
from cvdl_jax.workdir import checkpoint
from cvdl_jax.workdir.folder import Workdir


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
    built, state, step = load_built(workdir, which)
    if built.config.batch_stats == "exact":
        state = kept.with_statistics(workdir, state, step) or _with_averages(state, step)
    return entries.checked(built), state, built.config


def _with_averages(state: State, step: int) -> State:
    print(
        f"config.batch_stats='exact': the statistics of the training split were not kept for step {step}; predict "
        "normalises by the running averages",
        flush=True,
    )
    return state


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
