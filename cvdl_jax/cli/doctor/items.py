"""What the doctor finds: one line a thing, and under what is wrong the command that mends it."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

OK, NOTE, PROBLEM = "ok", "note", "PROBLEM"


class Item(NamedTuple):
    """One finding of the doctor.

    Attributes:
        state: OK, NOTE (works, but worth knowing) or PROBLEM.
        text: what was found, with what was expected where that differs.
        fix: the command to type, or the one thing to do; "" where there is nothing to do.
    """

    state: str
    text: str
    fix: str = ""


Check = Callable[[], Iterable[Item]]


def examine(checks: Sequence[tuple[str, Check]], say: Callable[[str], None]) -> int:
    """Runs the checks in order and prints each finding at once.

    Args:
        checks: (subject, check); what a check raises is a problem of its own and ends nothing.
        say: prints a line.

    Returns:
        0, or 1 if there was a problem.
    """
    problems = 0
    for subject, check in checks:
        for item in _findings(check):
            problems += item.state == PROBLEM
            say(f"{item.state:8}{subject}: {item.text}")
            if item.fix:
                say(f"{'':10}{'fix' if item.state == PROBLEM else 'if wanted'}: {item.fix}")
    say("everything is in order" if not problems else f"{problems} problem{'s' if problems > 1 else ''} to mend")
    return 1 if problems else 0


def _findings(check: Check) -> list[Item]:
    items = []
    try:
        items.extend(check())
    except Exception as error:  # whatever is broken, the other checks still run
        reason = str(error).strip().splitlines()
        items.append(Item(PROBLEM, f"cannot be examined: {type(error).__name__}: {reason[0] if reason else ''}"))
    return items
