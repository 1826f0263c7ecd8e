"""The folder of a run: what is in it, who may write to it, and whether its configuration is this one.

config.json    the resolved configuration          metrics.jsonl  one row per logged step
meta.json      provenance: commit, versions ...    results.json   the final metrics
data.json      what the model needs of its data    statistics.npz of its batch normalisation, where evaluations use it
checkpoints/   predictions/   figures/   tb/       report.html, and DONE or FAILED.json
"""

import contextlib
import fcntl
import json
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from cvdl_jax.config import configs, places
from cvdl_jax.errors import ConfigError, UserError

PLACE = ("name", "data_dir")  # keys of config.data that say where the data are; what they are, their fingerprint says
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


class Workdir:
    """Paths of a run's folder, and its lock.

    Args:
        path: the folder; created when missing.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.meta = self.path / "meta.json"
        self.data = self.path / "data.json"
        self.statistics = self.path / "statistics.npz"
        self.metrics = self.path / "metrics.jsonl"
        self.results = self.path / "results.json"
        self.checkpoints = self.path / "checkpoints"
        self.predictions = self.path / "predictions"
        self.figures = self.path / "figures"
        self.nonfinite = self.path / "nonfinite"
        self.done = self.path / "DONE"
        self.failed = self.path / "FAILED.json"
        self._lock: Any = None

    def lock(self) -> None:
        """Makes this process the only writer; the lock ends with the process, however it ends.

        Raises:
            UserError: if another process holds it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / ".lock").open("a+")
        except OSError as error:
            raise UserError(
                f"--workdir {self.path} cannot be written to: {error.strerror}; choose another folder"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.seek(0)
            holder = self._lock.read().strip() or "unknown"
            self.unlock()
            raise UserError(
                f"another process (pid {holder}) is running in {self.path}; wait for it, stop it, or use another "
                "--workdir"
            ) from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def unlock(self) -> None:
        """Lets another process in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def write_config(self, config: Any) -> None:
        """Writes the configuration, or refuses if the folder holds a run of another one.

        A run that is not finished may be told another name of its data: whether they are the same, their fingerprint
        decides, see `record_start`.

        Raises:
            ConfigError: listing the keys that differ.
        """
        plain = json.loads(json.dumps(configs.to_plain(config)))
        differences = self.differences(plain)
        if differences and not self.begun():  # a command that was mended before anything was saved
            self.meta.unlink(missing_ok=True)
            self.data.unlink(missing_ok=True)
        if not self.config.exists() or (differences and not self.begun()):
            write_json(self.config, plain)
        elif differences and not (self._moved(plain) and not self.done.exists()):
            shown = "; ".join(differences[:5]) + (f"; and {len(differences) - 5} more" if len(differences) > 5 else "")
            raise ConfigError(
                f"{self.path} holds a run of another configuration ({shown}); use another --workdir, or the same "
                "configuration to continue"
            )

    def differences(self, config: Any) -> list[str]:
        """Where the folder's configuration differs from this one.

        The layout over devices may, as a run may move, and so may the place of its data.
        """
        if not self.config.exists():
            return []
        different = configs.differences(configs.completed(read_json(self.config)), configs.to_plain(config))
        return [key for key in different if not key.startswith(("parallel.", "data.data_dir:"))]

    def _moved(self, config: Any) -> bool:
        """Whether this configuration differs only in where the data are."""
        return all(key.startswith("data.name:") for key in self.differences(config))

    def begun(self) -> bool:
        """Whether there is something of a run that another configuration would spoil."""
        return self.done.exists() or self.nonfinite.exists() or bool(self.saved_steps())

    def saved_steps(self) -> list[int]:
        """Steps of its checkpoints, those that were not completely written among them."""
        return [int(path.name) for path in self.checkpoints.glob("*") if path.name.isdigit()]

    def record_start(self, built: Any, steps_per_call: int, argv: list[str]) -> None:
        """Writes `meta.json`: what the run is, and where each start of it came from; removes an old FAILED.json.

        Args:
            built: a `build.Run`.
            steps_per_call: another number is another program, which rounds differently; a continued run reuses it.
            argv: the command line.
        """
        from cvdl_jax.core import counting

        data, before = built.data, self.read_meta()
        facts = {
            "model": before.get("model") or counting.of_run(built),
            "seed": built.config.seed,
            "config_digest": configs.digest(built.config),
            "steps_per_call": steps_per_call,
            "data": {"name": data.name, "version": data.version, "fingerprint": data.fingerprint} if data else None,
            "starts": [*before.get("starts", []), provenance(argv)],
        }
        old, new = before.get("data"), facts["data"]
        if self.begun() and old and (new is None or old["fingerprint"] != new["fingerprint"]):
            raise UserError(
                f"the data have changed since {self.path} was started: {old} then, {new} now; restore them, or use "
                "another --workdir"
            )
        self._move(configs.to_plain(built.config))
        write_json(self.meta, facts)
        self.failed.unlink(missing_ok=True)

    def _move(self, config: dict[str, Any]) -> None:
        """Writes into `config.json` where the data are now."""
        if self.config.exists():
            saved = read_json(self.config)
            places = [{k: v for k, v in data.items() if k in PLACE} for data in (saved["data"], config["data"])]
            if places[0] != places[1]:
                others = {k: v for k, v in saved["data"].items() if k not in PLACE}
                write_json(self.config, {**saved, "data": {**others, **places[1]}})

    def read_meta(self) -> dict[str, Any]:
        """What `meta.json` holds, {} before the first start."""
        return read_json(self.meta) if self.meta.exists() else {}

    def fail(self, error: BaseException, step: int | None) -> None:
        """Writes `FAILED.json`; the next start removes it. Where the disk is full, the error itself matters more."""
        facts = {"error": type(error).__name__, "message": str(error), "step": step, "time": now()}
        with contextlib.suppress(OSError):
            write_json(self.failed, facts)


def provenance(argv: list[str]) -> dict[str, Any]:
    """Where a run comes from: commit, command, versions, machine. No clock but the start time."""
    import jax

    return {
        "time": now(),
        "argv": argv,
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in (*PACKAGES, *(["cvdl_jax"] if places.INSTALLED else []))},
        "backend": jax.default_backend(),
        "devices": [d.device_kind for d in jax.devices()],
        "processes": jax.process_count(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "host": platform.node(),
        "platform": platform.platform(),
    }


def _git(*args: str) -> str | None:
    if places.INSTALLED:  # a repository around an installed package is another project's
        return None
    try:
        done = subprocess.run(
            ["git", "-C", str(places.ROOT), *args], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def now() -> str:
    """UTC time, ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, see `write_whole`."""
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: readers see the old file or the new one, whole."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """Reads a JSON file of a run.

    Raises:
        UserError: naming a missing or damaged file.
    """
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; is {Path(path).parent} the --workdir of a run?") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or use a fresh --workdir") from error
