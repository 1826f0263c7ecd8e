"""What the functions of a step may read besides their arguments: one context, while they are traced.

A "pure function" of this package is a function of its arguments and of this context. A layer deep inside a model has no
argument for the mesh that it is compiled for, for the padding of the batch that it normalises, or for somebody who
looks at its activations; it asks here. JAX traces a function once and compiles what it saw, so the context matters
while a function is traced and not when the compiled one is called.

    with trace_context.within(padding_mask=mask):
        outputs = evaluation_step(state, batch, key)      # a layer in it reads trace_context.current().padding_mask

`within` is the only way to set it and `current` the only way to read it. `core/parallel.py`, `nn/batch_norm.py` and
`nn/observe.py` give some of its fields names that say what they mean there.

The context belongs to a thread, as every context variable does: a new thread begins with the defaults, whatever the
thread that started it had set. Compilations run in worker threads, so whoever traces in one sets what the trace needs
in the traced function itself.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax.sharding import Mesh


@dataclass(frozen=True, eq=False)
class TraceContext:
    """All ambient inputs of traced functions. The defaults are those of a plain call on one device.

    Attributes:
        mesh: the devices that the trace will be compiled for; None outside of a training step. The backend, the number
            of devices and the layout of parameters and rows follow from it. Under pmap the mapped axis is JAX's own
            context (`parallel.is_mapped`).
        row_identities: uint32 [b], from which each row draws its random numbers; None: from its place in the batch.
        padding_mask: float [b], 0 where a row of an evaluation batch is padding; None: all rows are real.
        normalise_by_batch: batch normalisation in evaluations uses the evaluated batch, not its running averages.
        moments: a dict into which `nn/apply.py` puts sums of every layer's moments; None: nothing is collected.
        observer: who looks at the outputs of layers, see `nn/observe.py`; None: nobody.
        observed: the code being traced belongs to a model that is looked at.
        layer_norms: `task.descend` reports the gradient norm of every layer.
        opened: a dict into which `data/opened.py` puts what is to be kept of data sets that an experiment opens while
            it is built; None: nobody asks.
        remembered: what a run kept of them, which then stands for them, unopened; None: they are opened.
    """

    mesh: Mesh | None = None
    row_identities: jax.Array | None = None
    padding_mask: jax.Array | None = None
    normalise_by_batch: bool = False
    moments: dict[str, Any] | None = None
    observer: Any = None
    observed: bool = False
    layer_norms: bool = False
    opened: dict[str, Any] | None = None
    remembered: Mapping[str, Any] | None = None


_DEFAULTS = TraceContext()
_CONTEXT: ContextVar[TraceContext] = ContextVar("trace_context", default=_DEFAULTS)


def current() -> TraceContext:
    """The context of the code being traced."""
    return _CONTEXT.get()


@contextmanager
def within(**fields: Any) -> Iterator[TraceContext]:
    """What is traced in this block sees the present context with some fields changed.

    Args:
        **fields: of `TraceContext`.

    Raises:
        TypeError: for a field that it does not have.
    """
    context = replace(_CONTEXT.get(), **fields)
    token = _CONTEXT.set(context)
    try:
        yield context
    finally:
        _CONTEXT.reset(token)
