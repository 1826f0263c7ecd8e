"""Several seeds of another experiment, trained at once (see `cvdl_jax/engine/replicas.py`; `launch.py --replicas N`).

The batch is that of the other experiment. `params`, `opt`: those of every replica, [replicas, ...].
`extra`: {"replicas": theirs, "selected"?: what validation selected for each}.
"""

from cvdl_jax.core.task import Task
from cvdl_jax.engine import replicas
from cvdl_jax.engine.build import experiment_of

READS = None  # what the other experiment reads, and its own section


def make(config, info) -> Task:
    """The task of `config.replicas.experiment`, over a leading axis of `config.replicas.seeds`."""
    inner = replicas.member(config, config.replicas.seeds[0])
    task = experiment_of(inner).make(inner, info)
    return replicas.replicated(task, config.replicas.seeds, config.select)
