"""When the loop logs, evaluates and saves, in steps."""

from typing import Any, NamedTuple

from cvdl_jax import configs
from cvdl_jax.info import Info


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
