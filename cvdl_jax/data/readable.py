"""Examples that can be read: `config.data.skip_bad` leaves out the others, and says which.

All examples are decoded once to find out, before the first step, since the order of the examples depends on their
number; what was found is kept in the cache folder under the fingerprint of the data.
"""

import contextlib
import hashlib
import json
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from cvdl_jax.config.configs import cache_folder
from cvdl_jax.data.digests import shown
from cvdl_jax.data.schema import why
from cvdl_jax.data.sources import Source
from cvdl_jax.data.subset import Subset
from cvdl_jax.errors import DataError

_CHUNK = 64  # examples read by one thread at a time
_SHOWN = 5


class Readable(Subset):
    """The examples of a source that can be read; its fingerprint is that of the source, all examples included."""

    def fingerprint(self) -> str:
        """That of the source."""
        return self.base.fingerprint()

    def former_fingerprint(self) -> str:
        """That of the source."""
        return self.base.former_fingerprint()


def readable(source: Source, cache: bool = True) -> tuple[Source, list[str]]:
    """Leaves out what cannot be read, with a warning.

    Args:
        source: of examples.
        cache: keep what was found for the next start.

    Returns:
        (the source, or what of it can be read; the names of the examples left out).

    Raises:
        DataError: if no example can be read.
    """
    bad = _unreadable(source, cache)
    good = Readable(source, np.setdiff1d(np.arange(len(source)), list(bad)), source.split)
    if not bad:  # a part of a set is not decoded with the whole, of which something else may be unreadable
        return good if isinstance(source, Subset) else source, []
    names = [source.identify(i) for i in bad]
    which = f"{', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''} ({next(iter(bad.values()))})"
    what = f"{len(bad)} of {len(source)} examples of {source.split!r} of {source.name} cannot be read"
    if len(bad) == len(source):
        raise DataError(f"{what}: {which}")
    warnings.warn(f"{what} and are left out: {which}", stacklevel=2)
    return good, names


def _unreadable(source: Source, cache: bool) -> dict[int, str]:
    """{place of an example that cannot be read: why}."""
    key = json.dumps([source.cache_key(), source.intervals]) if cache and source.location else ""
    kept = cache_folder() / "unreadable" / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if key:
            return {int(i): reason for i, reason in json.loads(kept.read_text()).items()}
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        starts = range(0, len(source), _CHUNK)
        parts = pool.map(lambda i: _bad_of(source, range(i, min(i + _CHUNK, len(source)))), starts)
        bad = {i: reason for part in parts for i, reason in part.items()}
    with contextlib.suppress(OSError):
        if key:
            kept.parent.mkdir(parents=True, exist_ok=True)
            temporary = kept.with_name(f"{kept.name}.{os.getpid()}.tmp")
            temporary.write_text(json.dumps(bad))
            os.replace(temporary, kept)
    return bad


def _bad_of(source: Source, places: Sequence[int]) -> dict[int, str]:
    try:
        source.read(places)
    except DataError as error:
        if len(places) == 1:
            return {places[0]: shown(why(error.__cause__ or error))}
        return {i: reason for place in places for i, reason in _bad_of(source, [place]).items()}
    return {}
