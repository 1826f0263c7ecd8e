"""What a run keeps of its data, `data.json`: all that its model needs of them, so that it means the same later.

{"data": see `data/described.py`, or null, "fitted": {section: numbers that were fitted on the data}, "checksum": ...}
The checksum is of the rest: a file that was damaged would name classes wrongly without a word.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.errors import CheckpointError
from cvdl_jax.workdir.folder import Workdir, read_json, write_json


def write(folder: str | Path, facts: Mapping[str, Any]) -> None:
    """Writes the facts of a run."""
    plain = json.loads(json.dumps(facts))
    write_json(Workdir(folder).data, {**plain, "checksum": checksum(plain)})


def read(folder: str | Path) -> dict[str, Any] | None:
    """The facts of a run; None where it kept none, as runs did before there were such facts.

    Raises:
        CheckpointError: if the file is not what was written.
    """
    path = Workdir(folder).data
    if not path.exists():
        return None
    facts = read_json(path)
    written = facts.pop("checksum", None) if isinstance(facts, dict) else None
    if written is None or written != checksum(facts):
        raise CheckpointError(
            f"{path} has changed since it was written, so that it does not tell what the run's model needs of its "
            "data; restore it from a copy"
        )
    return facts


def class_names(folder: str | Path) -> tuple[str, ...]:
    """The names of a run's classes in its order; () where it kept none."""
    return tuple(((read(folder) or {}).get("data") or {}).get("class_names", ()))


def fingerprint(folder: str | Path, split: str) -> str:
    """Of the files that a split of a run was cut from; "" where it kept none."""
    splits = ((read(folder) or {}).get("data") or {}).get("splits", {})
    return splits.get(split, {}).get("fingerprint", "")


def checksum(facts: Mapping[str, Any]) -> str:
    """SHA-256 of plain values, the same in whatever order and layout they are written."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
