"""How far a run is, read from its folder alone; no jax, and nothing in the folder is changed.

A run is "running" while a process holds the lock of its folder, or that of its console.log, which `execute` takes
before the process of the run has come as far as its own.
"""

import fcntl
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.config import configs
from cvdl_jax.errors import UserError
from cvdl_jax.workdir.folder import Workdir, read_json
from cvdl_jax.workdir.metric_log import TIME, read

NOT_RUN, RUNNING, PARTIAL, FAILED, DONE = STATES = ("not run", "running", "partial", "failed", "done")
CONSOLE = "console.log"


class RunState(NamedTuple):
    """How far a run is.

    Attributes:
        state: one of STATES.
        step: the last one known: logged while it runs, saved where it would continue; 0 before the first.
        total_steps: of the whole run; None while nobody knows.
        seconds_per_step: evaluations and saving included; None before two rows.
        eta_seconds: to the end, at that pace; 0 when done, None while not known.
        message: why it failed; "" otherwise.
    """

    state: str
    step: int = 0
    total_steps: int | None = None
    seconds_per_step: float | None = None
    eta_seconds: float | None = None
    message: str = ""


def state_of(workdir: str | Path, config: Mapping[str, Any], ended: bool = False) -> RunState:
    """The state of a run's folder.

    Args:
        workdir: folder of the run; it need not exist.
        config: the configuration that it should hold. A folder with another one is "failed", and says so.
        ended: the run itself asks, which has come to its end and still holds its lock.
    """
    folder = Workdir(workdir)
    if not folder.path.is_dir():
        return RunState(NOT_RUN, 0, total_steps(config, []))
    try:
        return _state_of(folder, config, ended)
    except UserError as error:
        return RunState(FAILED, message=str(error))


def _state_of(folder: Workdir, config: Mapping[str, Any], ended: bool) -> RunState:
    rows = read(folder.metrics)
    total, pace = total_steps(config, rows), seconds_per_step(rows)
    logged = int(rows[-1]["step"]) if rows else 0
    saved = max(folder.saved_steps(), default=0)

    def so_far(state: str, step: int, message: str = "") -> RunState:
        left = None if total is None or pace is None else max(total - step, 0) * pace
        return RunState(state, step, total, pace, left, message)

    if not ended and is_locked(folder.path):
        return so_far(RUNNING, max(logged, saved))
    different = folder.differences(config)
    if different and folder.begun():
        return so_far(FAILED, saved, f"{folder.path} holds a run of another configuration ({'; '.join(different[:3])})")
    if folder.done.exists():
        step = int(read_json(folder.results)["step"])
        return RunState(DONE, step, step, pace, 0.0)
    if folder.failed.exists():
        facts = read_json(folder.failed)
        return so_far(FAILED, saved, f"{facts.get('error')}: {facts.get('message')}")
    refusal = refused(folder.path)
    if refusal:
        return so_far(FAILED, saved, refusal)
    return so_far(PARTIAL, saved) if folder.meta.exists() else RunState(NOT_RUN, 0, total)


def refused(folder: Path) -> str:
    """What the last process of a run said when it refused to start or to go on: the last line of console.log."""
    path = folder / CONSOLE
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**14))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("error: ") if lines and lines[-1].startswith("error: ") else ""


def is_locked(folder: Path) -> bool:
    """Whether a process runs in a folder, or is about to."""
    return any(_is_held(folder / name) for name in (".lock", CONSOLE))


def _is_held(path: Path) -> bool:
    """Whether another process holds the lock of a file; ours is given back at once."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def total_steps(config: Mapping[str, Any], rows: Sequence[Mapping[str, float]]) -> int | None:
    """Length of a run in steps; epochs are counted with the help of its rows, None where these do not tell.

    Args:
        config: total_steps, total_examples or total_epochs.
        rows: of metrics.jsonl; "epoch" is step / steps per epoch.
    """
    if config.get("total_steps") is not None:
        return int(config["total_steps"])
    last = next((row for row in reversed(rows) if row.get("epoch", 0) > 0), None)
    per_epoch = last["step"] / last["epoch"] if last else None
    if config.get("total_epochs") is not None and per_epoch is None:
        return None
    return configs.duration(config, "total", steps_per_epoch=per_epoch, batch_size=config["batch_size"])


def seconds_per_step(rows: Sequence[Mapping[str, float]]) -> float | None:
    """Pace of the newest start of a run, from its first row to its last; None before two rows.

    Compilation is before the first row, so it does not count; evaluations and saving do.
    """
    newest = starts(rows)[-1:]
    if not newest or len(newest[0]) < 2:
        return None
    first, last = newest[0][0], newest[0][-1]
    return (last[f"{TIME}seconds"] - first[f"{TIME}seconds"]) / (last["step"] - first["step"])


def seconds(rows: Sequence[Mapping[str, float]]) -> float | None:
    """Seconds of a run until its last row, over all its starts; None without rows."""
    elapsed = [start[-1][f"{TIME}seconds"] for start in starts(rows)]
    return math.fsum(elapsed) if elapsed else None


def starts(rows: Sequence[Mapping[str, float]]) -> list[list[Mapping[str, float]]]:
    """The rows with a clock, a list per start of the run: the clock begins anew with each."""
    by_start: list[list[Mapping[str, float]]] = []
    for row in rows:
        if f"{TIME}seconds" not in row:
            continue
        if by_start and row[f"{TIME}seconds"] >= by_start[-1][-1][f"{TIME}seconds"]:
            by_start[-1].append(row)
        else:
            by_start.append([row])
    return by_start
