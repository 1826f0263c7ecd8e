"""How many steps lie between two things that the loop does: logging, evaluating, saving, and looking for a signal.

`Due` says after which steps the loop logs, evaluates and saves. `Stride` says how many steps one call of the compiled
step makes up to then, and how far the host runs ahead of the device: signals are to be answered soon. The program takes
the number of steps as an argument and computes the same whatever it is; only the time differs.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info

SECONDS = 0.5  # that a call should take: a signal waits for the calls in flight
GROWTH = 4  # of the number of steps, at most, from one call to the next
IN_FLIGHT = 2  # calls the host may be ahead of the device


class Due(NamedTuple):
    """Intervals in steps; None for what never happens.

    Attributes:
        log: between two rows.
        evaluate: between two evaluations.
        save: between two checkpoints.
        total: length of the run.
    """

    log: int | None
    evaluate: int | None
    save: int | None
    total: int

    def now(self, every: int | None, step: int) -> bool:
        """Whether something that happens every so many steps, and at the end, happens after `step` steps."""
        return bool(every) and step > 0 and (step % every == 0 or step >= self.total)

    def next(self, step: int, most: int) -> int:
        """The step up to which one call may run: at most `most` steps, and not beyond the next thing that is due."""
        stops = [(step // every + 1) * every for every in (self.log, self.evaluate, self.save) if every]
        return min(self.total, step + most, *stops)


def due(config: Any, info: Info, evaluates: bool) -> Due:
    """The intervals of a configuration.

    Args:
        config: sections log, eval and checkpoint.
        info: of the run.
        evaluates: whether the task has periodic evaluations.
    """
    units = {"steps_per_epoch": info.steps_per_epoch, "total_steps": info.total_steps, "batch_size": info.batch_size}
    log = configs.duration(config.log, "every", path="config.log", **units)
    evaluate = configs.duration(config.eval, "every", path="config.eval", **units) if evaluates else None
    save = configs.duration(config.checkpoint, "every", path="config.checkpoint", required=False, **units)
    return Due(log, evaluate, save or evaluate, info.total_steps)


class Stride:
    """One step at first, then up to as many as take half a second at the best pace seen.

    Args:
        most: steps that the program can make in one call.
        fixed: always make `most`; for several processes, which must all make the same and have different clocks.
        clock: seconds.
    """

    def __init__(self, most: int, fixed: bool = False, clock: Callable[[], float] = time.perf_counter):
        self.most, self.fixed, self._clock = most, fixed, clock
        self.steps = most if fixed else 1
        self._pace = float("inf")  # seconds of a step
        self._last: float | None = None
        self._in_flight: deque = deque()

    def called(self, steps: int, result: Any) -> None:
        """Tells that a call was made; waits until few enough are in flight.

        Args:
            steps: of the call.
            result: one of its arrays.
        """
        self._in_flight.append((steps, result))
        if len(self._in_flight) > IN_FLIGHT:
            steps, result = self._in_flight.popleft()
            jax.block_until_ready(result)
            self.completed(steps)

    def completed(self, steps: int) -> None:
        """Tells that a call of so many steps is complete."""
        now = self._clock()
        if self._last is not None and not self.fixed:
            self._pace = min(self._pace, (now - self._last) / steps)
            affordable = SECONDS / self._pace if self._pace > 0 else self.most
            self.steps = max(1, min(self.most, GROWTH * self.steps, int(affordable)))
        self._last = now
