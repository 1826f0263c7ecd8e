"""Whether a checkpoint's files are what was written, and what is done with those that are not."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

from cvdl_jax.errors import CheckpointError
from cvdl_jax.workdir.folder import write_json

CHECKSUMS = "checksums.json"


class Damaged(Exception):
    """A checkpoint's files are not what was written."""


def write_checksums(folder: Path) -> None:
    """Writes the SHA-256 of every file of a committed step into `checksums.json` beside them, atomically."""
    write_json(folder / CHECKSUMS, _checksums(folder))


def is_complete(path: Path) -> bool:
    """Whether Orbax finished writing a step."""
    return (path / "_CHECKPOINT_METADATA").is_file() and (path / "state").is_dir() and (path / "memory").is_dir()


def set_aside_damaged(folder: Path) -> None:
    """Sets aside every incomplete step, and damaged ones from the newest on, down to the first that verifies.

    Args:
        folder: a run's `checkpoints`.
    """
    for path in sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: -int(p.name)):
        try:
            if not is_complete(path):
                raise Damaged("it was never completed")
            verify(path)
            return
        except Damaged as damage:
            set_aside(folder, int(path.name), str(damage))


def verify(folder: Path, part: str = "") -> None:
    """Compares a step's files with its checksums.

    Args:
        folder: of the step.
        part: only the files whose names begin so, such as "memory/"; "" for all.

    Raises:
        Damaged: naming the first file that is missing, differs, or was not written with the others.
    """
    path = folder / CHECKSUMS
    if not path.exists():
        warnings.warn(
            f"{folder} has no {CHECKSUMS} (the run was killed while writing it); it is read unverified", stacklevel=2
        )
        return
    try:
        expected = json.loads(path.read_text())
    except ValueError as error:
        raise Damaged(f"{CHECKSUMS} is unreadable") from error
    if not isinstance(expected, dict) or not any(name.startswith(part) for name in expected):
        raise Damaged(f"{CHECKSUMS} is not what was written")
    actual = _checksums(folder, part)
    for name in sorted(actual.keys() | {name for name in expected if name.startswith(part)}):
        if name not in actual:
            raise Damaged(f"the file {name} is missing")
        if name not in expected:
            raise Damaged(f"the file {name} was not written with the others")
        if actual[name] != expected[name]:
            raise Damaged(f"the file {name} has changed since it was written")


def refusal(folder: Path, damage: Damaged) -> CheckpointError:
    """The user's error for a step that was asked for and is damaged."""
    return CheckpointError(f"the checkpoint {folder} is damaged: {damage}; choose another with --checkpoint")


def _checksums(folder: Path, part: str = "") -> dict[str, str]:
    """{name: SHA-256} of the files of a step; hidden ones are the file system's."""
    sums = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name.startswith(part) and path.is_file() and not path.name.startswith((CHECKSUMS, ".")):
            with path.open("rb") as file:
                sums[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def bad_folder(folder: Path) -> Path:
    """Where damaged checkpoints of `folder` are put."""
    return folder.with_name(folder.name + "_bad")


def set_aside(folder: Path, step: int, reason: str) -> None:
    """Moves a damaged step out of the way, with a warning; nothing is deleted."""
    target = bad_folder(folder)
    target.mkdir(exist_ok=True)
    n = 0
    while (target / f"{step}.{n}").exists():
        n += 1
    shutil.move(folder / str(step), target / f"{step}.{n}")
    warnings.warn(f"checkpoint {step} is damaged: {reason}. It is set aside in {target / f'{step}.{n}'}", stacklevel=2)
