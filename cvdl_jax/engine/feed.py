"""What the compiled step is fed: indices into a resident set, batches of a streamed one, or nothing."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from cvdl_jax.data.load import Data
from cvdl_jax.engine.program import Program


class TrainFeed:
    """The training data from a given step on.

    Args:
        program: compiled; says whether the set is resident and how many steps a call makes.
        data: the data sets; None for tasks without data.
        seed: of the order, unless the data have one of their own (`config.data.order_seed`).
        start: first step to feed.
        total: number of steps of the run.
    """

    def __init__(self, program: Program, data: Data | None, seed: int, start: int, total: int):
        self.program = program
        self.seed = seed if data is None or data.order_seed is None else data.order_seed
        self.split = data.splits["train"] if data is not None else None
        self.waited = 0.0
        self._stream: Iterator[Any] | None = None
        if self.split is not None and not program.resident:
            from cvdl_jax.data import stream

            self._stream = stream.train_batches(
                self.split, self.seed, start, total, program.batch_size, jax.process_index(), jax.process_count()
            )

    def next(self, step: int, count: int) -> Any:
        """The source of the next `count` steps from `step` on; calls must follow each other without gaps."""
        start = time.perf_counter()
        source = self._next(step, count)
        self.waited += time.perf_counter() - start
        return source

    def _next(self, step: int, count: int) -> Any:
        if self.split is None:
            return {}
        if self._stream is not None:
            return next(self._stream)
        batch, per_call = self.program.batch_size, self.program.steps_per_call
        positions = np.arange(step * batch, (step + count) * batch)
        _, index = self.split.at(self.seed, positions)
        rows = index.astype(np.int32).reshape(count, batch)
        rows = _process_rows(rows)
        if per_call == 1:
            return rows[0]
        padded = np.zeros((per_call, rows.shape[1]), np.int32)
        padded[:count] = rows
        return padded


def _process_rows(rows: np.ndarray) -> np.ndarray:
    """This process's columns of index rows [steps, b]."""
    n, i = jax.process_count(), jax.process_index()
    local = rows.shape[1] // n
    return np.ascontiguousarray(rows[:, i * local : (i + 1) * local])
