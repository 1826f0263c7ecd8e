"""Signals, and output that nobody reads any more: what asks a run to stop.

Until a run has something to lose they end the process at once. From `hold` on they are flags: a handler never raises,
saves or prints, because it may run in the middle of a compilation; the loop looks at the flag between two calls.
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, TextIO

PREEMPTED = 75  # EX_TEMPFAIL: saved, please requeue
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
CLOSED = 141  # 128 + SIGPIPE: nobody reads what a command prints
NAMES = {"SIGTERM": "SIGTERM", "SIGINT": "Ctrl-C", "SIGHUP": "SIGHUP (the terminal was closed)"}
GONE = (errno.EPIPE, errno.EIO)  # of a pipe without a reader, and of a terminal that was closed


class Signals:
    """Remembers that SIGTERM, SIGINT or SIGHUP came, or the output was closed. A second Ctrl-C ends the process.

    Args:
        agreed: whether several processes stop together, at a step that JAX's own handler of SIGTERM agrees on with the
            others; then there are no handlers of ours.
    """

    def __init__(self, agreed: bool = False) -> None:
        self.exit_code: int | None = None
        self.agreed = agreed
        self.what = NAMES["SIGTERM"]
        self.held = False
        self._old: dict[int, Any] = {}

    def install(self) -> None:
        """Installs the handlers; only the main thread may do this. What `nohup` ignores stays ignored."""
        if self.agreed or threading.current_thread() is not threading.main_thread():
            return
        for name in NAMES:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            self._old[number] = signal.signal(number, self._handle)

    def hold(self) -> None:
        """From now on there is something to lose: signals are remembered, and no longer end the process."""
        self.held = True
        if not self._old:
            self.install()

    def restore(self) -> None:
        """Puts the previous handlers back."""
        for number, handler in self._old.items():
            signal.signal(number, handler)
        self._old.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.held:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        self._ask(INTERRUPTED if number == signal.SIGINT else PREEMPTED, NAMES[signal.Signals(number).name])

    def _ask(self, code: int, what: str) -> None:
        self.exit_code, self.what = code, what
        if self.held:
            return
        with contextlib.suppress(OSError):  # not `print`, which a handler may have interrupted
            os.write(1, f"{what} while starting: nothing to save; run the same command to continue\n".encode())
        os._exit(code)

    def __bool__(self) -> bool:
        return self.exit_code is not None

    def describe(self) -> str:
        """What came, in words for the log."""
        return self.what

    @contextlib.contextmanager
    def watching_output(self) -> Iterator[None]:
        """Output that is closed, as by `| head`, asks to stop as SIGTERM does, and raises nothing."""
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = (stream and _Watched(stream, self) for stream in old)  # a daemon may have none
        try:
            yield
        finally:
            sys.stdout, sys.stderr = old

    def output_closed(self) -> None:
        """Tells that nobody reads the output."""
        if self.agreed:
            os.kill(os.getpid(), signal.SIGTERM)
        else:
            self._ask(PREEMPTED, "closed output")


class _Watched:
    """A stream that tells `signals` when its reader has gone, and swallows what comes after."""

    def __init__(self, stream: TextIO, signals: Signals):
        self._stream, self._signals = stream, signals

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action: Any) -> None:
        try:
            action()
        except OSError as error:
            if error.errno not in GONE:
                raise
            discard(self._stream)
            self._signals.output_closed()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def discard(stream: TextIO) -> None:
    """Lets a stream whose reader has gone write into nothing, so that Python can end without complaint."""
    with contextlib.suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def exit_now(code: int) -> None:
    """Ends the process without unwinding: other threads may be inside the compiler."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
