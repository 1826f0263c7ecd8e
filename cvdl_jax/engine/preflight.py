"""What can be refused before anything is compiled, though only with the task at hand."""

from collections.abc import Sequence
from typing import Any

from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.metric_log import check_wandb


def check(config: Any, periodic: Sequence[str], begun: bool) -> None:
    """Checks the metric to select by, the writers, and the run to start from.

    Args:
        config: of the run.
        periodic: names of the evaluations that run during training.
        begun: whether the run has saved something; it then no longer needs `init_from`.

    Raises:
        UserError: naming the key.
    """
    check_metric(config.select.metric, periodic)
    if config.log.wandb:
        check_wandb(config.log.wandb)
    if config.init_from and not begun:
        from cvdl_jax.engine import from_run  # imports Flax, which not every run needs

        from_run.find(config.init_from)


def check_metric(metric: str, periodic: Sequence[str]) -> None:
    """Refuses to select by an evaluation that does not run during training, above all by the test set.

    Raises:
        ConfigError: naming the metric and the evaluations.
    """
    if metric and not any(metric.startswith(f"{name}/") for name in periodic):
        known = ", ".join(f"{name}/..." for name in periodic) or "none; set config.data.validation"
        raise ConfigError(
            f"config.select.metric={metric!r} is not evaluated during training (test is evaluated once, at the end); "
            f"evaluated: {known}. Clear config.select.metric to use the last step"
        )
