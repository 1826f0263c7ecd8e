"""Errors that a user can mend: one plain sentence, no traceback, exit code 2."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user typed or prepared is wrong; the message says what, and what to type next."""

    exit_code = 2


class ConfigError(UserError):
    """A configuration key, value or name is wrong."""


class DataError(UserError):
    """Data is missing, unreadable or not what was expected."""


class CheckpointError(UserError):
    """A checkpoint is missing, damaged or belongs to another configuration."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Says which known name is closest to a misspelt one.

    Args:
        word: the name that is not known.
        known: the names that are.

    Returns:
        `did you mean 'lenet5'?` when one is close, else `known: a, b, c` (at most forty names).
    """
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]!r}?"
    shown = ", ".join(known[:40]) + (", ..." if len(known) > 40 else "")
    return f"known: {shown or 'none'}"
