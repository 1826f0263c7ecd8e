"""What a run shows, with a clock that the test moves."""

import io
import math
from datetime import datetime

import pytest

from cvdl_jax.engine.progress import Progress, chosen, clock_time


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    """A clock that stands still until told."""

    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def progress(clock, total=1000, start=0, stream=None, **options):
    now = datetime(2026, 3, 1, 14, 0, 0)
    stream = io.StringIO() if stream is None else stream
    shown = Progress(total, start, 64, 100, stream, process=0, clock=clock, now=lambda: now, **options)
    return shown, stream


def work(shown, clock, steps, seconds, waited=0.0):
    """Advances by some steps that take so many seconds."""
    clock.seconds += seconds
    shown.advance(shown.step + steps)
    return shown.interval(waited)


@pytest.mark.curriculum("O26")
def test_a_plain_line_has_everything(clock):
    shown, stream = progress(clock)
    shown.begin()
    times = work(shown, clock, 100, 20.0)
    shown.row(100, {"epoch": 1.0, "train/loss": 0.123456, "train/accuracy": 0.75, **times})
    expected = "step 100/1,000  epoch 1.00  train/loss 0.1235  train/accuracy 0.75  320 img/s  ETA 3 min 00 s (14:03)\n"
    assert stream.getvalue() == expected


def test_pace_is_of_the_interval_and_excludes_other_phases(clock):
    shown, _ = progress(clock)
    work(shown, clock, 10, 100.0)
    with shown.phase("evaluate"):
        clock.seconds += 50.0
    times = work(shown, clock, 20, 4.0, waited=1.0)
    assert times == {
        "time/seconds": 154.0,
        "time/images_per_second": pytest.approx(20 * 64 / 4.0),
        "time/seconds_per_step": pytest.approx(0.2),
        "time/data_wait": pytest.approx(0.25),
    }


def test_no_pace_without_steps_or_time(clock):
    shown, stream = progress(clock)
    assert shown.interval() == {"time/seconds": 0.0}
    shown.advance(5)  # no time has passed
    assert shown.interval() == {"time/seconds": 0.0}
    shown.row(5, {"train/loss": math.nan})
    assert stream.getvalue() == "step 5/1,000  epoch 0.05  train/loss NaN  ETA 0 s (14:00)\n"


def test_no_time_left_is_claimed_before_the_first_step(clock):
    shown, stream = progress(clock, start=500)
    clock.seconds += 10
    assert shown.seconds_left() is None
    shown.row(500, {"validation/accuracy": 0.5})
    assert stream.getvalue() == "step 500/1,000  epoch 5.00  validation/accuracy 0.5  ETA --\n"


@pytest.mark.curriculum("O26")
def test_time_left_counts_evaluation_and_saving_but_not_compilation(clock):
    shown, _ = progress(clock)
    with shown.phase("compile"):
        clock.seconds += 500.0
    work(shown, clock, 100, 10.0)
    assert shown.seconds_left() == pytest.approx(900 * 0.1)
    with shown.phase("evaluate"):
        clock.seconds += 4.0
    with shown.phase("save"):
        clock.seconds += 1.0
    assert shown.seconds_left() == pytest.approx(900 * (0.1 + 0.05))
    work(shown, clock, 50, 5.0)  # between two evaluations the estimate does not drift
    assert shown.seconds_left() == pytest.approx(850 * (0.1 + 0.05))
    with shown.phase("save"):
        assert shown.seconds_left() == pytest.approx(850 * (0.1 + 0.05))


def test_time_left_after_a_restart_uses_this_starts_pace(clock):
    shown, _ = progress(clock)
    shown.start_step = 900  # known only after the checkpoint is read
    shown.begin()
    times = work(shown, clock, 10, 1.0)
    assert times["time/images_per_second"] == pytest.approx(640.0)
    assert shown.seconds_left() == pytest.approx(9.0)


def test_time_left_is_never_negative_and_unknown_without_an_end(clock):
    shown, _ = progress(clock, total=10)
    work(shown, clock, 12, 1.0)
    assert shown.seconds_left() == 0.0
    endless, stream = progress(clock, total=None)
    endless.begin()
    times = work(endless, clock, 12, 1.0)
    endless.row(12, {"loss": 1, **times})
    assert stream.getvalue() == "step 12  epoch 0.12  loss 1  768 img/s  ETA --\n"


def test_time_split_adds_up(clock):
    shown, _ = progress(clock)
    assert shown.time_split() == dict.fromkeys(("train", "data_wait", "evaluate", "save", "compile"), 0.0)
    work(shown, clock, 10, 6.0, waited=2.0)
    with shown.phase("evaluate"):
        clock.seconds += 1.0
        with shown.phase("compile"):  # inside an evaluation, but compilation all the same
            clock.seconds += 2.0
    with shown.phase("save"):
        clock.seconds += 1.0
    expected = {"train": 0.4, "data_wait": 0.2, "evaluate": 0.1, "save": 0.1, "compile": 0.2}
    assert shown.time_split() == pytest.approx(expected)


def test_phase_ends_with_an_error_and_refuses_unknown_names(clock):
    shown, _ = progress(clock)
    with pytest.raises(KeyError), shown.phase("save"):
        clock.seconds += 3.0
        raise KeyError
    clock.seconds += 1.0
    assert shown.seconds() == {"train": 1.0, "evaluate": 0.0, "save": 3.0, "compile": 0.0}
    with pytest.raises(ValueError, match="phase 'eval' must be one of train, evaluate, save, compile"):
        shown.phase("eval").__enter__()


def test_other_processes_print_nothing(clock):
    stream = Terminal()
    shown = Progress(10, 0, 1, 1, stream, process=1, clock=clock)
    shown.begin()
    shown.advance(5)
    shown.row(5, {"loss": 1.0})
    shown.message("hello")
    shown.finish()
    assert stream.getvalue() == ""


def test_messages_are_plain_lines_without_a_terminal(clock):
    shown, stream = progress(clock)
    shown.begin()
    shown.message("compiled in 3.2 s [cache: 0 hits]")
    with shown.phase("evaluate", total=10):
        shown.evaluated(10)
    shown.finish()
    assert stream.getvalue() == "compiled in 3.2 s [cache: 0 hits]\n"


def test_bar_on_a_terminal(clock, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    shown, stream = progress(clock, stream=Terminal())
    shown.begin()
    times = work(shown, clock, 250, 10.0)
    shown.row(250, {"epoch": 2.5, "train/loss": 0.5, "train/accuracy": 0.875, "train/gradient_norm": 3.0, **times})
    shown.message("restored step 3 from [bold]there")
    with shown.phase("evaluate", total=360):
        shown.evaluated(128)
        shown._bar._progress.refresh()
    with shown.phase("train"):
        shown.evaluated(1)  # no bar of its own to move
    shown.row(250, {"train/loss": 0.5, "validation/accuracy": 0.9})
    shown.finish()
    shown.finish()
    text = stream.getvalue()
    assert "250/1,000" in text and "ETA 30 s (14:00)" in text
    assert "1,600 img/s  loss 0.5  accuracy 0.875" in text
    assert "evaluate" in text and "128/360" in text
    assert "restored step 3 from [bold]there\n" in text  # square brackets are no mark-up
    assert "gradient_norm" not in text  # a training row moves the bar only
    assert "validation/accuracy 0.9" in text  # an evaluation stays on the screen
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # the cursor is given back


def test_clock_time_names_another_day():
    now = datetime(2026, 3, 1, 23, 30)
    assert clock_time(now, 60) == "23:31"
    assert clock_time(now, 3600) == "2026-03-02 00:30"


def test_a_line_has_the_few_numbers_that_matter(clock):
    metrics = [
        "train/loss", "train/entropy", "train/accuracy", "train/gradient_norm", "train/learning_rate",
        "validation/AP50", "validation/AP75", "validation/loss", "validation/recall", "validation/AP_small",
    ]  # fmt: skip
    few = ["train/loss", "train/accuracy", "validation/AP50", "validation/loss"]
    assert chosen(metrics) == few
    assert chosen(metrics, "validation/AP_small") == [*few, "validation/AP_small"]
    players = ["train/discriminator/loss", "train/discriminator/penalty", "train/generator/loss"]
    assert chosen([*players, "train/generator/gradient_norm"]) == players
    seeds = ["train/loss", "train/loss_seed0", "train/loss_seed1", "train/accuracy", "train/accuracy_seed0"]
    assert chosen(seeds) == ["train/loss", "train/accuracy"]
    assert len(chosen([f"train/dense{i}/drift" for i in range(30)])) == 4
    shown, stream = progress(clock)
    shown.row(250, dict.fromkeys(metrics, 0.5))
    line = stream.getvalue()
    assert len(line) < 160 and "recall" not in line and "validation/AP50 0.5" in line
