"""Decoded arrays kept on disk, so that a second start maps them into memory instead of decoding again.

There is one folder per split and settings, with one `.npy` file per feature and `done.json` with their checksums. It is
written under another name and moved into place whole; of two processes that write it at once, one is kept.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.config.configs import cache_folder

_FORMAT = 2  # 2: images are upright
_DONE = "done.json"


def folder_for(name: str, key: Mapping[str, Any]) -> Path:
    """The folder for the arrays of these settings.

    Args:
        name: of the data set, to make the folder recognisable.
        key: everything that the arrays depend on, as JSON values.
    """
    text = json.dumps({"format": _FORMAT, **key}, sort_keys=True)
    safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in name)[:40]
    return cache_folder() / "arrays" / f"{safe}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def load_or_build(folder: Path, build: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The arrays from the cache; if they are not there, they are built and written to it.

    Args:
        folder: from `folder_for`.
        build: makes the arrays {name: [n, ...]}.

    Returns:
        {name: array}, memory-mapped and read-only if they come from the cache. A damaged cache is built again, and a
        cache that cannot be written is skipped, both with a warning.
    """
    if folder.is_dir():
        try:
            return _read(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"the cached arrays in {folder} are damaged ({error}); decoding again", stacklevel=2)
            damaged = folder
    else:
        damaged = None
    arrays = build()
    try:
        _write(folder, arrays, damaged)
    except OSError as error:
        warnings.warn(
            f"decoded arrays cannot be kept in {folder.parent} ({error.strerror or error}); every start will decode "
            "again; set CVDL_CACHE to a folder with room, or config.data.cache=False",
            stacklevel=2,
        )
    return arrays


def _read(folder: Path) -> dict[str, np.ndarray]:
    entries = json.loads((folder / _DONE).read_text())
    arrays = {}
    for name, (file, checksum) in entries.items():
        array = np.load(folder / file, mmap_mode="r", allow_pickle=False)
        if _checksum(array) != checksum:
            raise ValueError(f"{file} fails its checksum")
        arrays[name] = array
    return arrays


def _checksum(array: np.ndarray) -> str:
    crc = 0
    rows = max(1, (1 << 26) // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        crc = zlib.crc32(np.ascontiguousarray(array[start : start + rows]).view(np.uint8).reshape(-1), crc)
    return f"{array.dtype.str} {list(array.shape)} {crc:08x}"


def _write(folder: Path, arrays: dict[str, np.ndarray], damaged: Path | None) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    try:
        entries = {}
        for i, (name, array) in enumerate(arrays.items()):
            np.save(scratch / f"{i}.npy", array, allow_pickle=False)
            entries[name] = (f"{i}.npy", _checksum(array))
        (scratch / _DONE).write_text(json.dumps(entries))
        if damaged is not None:
            with contextlib.suppress(OSError):  # another process may have moved it first
                os.rename(damaged, scratch / "damaged")
        with contextlib.suppress(OSError):  # another process was first, with the same arrays
            os.rename(scratch, folder)
        shutil.rmtree(folder / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
