"""Which rows of a batch are real, for layers that couple examples: the last batch of an evaluation is padded."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax

_MASK: ContextVar[jax.Array | None] = ContextVar("mask", default=None)


@contextmanager
def padded(mask: jax.Array | None) -> Iterator[None]:
    """Code traced in here sees batches whose row i is padding where `mask[i]` is 0; None: all rows are real."""
    token = _MASK.set(mask)
    try:
        yield
    finally:
        _MASK.reset(token)


def real_rows() -> jax.Array | None:
    """The mask float [b], 1 for real rows and 0 for padding; None where all rows are real."""
    return _MASK.get()
