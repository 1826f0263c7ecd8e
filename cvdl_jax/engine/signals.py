"""Signals as flags: a handler never raises, saves or prints, because it may run in the middle of a compilation."""

import signal
import sys
from types import FrameType

PREEMPTED = 75  # EX_TEMPFAIL: saved, please requeue
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class Signals:
    """Remembers that SIGTERM or SIGINT came. A second Ctrl-C ends the process at once, unsaved."""

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self._old: dict[int, object] = {}

    def install(self) -> None:
        """Installs the handlers; only the main thread may do this."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._old[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Puts the previous handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.exit_code = INTERRUPTED if number == signal.SIGINT else PREEMPTED

    def __bool__(self) -> bool:
        return self.exit_code is not None

    def describe(self) -> str:
        """What came, in words for the log."""
        return "Ctrl-C" if self.exit_code == INTERRUPTED else "SIGTERM"


def exit_now(code: int) -> None:
    """Ends the process without unwinding: other threads may be inside the compiler."""
    import os

    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
