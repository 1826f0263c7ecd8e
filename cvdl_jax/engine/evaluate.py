"""One evaluation: every example of a split once, padded rows masked, nothing dropped or repeated.

An evaluation may ask for a pass over another split before it, which prepares the state that it sees.
"""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from cvdl_jax.core.parallel import to_host
from cvdl_jax.core.task import Added, Eval, Pass, State, unwrapped
from cvdl_jax.data import order
from cvdl_jax.data.load import Split
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import ConfigError

IN_FLIGHT = 4  # batches whose results may still be computed before the host waits


def evaluate(
    program: Program,
    name: str,
    state: State,
    split: Split | None,
    step: int,
    interrupted: Callable[[], bool] = lambda: False,
    on_batch: Callable[[int], None] = lambda n: None,
) -> tuple[dict[str, float], dict[str, Any]] | None:
    """Runs an evaluation over all of its data.

    Args:
        program: compiled.
        name: of the evaluation.
        state: the weights to evaluate.
        split: its data; None where the evaluation runs a number of empty batches.
        step: for the keys of stochastic evaluations.
        interrupted: asked between batches.
        on_batch: told the number of examples after each batch.

    Returns:
        ({metric: value}, {array's name: [n, ...], or Added(sum)}), or None if interrupted.

    Raises:
        RuntimeError: if the number of evaluated examples is not the split's.
    """
    evaluation = program.task.evals[name]
    state = prepare(program, name, state, step, interrupted)
    if state is None:
        return None
    pending: list[dict[str, Any]] = []
    sums: dict[str, np.ndarray] = {}
    added: dict[str, np.ndarray] = {}
    rows: dict[str, list[np.ndarray]] = {}
    masks: list[np.ndarray] = []

    def collect(outputs: dict[str, Any]) -> None:
        mask = masks[len(masks) - len(pending) - 1]  # of the whole batch, as are the rows
        for key, value in to_host(outputs).items():
            if isinstance(value, Added):
                added[key] = added.get(key, 0) + _wide(value.value)
            elif isinstance(value, tuple):
                sums[key] = sums.get(key, 0.0) + np.asarray(value, np.float64)
            else:
                rows.setdefault(key, []).append(value[mask > 0] if len(mask) == len(value) else value)

    for i, (source, local_mask) in enumerate(batches(program, evaluation, split)):
        if interrupted():
            return None
        size = program.eval_batch_size
        mask = order.eval_batch(i, size, split.size)[1] if split is not None else np.ones(size, np.float32)
        masks.append(mask)
        pending.append(program.evaluate(name, state, source, local_mask, step, i))
        if len(pending) > IN_FLIGHT:
            collect(pending.pop(0))
        on_batch(int(mask.sum()))
    while pending:
        collect(pending.pop(0))
    _check_seen(name, int(sum(mask.sum() for mask in masks)), split)
    means = {key: float(total / weight) if weight else float("nan") for key, (total, weight) in sums.items()}
    arrays: dict[str, Any] = {key: np.concatenate(parts) for key, parts in rows.items()}
    arrays |= {key: Added(total) for key, total in added.items()}
    given = unwrapped(arrays)
    metrics = evaluation.finalize(means, given)
    return metrics, {key: x for key, x in arrays.items() if key in given}  # less what it took out, which is of no row


def _wide(x: np.ndarray) -> np.ndarray:
    """An array in int64, or float64, for sums over batches."""
    return np.asarray(x, np.float64 if np.issubdtype(x.dtype, np.floating) else np.int64)


def _check_seen(name: str, seen: int, split: Split | None) -> None:
    if split is not None and seen != split.size:
        raise RuntimeError(f"evaluation {name!r} saw {seen} examples of {split.size}")


def prepare(
    program: Program, name: str, state: State, step: int, interrupted: Callable[[], bool] = lambda: False
) -> State | None:
    """The state that an evaluation sees: after its pass `before`, else the state itself.

    Args:
        program: compiled.
        name: of the evaluation.
        state: the weights to evaluate, unchanged.
        step: for the keys of a stochastic pass.
        interrupted: asked between batches.

    Returns:
        A state laid out as the given one; None if interrupted.

    Raises:
        ConfigError: if the run has no such split.
    """
    before = program.task.evals[name].before
    if before is None:
        return state
    kept = program.prepared
    if kept is not None and kept[0] is before and kept[1] is state:
        return kept[2]
    if before.data not in program.splits:
        raise ConfigError(
            f"evaluation {name!r} begins with a pass over the split {before.data!r}, which this run has not; set "
            f"config.data.{before.data}"
        )
    split = program.splits[before.data].for_evaluation()
    sums: Any = None
    for i, (source, mask) in enumerate(batches(program, before, split)):
        if interrupted():
            return None
        new = to_host(program.add_up(name, state, source, mask, step, i))
        new = jax.tree.map(lambda x: np.asarray(x, np.float64), new)
        sums = new if sums is None else jax.tree.map(np.add, sums, new)
    new = program.apply(name, state, sums)
    program.prepared = (before, state, new)
    return new


def batches(program: Program, evaluation: Eval | Pass, split: Split | None) -> Iterator[tuple[Any, np.ndarray]]:
    """(source, mask) of every batch of an evaluation, this process's rows."""
    size = program.eval_batch_size
    if isinstance(evaluation.data, int):
        for _ in range(evaluation.data):
            yield {}, np.ones(size // jax.process_count(), np.float32)
    elif evaluation.data in program.data:
        for step in range(order.eval_steps(split.size, size)):
            index, mask = order.eval_batch(step, size, split.size)
            rows = order.host_rows(size, jax.process_index(), jax.process_count())
            yield index[rows].astype(np.int32), mask[rows]
    else:
        from cvdl_jax.data import stream

        for batch in stream.eval_batches(split, size, jax.process_index(), jax.process_count()):
            mask = batch.pop("mask")
            yield batch, mask
