"""Which checkpoint is the best: the one that a validation metric chose, never the test set."""

import math
from collections.abc import Mapping
from typing import Any

from cvdl_jax.errors import ConfigError, nearest


def update(memory: dict[str, Any], select: Any, metrics: Mapping[str, float], step: int) -> None:
    """Remembers a step if it is better than every one before; the first of equals stays, NaN is never best.

    Args:
        memory: of the loop; `best_step` and `best_value` are changed.
        select: `config.select`: metric ("" to select the newest step) and mode, "max" or "min".
        metrics: of the evaluation at this step.
        step: number of completed steps.

    Raises:
        ConfigError: if the metric is not evaluated, or belongs to the test split.
    """
    if not select.metric or not metrics:
        return
    if select.metric not in metrics:
        raise ConfigError(f"config.select.metric={select.metric!r} is not evaluated; {nearest(select.metric, metrics)}")
    value, best = metrics[select.metric], memory["best_value"]
    better = best is None or (value > best if select.mode == "max" else value < best)
    if math.isfinite(value) and better:
        memory.update(best_step=step, best_value=value)
