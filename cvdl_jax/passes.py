"""A pass over a split before an evaluation; see `task.Eval`."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Pass(NamedTuple):
    """One look at every example of a split, which prepares the state that an evaluation sees.

    Attributes:
        step: `(state, batch, key) -> tree of sums`, added over the batches in float64; `batch["mask"]` [b] is 0 on
            padding. The examples come in order and not augmented.
        apply: `(state, sums) -> state`, array operations alone; its result is forgotten after the evaluation.
        data: the name of the split.
    """

    step: Callable[..., Any]
    apply: Callable[..., Any]
    data: str = "train"
