"""Splits in memory: all examples of a split are decoded once, and kept on disk for the next start."""

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace

import numpy as np

from cvdl_jax.data import boxes, instances
from cvdl_jax.data import cache as array_cache
from cvdl_jax.data.host import INDEX
from cvdl_jax.data.order import TwoSets
from cvdl_jax.data.readable import Readable
from cvdl_jax.data.split import Split
from cvdl_jax.data.subset import Subset
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import selective_search

_CHUNK = 256  # examples decoded by one thread at a time


def make_resident(splits: dict[str, Split], resident: str, limit: int, cache: bool) -> dict[str, Split]:
    """The splits, with decoded arrays where these are to be in memory.

    Args:
        splits: {name: Split}.
        resident: "always", "never", or "auto" for as long as all of them stay under the limit.
        limit: in bytes.
        cache: keep decoded arrays on disk for the next start.

    Raises:
        ConfigError: for splits that must be in memory and are another one every epoch.
    """
    able = {
        k: s for k, s in splits.items()
        if not s.stage.random and not isinstance(s.groups, TwoSets) and all(f.fixed for f in s.delivered.values())
    }  # fmt: skip
    if resident == "always":
        for split in splits.values():
            split.spec  # noqa: B018  says what to set where shapes vary
            if split.stage.random:
                raise ConfigError(
                    f"config.data.resident='always' keeps one window per image, crop={split.stage.crop!r} wants a new "
                    "one every epoch; use resident='auto', or crop='center' and the augmentation padded_crop"
                )
            if isinstance(split.groups, TwoSets):
                raise ConfigError(
                    "config.data.resident='always' keeps rows, and config.data.domains makes other rows of two sets "
                    "in every epoch; use resident='auto'"
                )
    total = sum(_bytes(s) for s in able.values())
    if resident == "never" or (resident == "auto" and total > limit):
        return splits
    return {k: replace(s, arrays=arrays_of(s, cache)) if k in able else s for k, s in splits.items()}


def _bytes(split: Split) -> int:
    """The size of all decoded arrays of a split whose shapes are fixed."""
    return split.size * sum(math.prod(f.shape) * np.dtype(f.dtype).itemsize for f in split.delivered.values())


def arrays_of(split: Split, cache: bool) -> dict[str, np.ndarray]:
    """All examples of a split {name: [n, ...]}, decoded now or at an earlier start."""
    whole = isinstance(split.source, Subset) and not isinstance(split.source, Readable)
    if whole and cache:  # the whole is decoded and cached once, for every way to cut it
        whole = arrays_of(replace(split, source=split.source.base), cache)
        parts = {name: array[split.source.indices] for name, array in whole.items()}
        return parts | ({INDEX: np.arange(split.size, dtype=np.int32)} if INDEX in parts else {})
    if not cache or not split.source.location:
        return _decode_all(split)
    key = {
        "data": split.source.cache_key(),
        "intervals": split.source.intervals,
        "stage": split.stage.settings(),
        "features": {name: asdict(f) for name, f in split.features.items()},
        **({"instances": "by row"} if instances.LOST in split.delivered else {}),
        **({"search": selective_search.VERSION} if boxes.PROPOSALS in split.delivered else {}),
    }
    return array_cache.load_or_build(array_cache.folder_for(split.source.name, key), lambda: _decode_all(split))


def _decode_all(split: Split) -> dict[str, np.ndarray]:
    n = split.size
    arrays = {name: np.empty((n, *s.shape), s.dtype) for name, s in split.spec.items()}

    def fill(start: int) -> None:
        indices = np.arange(start, min(start + _CHUNK, n))
        for name, rows in split.batch(indices).items():
            arrays[name][indices] = rows

    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        list(pool.map(fill, range(0, n, _CHUNK)))
    return arrays
