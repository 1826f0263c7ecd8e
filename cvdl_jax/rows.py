"""The metric row that is open: sums still on the device, or values that wait for an evaluation."""

import math
from collections.abc import Callable
from typing import Any

from cvdl_jax.info import Info
from cvdl_jax.parallel import to_host


class OpenRow:
    """At most one row that is not written yet.

    Args:
        info: for the epoch.
        explain: `(step, losses) -> exception`, called when a loss is not finite.
        values: of a row that a checkpoint carried because its evaluation was interrupted.
    """

    def __init__(self, info: Info, explain: Callable[[int, dict[str, float]], Exception], values: dict[str, float]):
        self.info, self.explain, self.values = info, explain, dict(values)
        self._pending: tuple[int, Any, dict[str, float]] | None = None

    def open(self, step: int, sums: Any, times: dict[str, float]) -> None:
        """Ends the interval at `step`; its sums stay on the device until they are needed."""
        self._pending = (step, sums, times)

    @property
    def waiting(self) -> bool:
        """Whether sums have not been fetched yet."""
        return self._pending is not None

    def fetch(self) -> None:
        """Moves the sums to the host and divides them.

        Raises:
            Exception: what `explain` returns, if a loss is not finite.
        """
        if self._pending is None:
            return
        (step, sums, times), self._pending = self._pending, None
        means = {
            f"train/{name}": float(total) / float(weight) if weight else math.nan
            for name, (total, weight) in to_host(sums).items()
        }
        self.values = {"epoch": self.info.epoch(step), **means, **times}
        losses = {name: value for name, value in means.items() if name.rsplit("/", 1)[-1] == "loss"}
        if not all(math.isfinite(value) for value in losses.values()):
            raise self.explain(step, losses)

    def flush(self, step: int, write: Callable[[int, dict[str, float]], None]) -> None:
        """Writes the row, if there is one.

        Args:
            step: the present step; that of the row unless its sums still wait.
            write: `(step, values)`.
        """
        step = self._pending[0] if self._pending is not None else step
        self.fetch()
        if self.values:
            write(step, self.values)
            self.values = {}
