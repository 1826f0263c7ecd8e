"""What is kept of data sets that an experiment itself opens while it is built, and what then stands for them.

A fingerprint, or {"fingerprint": ..., and what the model needs of the data}.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from cvdl_jax.core import trace_context


@contextmanager
def noting(remembered: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
    """Notes what is opened inside: yields {data set: what is kept}, which grows. An inner one notes for itself.

    Args:
        remembered: as such a dict was; what it holds of a data set beside the fingerprint stands for it.
    """
    notes: dict[str, Any] = {}
    with trace_context.within(opened=notes, remembered=remembered):
        yield notes


def note(name: str, fingerprint: str, **facts: Any) -> None:
    """Notes a data set, if anyone listens.

    Args:
        name: for people: the data set and its splits.
        fingerprint: a hash of the data.
        **facts: what a model needs of the data, as values that JSON has.
    """
    notes = trace_context.current().opened
    if notes is not None:
        notes[name] = {"fingerprint": fingerprint, **facts} if facts else fingerprint


def remembered(name: str) -> dict[str, Any] | None:
    """What a run kept of a data set beside its fingerprint, if that is to stand for it; else None."""
    kept = (trace_context.current().remembered or {}).get(name)
    return kept if isinstance(kept, dict) else None


def fingerprint_of(kept: Any) -> str:
    """The fingerprint of what was noted."""
    return kept["fingerprint"] if isinstance(kept, dict) else kept
