"""From a run of replicas to ordinary run folders, `WORKDIR/seed0`, `WORKDIR/seed1` ...

Each has what a run of its seed would have left: configuration, metrics, checkpoints of its selected and last step,
predictions, results, figures, report. They can be evaluated, compared, combined and continued as any other.
"""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax import replicas, runs
from cvdl_jax.build import Run, build, make_program
from cvdl_jax.checkpoint import Checkpoints
from cvdl_jax.finish import finish
from cvdl_jax.task import State
from cvdl_jax.workdir import Workdir, read_json, write_json
from cvdl_jax.writer import Writers, read


def export(parent: str | Path, argv: Sequence[str]) -> list[Path]:
    """Writes the run folder of every replica of a finished run; those that are done are kept.

    Args:
        parent: workdir of the run of replicas.
        argv: the command line, for `meta.json`.

    Returns:
        The folders.
    """
    config, workdir = runs.read_config(parent), Workdir(parent)
    seeds = config.replicas.seeds
    folders = [workdir.path / f"seed{seed}" for seed in seeds]
    if all(Workdir(folder).done.exists() for folder in folders):
        return folders
    _, state, _ = runs.load_built(parent, "latest")
    state = jax.device_get(state)
    for i, (seed, folder) in enumerate(zip(seeds, folders, strict=True)):
        if Workdir(folder).done.exists():
            continue
        print(f"replica {i + 1} of {len(seeds)}: {folder}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted export left
        _write(workdir, folder, build(replicas.member(config, seed)), replicas.slices(state, i), list(argv))
    return folders


def _write(parent: Workdir, folder: Path, built: Run, parts: tuple[State, State | None, float | None], argv: list[str]):
    """One run folder."""
    workdir, seed = Workdir(folder), built.config.seed
    workdir.lock()
    try:
        workdir.write_config(built.config)
        workdir.record_start(built, parent.read_meta()["steps_per_call"], argv)
        of = {"parent": parent.path.name, "seeds": read_json(parent.config)["replicas"]["seeds"]}
        write_json(workdir.meta, {**workdir.read_meta(), "replica": of})
        writers = Writers(folder, tensorboard=built.config.log.tensorboard)
        for row in read(parent.metrics):
            step = row.pop("step")
            writers.row(step, replicas.of_seed(row, seed))
        writers.close()
        finish(Finished(workdir, built, *parts))
    finally:
        workdir.unlock()


class Finished:
    """What `finish` asks of a loop that has made its last step, for a replica that another run has trained.

    Args:
        workdir: locked.
        built: of the replica's own configuration.
        last: its state after the last step.
        best: the state that validation selected; None where nothing was selected.
        value: of the metric that selected it.
    """

    def __init__(self, workdir: Workdir, built: Run, last: State, best: State | None, value: float | None):
        self.workdir, self.built, self.config = workdir, built, built.config
        self.task, self.info, self.progress = built.task, built.info, Quiet()
        self.program = make_program(built, workdir.read_meta()["steps_per_call"])
        runs.compile_functions(self.program, [name for name in self.program.jobs() if name.startswith("eval ")])
        self.step = int(last.step)
        best_step = int(best.step) if best is not None else None
        self.memory = dict(evaluated=self.step, best_step=best_step, best_value=value, stop=False, row=None)
        self.checkpoints = Checkpoints(workdir.checkpoints, built.config.checkpoint.keep)
        self.state = jax.device_put(last, self.program.shardings)
        earlier = [] if best is None or best_step == self.step else [jax.device_put(best, self.program.shardings)]
        sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype, device=s.sharding), self.program.abstract_sums)
        for state in [*earlier, self.state]:
            step = int(state.step)
            memory = {**self.memory, "evaluated": step}
            self.checkpoints.save(step, {"state": state, "sums": sums}, memory, best_step)

    def split(self, name: str) -> Any:
        """The data of an evaluation; None where it has none."""
        data = self.task.evals[name].data
        return None if isinstance(data, int) else self.built.data.splits[data]

    def flagged(self) -> bool:
        """No signal stops it: the next start writes the folder anew."""
        return False


class Quiet:
    """A progress that shows nothing."""

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Nothing is measured."""
        yield

    def evaluated(self, examples: int) -> None:
        """Nothing is shown."""

    def time_split(self) -> dict[str, float]:
        """The run of all replicas has it."""
        return {}

    def finish(self) -> None:
        """There is no bar to close."""
