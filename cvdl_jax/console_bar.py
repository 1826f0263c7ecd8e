"""The bar of `console.Progress`, drawn by rich; imported only when there is a terminal."""

from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn


class Bar:
    """A bar for training and, while an evaluation runs, one below it.

    Args:
        stream: a terminal.
        total: number of steps; None if nobody knows.
        step: where the bar begins.
    """

    def __init__(self, stream: TextIO, total: int | None, step: int):
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
        self._phases: list[TaskID | None] = []
        self._progress.start()

    def _add(self, name: str, total: int | None, done: int = 0) -> TaskID:
        count = counted(done, total)
        return self._progress.add_task(name, total=total, completed=done, count=count, left="", values="")

    def _move(self, task: TaskID, done: int, **fields: str) -> None:
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
