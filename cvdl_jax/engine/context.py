"""What the parts of the engine are told of a run: plain records, made by the loop, or by who ends a run without one.

`engine/nonfinite.py` and `engine/finish.py` take these and not the loop, so that they can say what they use, and so
that a run which another one has trained (`engine/replicas.py`) ends in the same way.
"""

from dataclasses import dataclass
from typing import Any

from cvdl_jax.core.task import State
from cvdl_jax.data.load import Split
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import Program
from cvdl_jax.workdir.checkpoint import Checkpoints
from cvdl_jax.workdir.folder import Workdir


@dataclass(frozen=True)
class RunContext:
    """A run in its folder: what stays the same from its first step to its last.

    Attributes:
        workdir: its folder, locked by this process.
        built: its configuration, data, info and task.
        program: its functions; those that are called are compiled.
        checkpoints: its saved steps, open.
    """

    workdir: Workdir
    built: Run
    program: Program
    checkpoints: Checkpoints

    def split(self, evaluation: str) -> Split | None:
        """The data of an evaluation; None where it runs a number of empty batches."""
        data: Any = self.built.task.evals[evaluation].data
        return None if isinstance(data, int) else self.built.data.splits[data]


@dataclass(frozen=True)
class FinishedRun:
    """A run that has made its last step, and saved it.

    Attributes:
        context: the run in its folder.
        step: the last one.
        state: after the last step, on the devices.
        best_step: the saved step that validation selected; None where nothing selected one.
    """

    context: RunContext
    step: int
    state: State
    best_step: int | None
