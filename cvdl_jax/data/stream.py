"""Batches of sets that do not fit into memory: Grain loads and decodes ahead, in threads, in the order of `order.py`.

Batch k is a function of (seed, k) alone, so that a run can restart at any step, and a process loads only its own rows.
The batches of a resident set, gathered by the same indices, are equal bit for bit.
"""

import os
from collections.abc import Callable, Iterator

import numpy as np

from cvdl_jax.data import order
from cvdl_jax.data.split import Split

_AHEAD = 4  # batches loaded before the device needs them
_MOST_THREADS = 16


def train_batches(
    split: Split,
    seed: int,
    start: int,
    stop: int,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of the shuffled batches of steps start ... stop - 1.

    Args:
        split: the data.
        seed: of order and host stage.
        start: first step.
        stop: the step after the last one.
        batch_size: global.
        process_index: whose rows.
        process_count: how many processes share a batch.

    Yields:
        {name: [batch_size / process_count, ...]}.

    Raises:
        DataError: naming the example that cannot be decoded, or the entries that have no fixed shape.
        ConfigError: if the processes cannot share the batch equally.
    """
    split.spec  # noqa: B018  refuses entries of varying shape before the first batch
    rows = order.host_rows(batch_size, process_index, process_count)

    def load(k: int) -> dict[str, np.ndarray]:
        epochs, indices = split.at(seed, order.batch_positions(start + k, batch_size)[rows])
        return split.batch(indices, epochs, seed)

    return _ahead(load, stop - start)


def eval_batches(
    split: Split, batch_size: int, process_index: int = 0, process_count: int = 1
) -> Iterator[dict[str, np.ndarray]]:
    """This process's rows of the batches of an evaluation: every example once, in order, the last batch padded.

    Args:
        split: the data.
        batch_size: global.
        process_index: whose rows.
        process_count: how many processes share a batch.

    Yields:
        {name: [batch_size / process_count, ...], "mask": float32 [batch_size / process_count], 0 on padding}.

    Raises:
        As `train_batches`.
    """
    split.spec  # noqa: B018
    rows = order.host_rows(batch_size, process_index, process_count)

    def load(k: int) -> dict[str, np.ndarray]:
        indices, mask = order.eval_batch(k, batch_size, split.size)
        return {**split.batch(indices[rows]), "mask": mask[rows]}

    return _ahead(load, order.eval_steps(split.size, batch_size))


def _ahead(load: Callable[[int], dict[str, np.ndarray]], batches: int) -> Iterator[dict[str, np.ndarray]]:
    """Batches 0 ... batches - 1, loaded ahead; a thread loads a whole batch, because reading many records is faster."""
    import grain

    if batches <= 0:
        return
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(threads, _AHEAD))
    yield from grain.MapDataset.range(batches).map(load).to_iter_dataset(options)
