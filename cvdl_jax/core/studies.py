"""What demonstrations share: configs of `configs/studies/`, whose experiments are in `experiments/studies/`.

A study that trains is an ordinary experiment. One that only measures takes no steps: `measured` makes its Task.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import jax.numpy as jnp
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.errors import ConfigError


def base(topic: str, **study: Any) -> ConfigDict:
    """The config of a study of zero steps.

    Args:
        topic: the study is `experiments/studies/<topic>.py`.
        **study: the section `config.study`, the arguments of that study.
    """
    config = configs.base(study=study)
    config.experiment = f"studies.{topic}"
    config.total_steps = 0
    config.batch_size = 1  # there are no batches
    config.eval = {"every_steps": 1}
    return config


def measured(
    config: ConfigDict,
    measure: Callable[[], tuple[Mapping[str, float], Any]],
    draw: Callable[[Any], Mapping[str, Any]] | None = None,
) -> Task:
    """The task of a study that only measures.

    Args:
        config: of the run, checked to have no steps.
        measure: () -> ({metric: number}, what `draw` needs), a function of the config and its seed alone, and so
            remembered: the evaluation and the report, whichever comes first, call it once.
        draw: what `measure` returned second -> {name: matplotlib figure or text}, for the report.

    Raises:
        ConfigError: for a run that takes steps.
    """
    if config.total_steps != 0:
        raise ConfigError(f"experiment {config.experiment!r} takes no steps; set config.total_steps=0")
    once = cache(measure)

    def finalise(means: dict, rows: dict) -> dict[str, float]:
        return {name: float(value) for name, value in once()[0].items()}

    def report(state: Any, batch: Any, key: Any) -> Mapping[str, Any]:
        return draw(once()[1])

    return Task(
        init=lambda key, batch: {"params": {}},
        train=None,
        evals={"study": Eval(lambda state, batch, key: {"measured": (jnp.ones(()), jnp.ones(()))}, finalise, data=1)},
        report=report if draw else None,
    )
