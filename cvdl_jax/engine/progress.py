"""What a run shows while it works: a bar on a terminal, plain lines anywhere else; and where its time goes.

Seconds are booked to the innermost open phase: "train" when no other is open, else "compile", "evaluate" or "save".
The time left counts all of these except compilation, which is behind us: at the pace of this start of the run,

    seconds left = steps left * (train seconds / steps done + overhead),

where overhead = (evaluate + save seconds) / steps done, as it was when the last evaluation or saving ended.
"""

import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TextIO

from cvdl_jax.core.formatting import duration, significant
from cvdl_jax.workdir.metric_log import TIME

PHASES = ("train", "evaluate", "save", "compile")
PACE = f"{TIME}images_per_second"
UNKNOWN = "--"
MAIN, UNSHOWN = ("loss", "accuracy"), re.compile("gradient_norm|learning_rate")  # last parts of names of metrics
GROUPS = 4  # of metrics in a line, such as those of an evaluation


class Progress:
    """Shows and times a run. Processes other than the first measure, and print nothing.

    Args:
        total_steps: where the run ends; None if nobody knows.
        start_step: where this start of it begins; may be set until the first step.
        batch_size: global, for images per second.
        steps_per_epoch: for the epoch shown; None to show none.
        stream: standard output by default.
        unit: what an example is, in the pace shown.
        selected: the metric that chooses the checkpoint, which is always shown.
        process: index of this process; by default JAX's.
        clock: seconds that only grow; tests pass their own.
        now: the date and time.
    """

    def __init__(
        self,
        total_steps: int | None,
        start_step: int = 0,
        batch_size: int = 1,
        steps_per_epoch: float | None = None,
        stream: TextIO | None = None,
        *,
        unit: str = "img",
        selected: str = "",
        process: int | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = datetime.now,
    ):
        if process is None:
            import jax

            process = jax.process_index()
        self.total_steps, self.start_step = total_steps, start_step
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.step = start_step
        self._stream = sys.stdout if stream is None else stream
        self._silent, self._unit, self._selected = process != 0, unit, selected
        self._bar: Any = None
        self._now, self._clock = now, clock
        self._since = clock()
        self._open = ["train"]
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._waited = self._overhead = 0.0
        self._mark = (start_step, 0.0, 0.0)  # step, train seconds and waited seconds at the last `interval`

    # Time -----------------------------------------------------------------------------------------------------------

    def seconds(self) -> dict[str, float]:
        """Seconds so far, by phase."""
        now = self._clock()
        self._seconds[self._open[-1]] += now - self._since
        self._since = now
        return dict(self._seconds)

    @contextmanager
    def phase(self, name: str, total: int | None = None) -> Iterator[None]:
        """Books the time until the block ends to a phase, and shows it on the bar.

        Args:
            name: one of PHASES.
            total: how many examples `evaluated` will be told of.

        Raises:
            ValueError: for another name.
        """
        if name not in PHASES:
            raise ValueError(f"phase {name!r} must be one of {', '.join(PHASES)}")
        self.seconds()
        self._open.append(name)
        if self._bar is not None:
            self._bar.enter(name, total)
        try:
            yield
        finally:
            self.seconds()
            self._open.pop()
            done = self.step - self.start_step
            if name in ("evaluate", "save") and done > 0:
                self._overhead = (self._seconds["evaluate"] + self._seconds["save"]) / done
            if self._bar is not None:
                self._bar.leave()

    def interval(self, waited: float = 0.0) -> dict[str, float]:
        """Pace since the last call, for the row of this step.

        Args:
            waited: seconds waited for data since the start, all together.

        Returns:
            "time/images_per_second", "time/seconds_per_step", "time/data_wait" (fraction of the training time), and
            "time/seconds" since the start; without the first three if there was no step or no time between.
        """
        seconds = self.seconds()
        step, train, before = self._mark
        steps, spent = self.step - max(step, self.start_step), seconds["train"] - train
        times = {f"{TIME}seconds": sum(seconds.values())}
        if steps > 0 and spent > 0:
            times[PACE] = steps * self.batch_size / spent
            times[f"{TIME}seconds_per_step"] = spent / steps
            times[f"{TIME}data_wait"] = min(max(waited - before, 0.0) / spent, 1.0)
        self._waited, self._mark = waited, (self.step, seconds["train"], waited)
        return times

    def time_split(self) -> dict[str, float]:
        """Fractions of the time so far: train, data_wait, evaluate, save, compile; they add up to 1."""
        seconds = self.seconds()
        waited = min(self._waited, seconds["train"])
        parts = {"train": seconds["train"] - waited, "data_wait": waited}
        parts |= {name: seconds[name] for name in PHASES[1:]}
        total = sum(parts.values())
        return {name: part / total if total > 0 else 0.0 for name, part in parts.items()}

    def seconds_left(self) -> float | None:
        """Seconds to the end of the run; None while nothing is known."""
        done = self.step - self.start_step
        if self.total_steps is None or done <= 0:
            return None
        return max(self.total_steps - self.step, 0) * (self.seconds()["train"] / done + self._overhead)

    # Display --------------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Training begins: shows the bar if there is a terminal."""
        self.step = max(self.step, self.start_step)
        if not self._silent and self._stream.isatty():
            self._bar = Bar(self._stream, self.total_steps, self.step)

    def advance(self, step: int) -> None:
        """Tells how many steps are completed."""
        self.step = max(step, self.step)
        if self._bar is not None:
            self._bar.advance(self.step, self._time_text(self.seconds_left()))

    def evaluated(self, examples: int) -> None:
        """Tells that so many more examples of the open evaluation are done."""
        if self._bar is not None:
            self._bar.evaluated(examples)

    def row(self, step: int, values: Mapping[str, float]) -> None:
        """Shows a row of metrics: on the bar, and as a line if it has an evaluation or there is no bar; see `chosen`.

        Args:
            step: its step.
            values: {name: number}; "time/images_per_second" (from `interval`) is shown as img/s, or as its unit.
        """
        self.step = max(step, self.step)
        if self._silent:
            return
        left = self._time_text(self.seconds_left())
        pace = f"{values[PACE]:,.0f} {self._unit}/s" if PACE in values else ""
        hidden = (TIME, "epoch", *(f"{k}_" for k in values))  # the clock, and what belongs to a metric: its interval
        metrics = {k: v for k, v in values.items() if not k.startswith(hidden) and not k.endswith("/examples")}
        if self._bar is not None:
            shown = [
                f"{k.rsplit('/')[-1]} {significant(v)}"
                for k, v in metrics.items()
                if k in ("train/loss", "train/accuracy")
            ]
            self._bar.row(self.step, "  ".join([pace, *shown]).strip(), left)
            if all(k.startswith("train/") for k in metrics):
                return
        of = f"/{self.total_steps:,}" if self.total_steps is not None else ""
        epoch = f"epoch {step / self.steps_per_epoch:.2f}" if self.steps_per_epoch else ""
        names = chosen(metrics, self._selected)
        shown = [f"{k} {significant(metrics[k])}{interval(k, values)}" for k in names]
        self._print("  ".join(part for part in (f"step {step:,}{of}", epoch, *shown, pace, left) if part))

    def message(self, text: str) -> None:
        """Prints a line or more, above the bar if there is one."""
        if not self._silent:
            self._print(text)

    def finish(self) -> None:
        """Takes the bar away; a second call does nothing."""
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.print(text)
        else:
            print(text, file=self._stream, flush=True)

    def _time_text(self, left: float | None) -> str:
        if left is None:
            return f"ETA {UNKNOWN}"
        return f"ETA {duration(left)} ({clock_time(self._now(), left)})"


def chosen(metrics: Iterable[str], selected: str = "") -> list[str]:
    """The few metrics that a line has room for; the log has all.

    Of training, of each player and of each evaluation two: loss and accuracy where there are, else the first. Norms and
    rates are not among them.

    Args:
        metrics: names, such as "validation/accuracy".
        selected: one that is among them in any case.
    """
    groups: dict[str, list[str]] = {}
    for name in metrics:
        group, _, leaf = name.rpartition("/")
        if not UNSHOWN.fullmatch(leaf):
            groups.setdefault(group, []).append(name)
    first = [sorted(names, key=lambda name: name.rpartition("/")[2] not in MAIN)[:2] for names in groups.values()]
    shown = {name for names in first[:GROUPS] for name in names} | {selected}
    return [name for name in metrics if name in shown]


def interval(name: str, values: Mapping[str, float]) -> str:
    """The interval of a metric, where its evaluation made one: " [0.9754, 0.9861]", else "".

    What an evaluation measures on examples of its own has one. A training accuracy is measured on examples that the
    model learns from, by weights that change meanwhile: no interval would be true of it, and none is shown.
    """
    ends = [values.get(f"{name}_{end}") for end in ("low", "high")]
    return "" if None in ends else " [" + ", ".join(significant(end) for end in ends) + "]"


def clock_time(now: datetime, seconds: float) -> str:
    """The time of day so many seconds from now; with the date if that is another day."""
    end = now + timedelta(seconds=seconds)
    return f"{end:%H:%M}" if end.date() == now.date() else f"{end:%Y-%m-%d %H:%M}"


class Bar:
    """The bar of a `Progress`, drawn by rich: one for training and, while an evaluation runs, one below it.

    Args:
        stream: a terminal.
        total: number of steps; None if nobody knows.
        step: where the bar begins.
    """

    def __init__(self, stream: TextIO, total: int | None, step: int):
        from rich.console import Console  # only a terminal needs rich
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (
            TextColumn("{task.description:<8}"),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[count]}"),
            TextColumn("{task.fields[left]}  {task.fields[values]}"),
        )
        console = Console(file=stream, force_terminal=True, highlight=False, markup=False)
        # Two frames a second: drawing takes its share of the cores that train.
        self._progress = Progress(*columns, console=console, refresh_per_second=2, transient=True)
        self._train = self._add("train", total, step)
        self._phases: list[int | None] = []
        self._progress.start()

    def _add(self, name: str, total: int | None, done: int = 0) -> int:
        count = counted(done, total)
        return self._progress.add_task(name, total=total, completed=done, count=count, left="", values="")

    def _move(self, task: int, done: int, **fields: str) -> None:
        total = self._progress.tasks[self._progress.task_ids.index(task)].total
        self._progress.update(task, completed=done, count=counted(done, total), **fields)

    def enter(self, name: str, total: int | None) -> None:
        """A phase begins."""
        self._phases.append(self._add(name, total) if name != "train" else None)

    def leave(self) -> None:
        """The innermost phase ends."""
        task = self._phases.pop() if self._phases else None
        if task is not None:
            self._progress.remove_task(task)

    def evaluated(self, examples: int) -> None:
        """So many more examples of the innermost phase are done."""
        task = self._phases[-1] if self._phases else None
        if task is not None:
            done = self._progress.tasks[self._progress.task_ids.index(task)].completed
            self._move(task, int(done) + examples)

    def advance(self, step: int, left: str) -> None:
        """Moves the bar of training."""
        self._move(self._train, step, left=left)

    def row(self, step: int, values: str, left: str) -> None:
        """Moves the bar of training and shows new values beside it."""
        self._move(self._train, step, left=left, values=values)

    def print(self, text: str) -> None:
        """Prints above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self) -> None:
        """Takes the bar away and gives the terminal back."""
        self._progress.stop()


def counted(done: int, total: float | None) -> str:
    """How much is done, of how much: 128/360; empty when nothing is counted."""
    if total is not None:
        return f"{done:,}/{total:,.0f}"
    return f"{done:,}" if done else ""
