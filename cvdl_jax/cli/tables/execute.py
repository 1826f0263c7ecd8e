"""Runs what is not done: each run a process of its own, some at once, none of them twice.

A run is claimed by the lock of its console.log. Its process inherits that lock, so that no other table, sweep or
process starts it meanwhile, even if this one is killed.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.cli.tables import gpus
from cvdl_jax.cli.tables.plan import Planned, arguments, command, launcher
from cvdl_jax.core.formatting import duration
from cvdl_jax.engine.progress import interval
from cvdl_jax.engine.signals import INTERRUPTED, PREEMPTED
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import Workdir, now, read_json
from cvdl_jax.workdir.run_state import CONSOLE, DONE, FAILED, PARTIAL, RUNNING, RunState, is_locked, state_of

ATTEMPTS = 2  # in one call: a crash is tried once more, a mistake of the user's (exit code 2) is not
POLL_SECONDS = 0.2
IN_USE = "another process (pid"  # how a run says that its folder is taken
# What makes a process believe that it is one of several of one run; a run of a table is always alone.
CLUSTER = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "JOB_COMPLETION_INDEX")


def execute(
    planned: Sequence[Planned],
    workers: int,
    say: Callable[[str], None],
    metric: str = "",
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Runs all that is not done, and waits for what other processes are running.

    Args:
        planned: the runs, in the order to start them; one folder twice is one run.
        workers: how many at once.
        say: gets a line when a run starts, ends or fails.
        metric: key in results.json to show when a run ends, such as "test/accuracy"; "" for none.
        sleep: waits for so many seconds.

    Returns:
        0 all done, 1 some failed, 75 or 130 stopped by a signal (or a run was preempted): the same command goes on.

    Raises:
        ConfigError: without workers.
    """
    if workers < 1:
        raise ConfigError(f"--workers={workers} must be a number of runs at once, 1 or more")
    once = list({run.workdir: run for run in planned}.values())
    pool = Pool(once, max(1, min(workers, len(once))), say, metric)
    with pool.signals():
        try:
            while pool.busy():
                if pool.turn() == 0:
                    sleep(POLL_SECONDS)
        finally:  # after an error of ours no run is left without anybody who looks after it
            pool.send(signal.SIGTERM)
            pool.wait()
    return pool.exit_code()


class Pool:
    """The processes of the runs under way and what became of the others.

    Args:
        planned: runs of different folders.
        workers: how many at once.
        say: gets a line at a time.
        metric: key to show when a run ends.
    """

    def __init__(self, planned: Sequence[Planned], workers: int, say: Callable[[str], None], metric: str = ""):
        self.total, self.say, self.metric = len(planned), say, metric
        self.waiting = list(planned)
        self.slots: list[Any] = [None] * workers  # (planned, process, where its output begins, when it began) or None
        self.environments = gpus.environments(workers, os.environ)
        self.attempts = dict.fromkeys((run.workdir for run in planned), 0)
        self.elsewhere: set[Path] = set()
        self.failed: list[Planned] = []
        self.ended = 0
        self.signalled, self.passed = False, signal.SIGTERM
        self.stopped: int | None = None  # exit code of the signal that came, or of a run that got one

    def busy(self) -> bool:
        """Whether something runs, or is still to run."""
        return any(self.slots) or (bool(self.waiting) and not self.signalled)

    def turn(self) -> int:
        """Looks after every slot once.

        Returns:
            The number of runs that ended or started.
        """
        changes = 0
        for slot, running in enumerate(self.slots):
            if running is not None and running[1].poll() is not None:
                self.slots[slot] = None
                self._ended(*running)
                changes += 1
        for slot, running in enumerate(self.slots):
            if running is None and not self.signalled:
                changes += self._fill(slot)
        return changes

    def exit_code(self) -> int:
        """What the call returns."""
        return self.stopped if self.stopped is not None else int(bool(self.failed))

    # Starting -------------------------------------------------------------------------------------------------------

    def _fill(self, slot: int) -> int:
        """Starts the first waiting run that nobody has; drops those that are done."""
        changes = 0
        for planned in list(self.waiting):
            if planned.workdir in self.elsewhere and is_locked(planned.workdir):
                continue
            state = state_of(planned.workdir, planned.config)
            if state.state == DONE:
                self.waiting.remove(planned)
                self._count(planned, f"done before{self._value(planned)}")
                changes += 1
            elif state.state == RUNNING or not (console := claim(planned.workdir)):
                self._wait_for(planned)
            else:
                self.waiting.remove(planned)
                self.elsewhere.discard(planned.workdir)
                self._start(slot, planned, state, console)
                return changes + 1
        return changes

    def _wait_for(self, planned: Planned) -> None:
        if planned.workdir not in self.elsewhere:
            self.elsewhere.add(planned.workdir)
            self.say(f"{planned.name}: another process is running it; waiting for it to end")

    def _start(self, slot: int, planned: Planned, state: RunState, console: Any) -> None:
        self.attempts[planned.workdir] += 1
        text = ""
        if state.state == FAILED:
            text = ", again after a failure"
        elif state.state == PARTIAL and state.step:
            text = f", continues at step {state.step}" + (f" of {state.total_steps}" if state.total_steps else "")
        self.say(f"{planned.name}: starts{text}  ({planned.workdir})")
        gap = "\n" if console.tell() else ""
        console.write(f"{gap}{now()} {command(planned)}\n".encode())
        console.flush()
        begun = console.tell()
        process = subprocess.Popen(
            [sys.executable, launcher(), *arguments(planned)],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=environment(self.environments[slot]),
            start_new_session=True,  # Ctrl-C reaches a terminal's whole group; a run must get it once, from us
        )
        console.close()  # the process holds the lock now
        self.slots[slot] = (planned, process, begun, time.monotonic())
        if self.signalled:  # it came before this process was known
            process.send_signal(self.passed)

    # Ending ---------------------------------------------------------------------------------------------------------

    def _ended(self, planned: Planned, process: Any, begun: int, since: float) -> None:
        """Books the end of a process."""
        spent, code = duration(time.monotonic() - since), process.returncode
        state = state_of(planned.workdir, planned.config)
        if state.state == DONE:
            self._count(planned, f"done in {spent}{self._value(planned)}")
        elif code in (PREEMPTED, INTERRUPTED) or (self.signalled and code < 0):
            self.stopped = self.stopped or (code if code > 0 else self.stopped)
            self.say(f"{planned.name}: stopped after {spent} at step {state.step}; the same command continues it")
        elif code == 2 and IN_USE in printed(planned.workdir, begun):
            self.attempts[planned.workdir] -= 1  # it was somebody else's already
            self.waiting.append(planned)
        else:
            self._failed(planned, code, spent, begun, state)

    def _failed(self, planned: Planned, code: int, spent: str, begun: int, state: RunState) -> None:
        reason = (state.message if state.state == FAILED else "") or last_line(printed(planned.workdir, begun))
        how = f"exit code {code}" if code >= 0 else f"ended by {signal.Signals(-code).name}"
        text = f"failed after {spent} ({how}): {reason or 'it said nothing'}; see {planned.workdir / CONSOLE}"
        if code != 2 and self.attempts[planned.workdir] < ATTEMPTS and not self.signalled:
            self.waiting.append(planned)
            self.say(f"{planned.name}: {text}; it is tried once more")
        else:
            self.failed.append(planned)
            self._count(planned, text)

    def _count(self, planned: Planned, text: str) -> None:
        self.ended += 1
        self.say(f"[{self.ended}/{self.total}] {planned.name}: {text}")

    def _value(self, planned: Planned) -> str:
        """The metric of a finished run, in words."""
        if not self.metric:
            return ""
        metrics = read_json(Workdir(planned.workdir).results)["metrics"]
        value = metrics.get(self.metric)
        if value is None:
            return f": no {self.metric}"
        return f": {self.metric} = {value:.6g}{interval(self.metric, metrics)}"

    # Signals --------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Passes SIGTERM, SIGINT and SIGHUP on to the runs until the block ends; nothing new starts after one."""
        old = {}
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup
                old[number] = signal.signal(number, self._handle)
        try:
            yield
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        self.signalled = True
        self.stopped = INTERRUPTED if number == signal.SIGINT else PREEMPTED
        self.passed = signal.SIGINT if number == signal.SIGINT else signal.SIGTERM
        self.send(self.passed)

    def send(self, number: int) -> None:
        """Sends a signal to every run under way."""
        for _, process, *_ in filter(None, self.slots):
            process.send_signal(number)  # does nothing to one that has ended

    def wait(self) -> None:
        """Waits for every run under way."""
        for _, process, *_ in filter(None, self.slots):
            process.wait()


def claim(workdir: Path) -> Any:
    """The open console.log of a run, locked; None if another process has it.

    Raises:
        ConfigError: if the folder cannot be made.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        console = (workdir / CONSOLE).open("ab")
    except OSError as error:
        raise ConfigError(f"{workdir} cannot be written to: {error.strerror}; choose another --workdir") from error
    try:
        fcntl.flock(console, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        console.close()
        return None
    return console


def environment(more: dict[str, str]) -> dict[str, str]:
    """The environment of a run's process: ours, but of a run on its own."""
    return {name: value for name, value in os.environ.items() if name not in CLUSTER} | more


def printed(workdir: Path, begun: int) -> str:
    """What an attempt printed, from that place of console.log on; at most the last 64 KiB."""
    with (workdir / CONSOLE).open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(begun, file.tell() - 2**16))
        return file.read().decode(errors="replace")


def last_line(text: str) -> str:
    """The last line that says something, without "error: "."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("error: ") if lines else ""
