"""Loads a finished (or stopped) run: for notebooks, and for every mode that starts from one.

task, state, config = runs.load("runs/digits_lenet5")
scores = task.predict(state, {"image": images})["scores"]          # images float [b, h, w, c] in 0..1
"""

from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.task import State, Task
from cvdl_jax.engine.build import Run, build, make_program
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import CheckpointError, ConfigError, UserError
from cvdl_jax.optim.ema import restart_averages
from cvdl_jax.workdir import checkpoint
from cvdl_jax.workdir.folder import Workdir, read_json


def load(workdir: str | Path, which: str | int = "best") -> tuple[Task, State, ConfigDict]:
    """The task, state and configuration of a run.

    Args:
        workdir: folder of the run.
        which: "best", "latest" or a step.

    Returns:
        (task, state, config).

    Raises:
        UserError: if the folder holds no run or no such checkpoint.
    """
    built, state, _ = load_built(workdir, which)
    return built.task, state, built.config


def load_built(
    workdir: str | Path, which: str | int = "best", config: ConfigDict | None = None
) -> tuple[Run, State, int]:
    """As `load`, with the data too.

    Args:
        workdir: folder of the run.
        which: "best", "latest" or a step.
        config: used instead of the run's own, for example with other splits.

    Returns:
        (built run, state, step).
    """
    built = build(config if config is not None else read_config(workdir), begun=True)
    path = checkpoint_path(Path(workdir), which)
    return built, restore_state(path, built), int(path.name)


def read_config(workdir: str | Path) -> ConfigDict:
    """The resolved configuration of a run."""
    return configs.from_plain(configs.completed(read_json(Workdir(workdir).config)))


def restore_state(path: Path, built: Run) -> State:
    """The state saved in `checkpoints/<step>`, laid out on this machine's devices."""
    program = make_program(built)
    tree, _ = checkpoint.restore_step(path, program.abstract_tree())
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
