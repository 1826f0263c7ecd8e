"""Notes which data sets are opened, and their fingerprints, while something is built that opens them by itself."""

from collections.abc import Iterator
from contextlib import contextmanager

from cvdl_jax.core import trace_context


@contextmanager
def noting() -> Iterator[dict[str, str]]:
    """Notes what is opened inside: yields {data set: fingerprint}, which grows. An inner one notes for itself."""
    notes: dict[str, str] = {}
    with trace_context.within(opened=notes):
        yield notes


def note(name: str, fingerprint: str) -> None:
    """Notes a data set, if anyone listens.

    Args:
        name: for people: the data set and its splits.
        fingerprint: a hash of the data.
    """
    notes = trace_context.current().opened
    if notes is not None:
        notes[name] = fingerprint
