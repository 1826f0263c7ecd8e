"""The folder of a run: what is in it, who may write to it, and whether its configuration is this one.

config.json    the resolved configuration          metrics.jsonl  one row per logged step
meta.json      provenance: commit, versions ...    results.json   the final metrics
data.json      what the model needs of its data    statistics.npz of its batch normalisation, where evaluations use it
checkpoints/   predictions/   figures/   tb/       report.html, and DONE or FAILED.json
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import platform
import secrets
import subprocess
import time
import warnings
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

from cvdl_jax.config import configs, paths, places
from cvdl_jax.errors import ConfigError, UserError

# Keys of config.data that say where the data are and how examples are read; what they are, their fingerprint says.
PLACE = ("name", "data_dir", "skip_bad", "max_pixels")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


class Workdir:
    """Paths of a run's folder, and its lock.

    Args:
        path: the folder; created when missing.

    Raises:
        ConfigError: for one that is not of a file system, such as gs://bucket/run.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = paths.local(path, "--workdir")
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
            if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                warnings.warn(
                    f"{self.path} is on a file system without locks ({error.strerror}), so that a second process in it "
                    "is not noticed; see to it that there is none",
                    stacklevel=2,
                )
                return
            self.unlock()
            raise UserError(
                f"another process (pid {self.holder() or 'unknown'}) is running in {self.path}; wait for it, stop it, "
                "or use another --workdir"
            ) from error
        self._lock.truncate(0)
        self._lock.write(str(os.getpid()))
        self._lock.flush()

    def holder(self) -> int | None:
        """The process that holds the lock, or held it last; None where nobody knows."""
        try:
            return int((self.path / ".lock").read_text())
        except (OSError, ValueError):
            return None

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
        plain["data"].pop("accept_changed", None)  # for one start
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

    def lengthen(self, config: Any, step: int, before: int, after: int) -> None:
        """Takes a configuration that differs in its length alone; `meta.json` says so, with the results until now.

        Args:
            config: longer.
            step: the last one that is saved.
            before: length until now, in steps.
            after: new length.
        """
        self.done.unlink(missing_ok=True)  # first, so that a start after this one was killed does it again
        meta = self.read_meta()
        results = read_json(self.results) if self.results.exists() else None
        entry = {"time": now(), "step": step, "total_steps": [before, after], "results": results}
        write_json(self.meta, {**meta, "lengthened": [*meta.get("lengthened", []), entry]})
        self.results.unlink(missing_ok=True)
        write_json(self.config, configs.to_plain(config))
        print(
            f"{self.path}: lengthened from {before:,} to {after:,} steps; it continues from step {step:,}", flush=True
        )
        tested = any(name.startswith("test/") for name in (results or {}).get("metrics", {}))
        if tested:
            print("its test split has been evaluated, and will be again: meta.json keeps both results", flush=True)

    def differences(self, config: Any) -> list[str]:
        """Where the folder's configuration differs from this one.

        The layout over devices may, as a run may move, and so may the place of its data and how they are read.
        """
        if not self.config.exists():
            return []
        different = configs.differences(configs.completed(read_json(self.config)), configs.to_plain(config))
        free = ("parallel.", *(f"data.{key}:" for key in ("accept_changed", *PLACE) if key != "name"))
        return [key for key in different if not key.startswith(free)]

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

        data, before, config = built.data, self.read_meta(), configs.to_plain(built.config)
        config["data"].pop("accept_changed", None)  # for one start
        facts = {
            "model": before.get("model") or counting.of_run(built),
            "seed": built.config.seed,
            "config_digest": configs.digest(config),
            "steps_per_call": steps_per_call,
            "data": facts_of(data) if data else None,
            "classes": classes_of(data) if data else None,
            **{key: before[key] for key in ("lengthened", "initialised") if key in before},
            "starts": [*before.get("starts", []), provenance(argv)],
        }
        changes = before.get("data_changes", [])
        old, new = before.get("data"), facts["data"]
        if self.begun() and old and new and before.get("classes", facts["classes"]) != facts["classes"]:
            raise UserError(
                f"the classes of {new['name']} are not those that {self.path} was started with, so that the labels "
                "would mean others; restore the names of the class folders, or use another --workdir"
            )
        if self.begun() and old and old != new:
            same = data is not None and data.known_as(old["fingerprint"])
            if not same and not (data is not None and data.accept_changed):
                raise UserError(
                    f"the data have changed since {self.path} was started: {_brief(old)} then, {_brief(new)} now; "
                    "restore them, use another --workdir, or go on with the data as they are: "
                    "--config.data.accept_changed=True"
                )
            if not same or old.get("skipped") != new.get("skipped"):
                step = max(self.saved_steps(), default=0)
                changes = [*changes, {"time": now(), "step": step, "from": old, "to": new}]
                warnings.warn(f"from step {step} on, the data are others; {self.meta} says so", stacklevel=2)
        facts |= {"data_changes": changes} if changes else {}
        self._move(config)
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

    def record_source(self, report: str) -> None:
        """Adds to `meta.json` what the first state was initialised from: the file, its digest, what was taken."""
        write_json(self.meta, {**self.read_meta(), "initialised": report.splitlines()})

    def fail(self, error: BaseException, step: int | None) -> None:
        """Writes `FAILED.json`; the next start removes it. Where the disk is full, the error itself matters more."""
        facts = {"error": type(error).__name__, "message": str(error), "step": step, "time": now()}
        with contextlib.suppress(OSError):
            write_json(self.failed, facts)


def facts_of(data: Any) -> dict[str, Any]:
    """What `meta.json` says of a data set: which it is, and the examples that were left out."""
    facts = {"name": data.name, "version": data.version, "fingerprint": data.fingerprint}
    skipped = {key: {"count": len(names), "names": list(names[:1000])} for key, names in data.skipped.items()}
    return facts | ({"skipped": skipped} if skipped else {})


def classes_of(data: Any) -> str:
    """A hash of the classes in their order: of other classes, labels would mean others."""
    return hashlib.sha256("\n".join([str(data.num_classes), *data.class_names]).encode()).hexdigest()[:16]


def _brief(facts: dict[str, Any] | None) -> str:
    """A data set in a sentence: "mnist 3.0.1 (fingerprint 01234567)"."""
    if facts is None:
        return "no data"
    return f"{' '.join(filter(None, (facts['name'], facts['version'])))} (fingerprint {facts['fingerprint'][:8]})"


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
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` once it is whole; an error leaves nothing of it.

    Its name until then is of this call alone: several processes may write one path, and the last of them stays.
    """
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


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
