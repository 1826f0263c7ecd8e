"""Metric rows on their way to disk: JSONL (the truth), TensorBoard and, on request, Weights & Biases.

`metrics.jsonl` has one JSON object per logged step, in increasing order: {"step": 50, "train/loss": 1.2, ...}.
What depends on the clock lies under keys that start with "time/"; everything else is the same in a run that was killed
and continued as in one that was not. JSON knows no infinities, so these are the strings "nan", "inf" and "-inf".
"""

import importlib.util
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.config import configs
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.workdir.folder import write_whole

METRICS = "metrics.jsonl"
TIME = "time/"
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


class Writers:
    """All writers of a run. In processes other than the first there are none, and rows go nowhere.

    Rows after `last_step`, which a killed run wrote but no checkpoint knows, are dropped first. Call `sync` before
    saving a checkpoint, so that no checkpoint is ahead of the rows.

    Args:
        workdir: folder of the run.
        config: the configuration as plain values, shown by Weights & Biases.
        last_step: the last step whose row is kept; -1 for none. Later rows must come in increasing order.
        tensorboard: write event files to `workdir/tb`.
        wandb: name of a Weights & Biases project; empty for none.
        process: index of this process; by default JAX's.

    Raises:
        ConfigError: if `wandb` is asked for and not installed.
        DataError: if metrics.jsonl is not a file of rows.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        *,
        config: Mapping[str, Any] | None = None,
        last_step: int = -1,
        tensorboard: bool = True,
        wandb: str = "",
        process: int | None = None,
    ):
        if process is None:
            import jax

            process = jax.process_index()
        workdir = Path(workdir)
        self.writers: list[Any] = []  # each has row(step, values), sync() and close()
        if wandb:
            check_wandb(wandb)
        if process != 0:
            return
        truncate(workdir / METRICS, last_step)
        self.writers.append(Jsonl(workdir / METRICS, last_step))
        if tensorboard:
            self.writers.append(TensorBoard(workdir / "tb", purge_step=last_step + 1))
        if wandb:
            self.writers.append(Wandb(workdir, wandb, config or {}))

    def row(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes the metrics of one step.

        Args:
            step: number of completed steps; larger than that of the row before.
            values: {name: number}; NumPy scalars are numbers too.

        Raises:
            ValueError: if the step does not increase; nothing is written then.
            TypeError: if a value is not a number.
        """
        if not self.writers:
            return
        plain = {name: _number(name, value) for name, value in values.items()}
        for writer in self.writers:
            writer.row(step, plain)

    def sync(self) -> None:
        """Returns when all rows are on disk."""
        for writer in self.writers:
            writer.sync()

    def close(self) -> None:
        """Closes every writer; a second call does nothing."""
        while self.writers:
            self.writers.pop().close()


class Jsonl:
    """Appends rows to a file, each flushed at once, so that a killed process loses none that it wrote.

    Args:
        path: of the file; it must end with a complete row (see `truncate`).
        last_step: rows must have a larger step.
    """

    def __init__(self, path: str | os.PathLike, last_step: int = -1):
        self.last_step = last_step
        self._file = Path(path).open("ab")

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Writes one row.

        Raises:
            ValueError: if the step is not larger than the last one, or `values` has the key "step".
        """
        if step <= self.last_step:
            raise ValueError(f"the row of step {step} comes after that of step {self.last_step}; each step has one row")
        if "step" in values:
            raise ValueError('a metric may not be called "step"; that is the key of the row')
        encoded = {name: value if math.isfinite(value) else repr(float(value)) for name, value in values.items()}
        self._file.write(json.dumps({"step": int(step), **encoded}, allow_nan=False).encode() + b"\n")
        self._file.flush()
        self.last_step = step

    def sync(self) -> None:
        """Forces the rows to the disk itself."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


class TensorBoard:
    """Event files for TensorBoard, written without TensorFlow.

    Args:
        folder: of the event files.
        purge_step: TensorBoard hides what earlier starts of the run wrote from this step on; None hides nothing.
    """

    def __init__(self, folder: str | os.PathLike, purge_step: int | None = None):
        self.folder, self.purge_step = str(folder), purge_step
        self._writer: Any = None

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one scalar per value."""
        for name, value in values.items():
            self._opened().add_scalar(name, value, step)

    def summary(self, step: int, config: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Adds the final metrics as "final/NAME", and the hyper-parameters for the comparison of runs.

        Args:
            step: of the weights that were evaluated.
            config: plain values; what is empty is left out.
            metrics: {name: number}.
        """
        from tensorboardX.summary import hparams

        flat = {key: value for key, value in configs.flat(config).items() if value not in (None, "", {}, [])}
        values = {k: v if isinstance(v, bool | int | float | str) else json.dumps(v) for k, v in flat.items()}
        final = {f"final/{name}": float(value) for name, value in metrics.items()}
        for part in hparams(values, final):
            self._opened().file_writer.add_summary(part)
        for name, value in final.items():
            self._opened().add_scalar(name, value, step)

    def image(self, name: str, path: Path, step: int) -> None:
        """Adds a picture."""
        import numpy as np
        from PIL import Image

        with open(path, "rb") as file:  # Pillow does not close that of an animated picture
            pixels = np.asarray(Image.open(file).convert("RGB"))  # its first frame
        self._opened().add_image(name, pixels, step, dataformats="HWC")

    def _opened(self) -> Any:
        """The library's writer, made when it is first needed."""
        if self._writer is None:
            hidden = sys.modules.setdefault("torch", None) is None  # tensorboardX imports it wherever it is installed
            from tensorboardX import SummaryWriter  # here, where the device is already busy with the next steps

            if hidden:
                del sys.modules["torch"]
            suffix = f".{os.getpid()}.{secrets.token_hex(2)}"  # a start in the same second must not overwrite the file
            self._writer = SummaryWriter(self.folder, purge_step=self.purge_step, filename_suffix=suffix)
        return self._writer

    def sync(self) -> None:
        """Hands what has been written to the operating system."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Writes what is left and ends the library's thread."""
        if self._writer is not None:
            self._writer.close()


class Wandb:
    """Weights & Biases. A restarted run goes on under the same id, kept in `wandb_id`.

    Args:
        workdir: folder of the run.
        project: name of the project there.
        config: plain values.
    """

    def __init__(self, workdir: str | os.PathLike, project: str, config: Mapping[str, Any]):
        self.workdir, self.project, self.config = Path(workdir), project, dict(config)
        self._run: Any = None

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Logs one row."""
        if self._run is None:
            import wandb

            path = self.workdir / "wandb_id"
            if not path.exists():
                path.write_text(secrets.token_hex(4))
            where = {"project": self.project, "name": self.workdir.name, "dir": str(self.workdir)}
            self._run = wandb.init(**where, config=self.config, id=path.read_text().strip(), resume="allow")
        self._run.log(dict(values), step=step)

    def sync(self) -> None:
        """Nothing to do: the service keeps its own queue."""

    def close(self) -> None:
        """Waits until everything is sent."""
        if self._run is not None:
            self._run.finish()


def check_wandb(project: str) -> None:
    """Refuses a Weights & Biases project when the package is missing, before anything is computed.

    Raises:
        ConfigError: then.
    """
    if importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            f"config.log.wandb={project!r} needs the package wandb, which is not installed; "
            "type: pip install wandb, or leave config.log.wandb empty"
        )


def read(path: str | os.PathLike) -> list[dict[str, float]]:
    """Reads the rows of a metrics.jsonl; a last line that a killed run left half-written is not a row.

    Args:
        path: of the file; a missing one has no rows.

    Returns:
        [{"step": 50, name: number, ...}, ...].

    Raises:
        DataError: if any other line is not a row, with its number.
    """
    return [row for _, row in _parse(Path(path))]


def truncate(path: str | os.PathLike, step: int) -> int:
    """Drops the rows after a step and a half-written last line: whole or not at all, whatever happens meanwhile.

    Args:
        path: of the file; a missing one is left missing.
        step: the last step whose row is kept; -1 for none.

    Returns:
        The number of complete rows dropped.

    Raises:
        DataError: as `read`.
    """
    path = Path(path)
    rows = _parse(path)
    kept = [line for line, row in rows if row["step"] <= step]
    content = b"".join(line + b"\n" for line in kept)
    if path.exists() and path.read_bytes() != content:
        write_whole(path, content)
    return len(rows) - len(kept)


def without_time(rows: Iterable[Mapping[str, float]]) -> list[dict[str, float]]:
    """The rows without what depends on the clock: equal for a continued and an uninterrupted run."""
    return [{name: value for name, value in row.items() if not name.startswith(TIME)} for row in rows]


def _parse(path: Path) -> list[tuple[bytes, dict[str, float]]]:
    """The complete lines of a file with their rows."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    if lines and not lines[-1]:
        lines.pop()
    parsed = []
    for number, line in enumerate(lines, 1):
        try:
            row = {name: _decode(value) for name, value in json.loads(line).items()}
            parsed.append((line, {"step": int(row.pop("step")), **row}))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if number == len(lines):
                break
            raise DataError(
                f"{path}, line {number} is not a row of metrics ({line[:60]!r}); mend or remove that line, "
                "or start again with another --workdir"
            ) from error
    return parsed


def _number(name: str, value: Any) -> float | int:
    """A value as a Python number."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if not isinstance(value, int | float):
        raise TypeError(f"the metric {name!r} must be a number, got {type(value).__name__}")
    return value


def _decode(value: Any) -> float:
    """A value read back; anything but a number or a named non-finite one is an error."""
    if isinstance(value, str):
        return _NON_FINITE[value]
    if not isinstance(value, int | float):
        raise ValueError(f"{value!r} is not a number")
    return value


class OpenRow:
    """At most one row that is not written yet: sums still on the device, or values that wait for an evaluation.

    Args:
        info: a `core.info.Info`, which tells the epoch of a step.
        explain: `(step, losses) -> exception`, called when a loss is not finite.
        values: of a row that a checkpoint carried because its evaluation was interrupted.
    """

    def __init__(self, info: Any, explain: Callable[[int, dict[str, float]], Exception], values: dict[str, float]):
        self.info, self.explain, self.values = info, explain, dict(values)
        self._pending: tuple[int, Any, dict[str, float]] | None = None

    def open(self, step: int, sums: Any, times: dict[str, float]) -> None:
        """Ends the interval at `step`; its sums stay on the device until they are needed."""
        self._pending = (step, sums, times)

    @property
    def waiting(self) -> bool:
        """Whether sums have not been fetched yet."""
        return self._pending is not None

    def fetch(self) -> None:
        """Moves the sums to the host and divides them.

        Raises:
            Exception: what `explain` returns, if a loss is not finite.
        """
        from cvdl_jax.core.parallel import to_host  # here: rows are read by commands that need no JAX

        if self._pending is None:
            return
        (step, sums, times), self._pending = self._pending, None
        means = {
            f"train/{name}": float(total) / float(weight) if weight else math.nan
            for name, (total, weight) in to_host(sums).items()
        }
        self.values = {"epoch": self.info.epoch(step), **means, **times}
        losses = {name: value for name, value in means.items() if name.rsplit("/", 1)[-1] == "loss"}
        if not all(math.isfinite(value) for value in losses.values()):
            raise self.explain(step, losses)

    def flush(self, step: int, write: Callable[[int, dict[str, float]], None]) -> None:
        """Writes the row, if there is one.

        Args:
            step: the present step; that of the row unless its sums still wait.
            write: `(step, values)`.
        """
        step = self._pending[0] if self._pending is not None else step
        self.fetch()
        if self.values:
            write(step, self.values)
            self.values = {}
