"""Training longer in the same folder: a larger `total_epochs` or `total_steps` takes a run on where it ended.

That is honest only where a step does not depend on the length of the run: then the lengthened run is what a run of the
new length would have been. A schedule such as cosine is computed from the length; its run is refused.
"""

import re
from typing import Any

import jax
import numpy as np

from cvdl_jax.core.parallel import is_first_process, wait_for_all
from cvdl_jax.engine import kept, replicas
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir import checkpoint, test_set_ledger
from cvdl_jax.workdir.folder import Workdir


def lengthen(workdir: Workdir, config: Any) -> None:
    """Makes a begun run one of the length that `config` asks for, if that is all that differs, and is longer.

    Args:
        workdir: locked by this process.
        config: of the command.

    Raises:
        ConfigError: where the longer run would be another one, saying why.
    """
    changed = workdir.differences(config)
    steps = checkpoint.committed_steps(workdir.checkpoints)
    if not changed or not steps or not all(key.startswith("total_") for key in changed):
        return
    saved = workdir.checkpoints / str(steps[-1])
    before, after = kept.build_on(workdir, kept.read_config(workdir.path)), kept.build_on(workdir, config)
    if after.info.total_steps <= before.info.total_steps:
        return  # refused with every other difference
    why = _refusal(before, after, checkpoint.read_memory(saved))
    if why:
        raise ConfigError(
            f"{workdir.path} cannot be lengthened from {before.info.total_steps} to {after.info.total_steps} steps "
            f"({'; '.join(changed)}): {why}. Train anew in another --workdir; with --config.init_from={workdir.path} "
            "it starts from these weights"
        )
    wait_for_all("longer")  # every process has read the old configuration
    if is_first_process():
        final = [name for name, evaluation in before.task.evals.items() if evaluation.final]
        if test_set_ledger.keep(workdir.path, final):
            print(f"{' and '.join(final)} was evaluated when the run ended, and will be again: both are counted")
        workdir.lengthen(config, steps[-1], before.info.total_steps, after.info.total_steps)


def _refusal(before: Run, after: Run, memory: dict[str, Any]) -> str:
    """Why a lengthened run would not be what a run of that length is; "" where it would."""
    if before.config.experiment == replicas.EXPERIMENT:
        return "the folders of its replicas are written"
    if memory.get("stop"):
        return "early stopping ended it, whatever its length"
    if before.task.train is None:
        return "it makes no steps"
    if _step(before) != _step(after):
        return (
            "a step depends on the length of the run (a schedule such as cosine, a warm-up in percent), so the steps "
            "already made are not those of the longer run"
        )
    return ""


def _step(built: Run) -> tuple[str, list[bytes]]:
    """One training step as text and constants, without what differs between two tracings of one function."""
    closed = make_program(built).jaxpr
    text = re.sub(r"0x[0-9a-f]+", "", str(closed.jaxpr))
    arrays = [
        jax.random.key_data(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else x for x in closed.consts
    ]
    return text, [np.asarray(x).tobytes() for x in arrays]
