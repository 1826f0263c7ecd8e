"""Digests of files, which the fingerprint of a data set is made of: every byte decides, up to EXACT bytes of files.

Of a larger set, the sizes of the files and samples of their content decide, so that no start reads the whole of it;
its decoded arrays are kept under the times of its files too (`Digests.written`). Digests of many bytes are kept in the
cache folder beside the size and the times of their files, so that a second start reads only what was written since.
"""

import contextlib
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from cvdl_jax.config.configs import cache_folder

EXACT = 8 << 30  # bytes of all files together that are read whole
KEPT = 64 << 20  # bytes from which on digests are kept for the next start
_SAMPLES = 16
_SETTLED = 2.0  # seconds after which a second write to a file has another time on every file system


class Digests(NamedTuple):
    """What files hold.

    Attributes:
        of: of each file, "name size SHA-256".
        written: a hash of their sizes and times where content alone did not decide; "" where it did.
    """

    of: list[str]
    written: str


def digests(root: Path, files: Sequence[Path], edge: int) -> Digests:
    """The digests of files.

    Args:
        root: of the data set; its path names the kept digests.
        files: below it.
        edge: bytes at both ends of a file that are always read.
    """
    states = [path.stat() for path in files]
    total = sum(state.st_size for state in states)
    exact = total <= EXACT
    seen = {str(path): [s.st_size, s.st_mtime_ns, s.st_ctime_ns] for path, s in zip(files, states, strict=True)}
    keeper = cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]}.json"
    kept = _read(keeper) if exact and total >= KEPT else {}

    def one(path: Path) -> str:
        before = kept.get(str(path))
        if before is not None and before[:3] == seen[str(path)]:
            return before[3]
        size = seen[str(path)][0]
        return f"{shown(path.name)} {size} {_whole(path, size, edge) if exact else _sampled(path, size, edge)}"

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        of = list(pool.map(one, files))
    if exact and total >= KEPT:
        limit = (time.time() - _SETTLED) * 1e9
        new = {key: [*state, d] for (key, state), d in zip(seen.items(), of, strict=True) if max(state[1:]) < limit}
        if any(kept.get(key) != value for key, value in new.items()):
            _write(keeper, kept | new)
    times = hashlib.sha256(json.dumps([state[:2] for state in seen.values()]).encode()).hexdigest()
    return Digests(of, "" if exact else times)


def edges(path: Path, edge: int) -> str:
    """A file's name, size and the SHA-256 of its first and last `edge` bytes: its digest in runs of before."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        return f"{path.name} {size} {_of_edges(file, size, edge).hexdigest()}"


def shown(name: str | Path) -> str:
    """A path that can be printed, encoded and written, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _of_edges(file, size: int, edge: int):
    digest = hashlib.sha256(file.read(edge))
    file.seek(max(size - edge, 0))
    digest.update(file.read(edge))
    return digest


def _whole(path: Path, size: int, edge: int) -> str:
    """The SHA-256 of all bytes; of a file that both edges cover, that of its edges, which runs of before have too."""
    with open(path, "rb") as file:
        if size <= 2 * edge:
            return _of_edges(file, size, edge).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sampled(path: Path, size: int, edge: int) -> str:
    with open(path, "rb") as file:
        digest = _of_edges(file, size, edge)
        for i in range(1, _SAMPLES + 1) if size > 2 * edge else ():
            file.seek(i * size // (_SAMPLES + 1))
            digest.update(file.read(max(edge // _SAMPLES, 1)))
    return digest.hexdigest()


def _read(path: Path) -> dict[str, list]:
    with contextlib.suppress(OSError, ValueError):
        kept = json.loads(path.read_text())
        if isinstance(kept, dict) and all(isinstance(v, list) and len(v) == 4 for v in kept.values()):
            return kept
    return {}


def _write(path: Path, kept: dict[str, list]) -> None:
    """Keeps digests; where the cache cannot be written, the next start computes them again."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False) as file:
            json.dump(kept, file)
        os.replace(file.name, path)
