"""Checkpoints, and which of them is the best; the one place that touches Orbax.

A checkpoint is `checkpoints/<step>/` with the state, the running sums of the open logging interval, and the loop's own
memory as JSON, so that a run continues inside an interval as if it had never stopped. Saving is asynchronous. After
Orbax has committed a step, SHA-256 sums of its files are written beside them: Orbax restores a flipped bit silently,
we do not. A step that does not verify is moved to `checkpoints_bad/` and the one before it is used. The best step is
chosen by a validation metric, never by the test set.
"""

import json
import logging as standard_logging
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging

from cvdl_jax.core.parallel import is_first_process, wait_for_all
from cvdl_jax.core.trees import path_name
from cvdl_jax.errors import CheckpointError, ConfigError, nearest
from cvdl_jax.workdir.checksums import (
    Damaged,
    is_complete,
    refusal,
    set_aside,
    set_aside_damaged,
    verify,
    write_checksums,
)


def _no_traceback(record: Any) -> bool:
    """Drops the tracebacks that threads of Orbax log of an error which `Checkpoints.wait` raises, in our words."""
    return not (record.exc_info and "orbax" in record.pathname)


def _no_closed_loop(record: Any) -> bool:
    """Drops the traceback of a write that ends after another one failed and closed the loop of events of both."""
    return not (record.exc_info and "Event loop is closed" in str(record.exc_info[1]))


def _no_second_failure(record: Any) -> bool:
    """Drops what Python says of writes that failed after the first one, which `Checkpoints.wait` raises."""
    return not (record.exc_info and "never retrieved" in record.getMessage() and "OCDBT" in str(record.exc_info[1]))


def _without_closed_loops(hook: Callable[[Any], None]) -> Callable[[Any], None]:
    """Threads of TensorStore tell of the same error past the loggers, as one that nobody can catch."""

    def told(unraisable: Any) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            hook(unraisable)

    return told


logging.get_absl_logger().addFilter(_no_traceback)
standard_logging.getLogger("concurrent.futures").addFilter(_no_closed_loop)
standard_logging.getLogger("asyncio").addFilter(_no_second_failure)
sys.unraisablehook = _without_closed_loops(sys.unraisablehook)


class _KeepLatestAndBest:
    """Orbax preservation policy: the n latest steps, and the one that is best so far however old it is."""

    def __init__(self, latest: int, best: Callable[[], int | None]):
        self.latest = latest
        self.best = best

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        cut = len(checkpoints) - self.latest
        return [i >= cut or info.step == self.best() for i, info in enumerate(checkpoints)]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `workdir/checkpoints`; created when missing.
        keep: how many of the latest steps to keep, besides the best one.

    Steps that are incomplete, or newer than the first that verifies, are set aside with a warning before Orbax looks.
    """

    def __init__(self, folder: str | os.PathLike, keep: int = 2):
        self.folder = Path(folder).absolute()
        self.keep = keep
        self.best_step: int | None = None
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self.folder.mkdir(parents=True, exist_ok=True)
        self._had_steps = bool(committed_steps(self.folder))
        if is_first_process():
            set_aside_damaged(self.folder)
        wait_for_all("checkpoints checked")
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_KeepLatestAndBest(self.keep, lambda: self.best_step),
            cleanup_tmp_directories=True,
            save_root_metadata=False,
        )
        return ocp.CheckpointManager(self.folder, options=options)

    def steps(self) -> list[int]:
        """Committed steps, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, tree: Any, memory: dict[str, Any], best_step: int | None = None) -> None:
        """Starts saving; returns as soon as the arrays are copied and may be donated.

        Args:
            step: number of completed steps.
            tree: tree of arrays.
            memory: small JSON values of the loop.
            best_step: the step that must not be deleted; may be `step` itself.

        Raises:
            CheckpointError: if this save was refused or the previous one failed.
        """
        self.wait()
        if not self.folder.is_dir():  # Orbax would begin a new one, without the rest of the run
            raise self._failed(step, FileNotFoundError(self.folder))
        self.best_step = best_step
        args = ocp.args.Composite(state=ocp.args.StandardSave(tree), memory=ocp.args.JsonSave(memory))
        try:
            saved = self._manager.save(step, args=args)
        except Exception as error:
            raise self._failed(step, error) from error
        if not saved:
            raise CheckpointError(
                f"the checkpoint of step {step} was not saved to {self.folder}: it already holds {self.steps()}; "
                "use a fresh --workdir"
            )
        self._thread = threading.Thread(target=self._finish, args=(step,), name=f"checkpoint-{step}")
        self._thread.start()

    def _finish(self, step: int) -> None:
        try:
            self._manager.wait_until_finished()
            if is_first_process():
                write_checksums(self.folder / str(step))
        except BaseException as error:  # reported by wait(), on the main thread
            self._error = self._failed(step, error)
            self._error.__cause__ = error

    def _failed(self, step: int, error: BaseException) -> CheckpointError:
        """What went wrong, what is left and what to do; what is half written is removed."""
        if is_first_process():
            for path in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(path, ignore_errors=True)
        older = [s for s in self.steps() if s < step and (self.folder / str(s)).is_dir()]
        kept = f"the checkpoint of step {older[-1]} is intact" if older else "there is no older checkpoint"
        reason, advice = _reason(error, self.folder)
        return CheckpointError(
            f"the checkpoint of step {step} could not be written to {self.folder}: {reason}; {kept}. {advice}"
        )

    def busy(self) -> bool:
        """Whether a save is still being written."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Waits until the last save and its checksums are on disk.

        Raises:
            CheckpointError: if that save failed.
        """
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def close(self) -> None:
        """Waits and releases Orbax's threads."""
        try:
            self.wait()
        finally:
            self._manager.close()

    def restore_latest(self, abstract: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Restores the newest step; one that Orbax cannot read is set aside with a warning, and the one before used.

        Args:
            abstract: tree of `jax.ShapeDtypeStruct` with shardings.

        Returns:
            (step, tree, memory), or None where there is no checkpoint at all.

        Raises:
            CheckpointError: if a checkpoint is sound but of another tree (another config), or none is left.
        """
        while steps := self.steps():
            step = steps[-1]
            try:
                tree, memory = _read(self.folder / str(step), abstract)
            except Damaged as damage:
                if jax.process_count() > 1:  # Orbax's managers must stay in step with each other
                    raise refusal(self.folder / str(step), damage) from damage
                set_aside(self.folder, step, str(damage))
                self._manager.close()
                self._manager = self._open()
                continue
            self.best_step = memory.get("best_step")
            return step, tree, memory
        if self._had_steps:
            raise CheckpointError(
                f"none of the checkpoints in {self.folder} could be read; they are in {self.folder.name}_bad beside "
                "it. Start again in a fresh --workdir."
            )
        return None


def update(memory: dict[str, Any], select: Any, metrics: Mapping[str, float], step: int) -> None:
    """Remembers a step if it is better than every one before; the first of equals stays, NaN is never best.

    Args:
        memory: of the loop; `best_step` and `best_value` are changed.
        select: `config.select`: metric ("" to select the newest step) and mode, "max" or "min".
        metrics: of the evaluation at this step.
        step: number of completed steps.

    Raises:
        ConfigError: if the metric is not evaluated, or belongs to the test split.
    """
    if not select.metric or not metrics:
        return
    if select.metric not in metrics:
        raise ConfigError(f"config.select.metric={select.metric!r} is not evaluated; {nearest(select.metric, metrics)}")
    value, best = metrics[select.metric], memory["best_value"]
    better = best is None or (value > best if select.mode == "max" else value < best)
    if math.isfinite(value) and better:
        memory.update(best_step=step, best_value=value)


def restore_step(path: Path, abstract: Any) -> tuple[Any, dict[str, Any]]:
    """Restores one step; the folder is not changed.

    Args:
        path: `.../checkpoints/<step>`.
        abstract: tree of `jax.ShapeDtypeStruct` with shardings.

    Returns:
        (tree, memory).

    Raises:
        CheckpointError: if the step is damaged, or of another tree.
    """
    try:
        verify(path)
        return _read(Path(path).absolute(), abstract)
    except Damaged as damage:
        raise refusal(path, damage) from damage


def _read(path: Path, abstract: Any) -> tuple[Any, dict[str, Any]]:
    try:
        refuse_other_tree(path, abstract)
        return ocp.StandardCheckpointer().restore(path / "state", abstract), _memory(path)
    except (CheckpointError, Damaged):
        raise
    except Exception as error:
        raise Damaged(f"Orbax cannot read it ({_first_line(error)})") from error


def read_step(path: Path) -> Any:
    """Reads the arrays of one step directory onto the first device, whatever layout or tree they were saved with.

    Args:
        path: `.../checkpoints/<step>`.

    Returns:
        Nested dictionaries and lists of arrays, keyed as they were saved.

    Raises:
        CheckpointError: if the step is damaged.
    """
    path = Path(path).absolute()
    try:
        verify(path)
    except Damaged as damage:
        raise refusal(path, damage) from damage
    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(lambda m: jax.ShapeDtypeStruct(m.shape, m.dtype, sharding=device), _metadata(path))
    return ocp.StandardCheckpointer().restore(path / "state", abstract)


def _metadata(path: Path) -> Any:
    """The tree of shapes and dtypes of a step, without Orbax's remark that this item has no metadata of its own."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        return ocp.StandardCheckpointer().metadata(path / "state").item_metadata.tree
    finally:
        logging.set_verbosity(before)


def names(path: Path) -> list[str]:
    """Names of the arrays of a step, "state/params/dense0/kernel"; [] for one that Orbax cannot read."""
    try:
        return list(_signatures(_metadata(Path(path).absolute())))
    except Exception:  # whoever restores it says what is wrong
        return []


def committed_steps(folder: Path) -> list[int]:
    """Steps of a run's `checkpoints` folder that were completely written, ascending; nothing is changed."""
    return sorted(int(path.name) for path in folder.glob("*") if path.name.isdigit() and is_complete(path))


def read_memory(path: Path) -> dict[str, Any]:
    """The loop's memory saved with a step, verified.

    Raises:
        CheckpointError: if it is damaged.
    """
    path = Path(path)
    try:
        verify(path, "memory/")
        return _memory(path)
    except Damaged as damage:
        raise refusal(path, damage) from damage


def _memory(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((path / "memory" / "metadata").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise Damaged(f"its memory is unreadable ({error})") from error


def refuse_other_tree(folder: Path, abstract: Any) -> None:
    """Compares names, shapes and dtypes with those saved; Orbax alone would cast silently.

    Args:
        folder: `checkpoints/<step>`.
        abstract: the tree that is wanted.

    Raises:
        CheckpointError: naming the first difference.
    """
    saved, wanted = _signatures(_metadata(folder)), _signatures(abstract)
    for name in sorted(saved.keys() | wanted.keys()):
        if saved.get(name) != wanted.get(name):
            there, here = saved.get(name, "absent"), wanted.get(name, "absent")
            raise CheckpointError(
                f"{folder} belongs to another configuration: {name} is {there} there and {here} here; "
                "use a fresh --workdir"
            )


def _signatures(tree: Any) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): f"{jax.numpy.dtype(x.dtype).name}{list(x.shape)}" for path, x in leaves}


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _reason(error: BaseException, folder: Path) -> tuple[str, str]:
    """Why a checkpoint could not be written, and what to do about it."""
    text, again = str(error), "then run the same command again."
    if not folder.is_dir():
        return "the folder is gone", f"Put {folder.parent} back where it was, {again} Else use another --workdir."
    for sign in ("No space left", "File too large", "Disk quota"):
        if sign in text:
            return f"{sign.lower()} on the disk", f"Free space (or lower config.checkpoint.keep), {again}"
    for sign in ("Permission denied", "Read-only file system"):
        if sign in text:
            return sign.lower(), f"Make the folder writable, {again}"
    return _first_line(error), "Run the same command again: it continues from there."
