"""What asks a run to stop: signals, and output that nobody reads; before the first step, and after it."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import launch
from cvdl_jax.engine.signals import Signals

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def signals():
    made = Signals()
    made.install()
    yield made
    made.restore()


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, 75, "SIGTERM"), (signal.SIGINT, 130, "Ctrl-C"), (signal.SIGHUP, 75, "the terminal was closed")],
)
def test_signals_are_flags_once_there_is_something_to_lose(signals, number, code, said):
    signals.hold()
    assert not signals
    os.kill(os.getpid(), number)
    assert signals and signals.exit_code == code and said in signals.describe()


def test_handlers_go_as_they_came(signals):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    inner = Signals()
    inner.install()
    assert all(signal.getsignal(n) == inner._handle for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    inner.restore()
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    made = Signals()
    try:
        made.install()
        made.hold()
        os.kill(os.getpid(), signal.SIGHUP)
        assert not made
    finally:
        made.restore()
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 130), ("SIGHUP", 75)])
def test_before_the_first_step_a_signal_ends_the_process_at_once(name, code):
    program = (
        "import os, signal; from cvdl_jax.engine.signals import Signals; Signals().install(); "
        f"os.kill(os.getpid(), signal.{name}); print('not reached')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (code, "")
    assert "nothing to save; run the same command to continue" in done.stdout and "not reached" not in done.stdout


@contextlib.contextmanager
def unread(monkeypatch):
    """Standard output as a pipe whose reader has gone."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        yield stream
        monkeypatch.undo()


def test_closed_output_is_a_request_to_stop_and_no_error(signals, monkeypatch):
    signals.hold()
    with unread(monkeypatch) as stream, signals.watching_output():
        print("a line", flush=True)
        assert signals.exit_code == 75 and signals.describe() == "closed output"
        print("more", flush=True)
        assert sys.stdout.fileno() == stream.fileno()
    assert not isinstance(sys.stdout, type(None)) and sys.stdout is not stream


def test_other_errors_of_the_output_are_raised(signals, monkeypatch):
    signals.hold()
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(OSError, match="No space left"), signals.watching_output():
            print("a line", flush=True)
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert not signals


@pytest.mark.parametrize("command", [["--help"], ["--mode", "describe"]])
def test_no_mode_complains_of_a_closed_pipe(command):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as stdout:
        done = subprocess.run([sys.executable, "launch.py", *command], stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT)
    assert done.stderr == b"" and done.returncode in (0, 141)  # argparse swallows the error of its long help


def test_ctrl_c_in_a_mode_that_keeps_nothing_is_one_word(monkeypatch, capsys):
    def interrupted(argv, early):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupted)
    assert launch.main(["--mode", "describe"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@pytest.mark.parametrize(("mode", "kept"), [("table", True), ("describe", False)])
def test_early_handlers_stay_for_modes_that_go_on(monkeypatch, mode, kept):
    """And go when the command has ended."""
    before, during = signal.getsignal(signal.SIGTERM), []

    class Mode:
        @staticmethod
        def run(args):
            during.append(signal.getsignal(signal.SIGTERM))
            return 0

    monkeypatch.setattr(launch.importlib, "import_module", lambda name: Mode)
    assert launch.main(["--table=t.py"] if mode == "table" else ["--mode", mode]) == 0
    assert (during[0] != before) == kept and signal.getsignal(signal.SIGTERM) == before
