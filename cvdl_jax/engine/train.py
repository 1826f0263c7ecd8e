"""THE training loop: build, restore, step, log, evaluate, save, stop. It knows nothing of any experiment.

Everything that happens at step k is a function of (config, seed, k). Between two calls of the compiled step the loop
does what is due, in a fixed order: log, evaluate, feed back, save. Its own memory (which evaluation is done, the best
step, a row not yet written) travels with every checkpoint, so a run continues wherever it was stopped, bit for bit.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from cvdl_jax.config import configs
from cvdl_jax.core import parallel
from cvdl_jax.core.task import State
from cvdl_jax.engine import compiling, kept, longer, nonfinite, preflight
from cvdl_jax.engine.build import make_program
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.engine.finish import PageWriter, finish, try_page
from cvdl_jax.engine.intervals import Stride, due
from cvdl_jax.engine.progress import Progress
from cvdl_jax.engine.signals import PREEMPTED, Signals, exit_now
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import param_groups
from cvdl_jax.workdir import checkpoint
from cvdl_jax.workdir.checkpoint import Checkpoints
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.metric_log import OpenRow, Writers


def train(config: Any, folder: str, argv: list[str], write_page: PageWriter, early: bool = True) -> int:
    """Trains, or continues, the run of a folder.

    Args:
        config: from `configs.load`.
        folder: the workdir.
        argv: the command line, for `meta.json`.
        write_page: called with the folder when the run has ended, or failed, to write its page; its errors are said
            and change nothing.
        early: whether a signal before the first step ends the process; else it does what it did before.

    Returns:
        The exit code: 0 done, 75 preempted and saved, 130 interrupted and saved.

    Raises:
        UserError: for anything the user can mend.
    """
    workdir, signals = Workdir(folder), Signals(agreed=jax.process_count() > 1)
    if early:
        signals.install()
    try:
        with signals.watching_output():
            return _train(config, workdir, signals, argv, write_page)
    finally:
        signals.restore()


def _train(config: Any, workdir: Workdir, signals: Signals, argv: list[str], write_page: PageWriter) -> int:
    """As `train`, with signals installed."""
    first, loop = parallel.is_first_process(), None
    if first:
        workdir.lock()
    try:
        longer.lengthen(workdir, config)
        if first:
            workdir.write_config(config)
        parallel.wait_for_all("configuration written")
        if workdir.done.exists():
            if first:
                print(f"{workdir.path} is finished; its results are in {workdir.results}")
            return 0
        loop = Loop(config, workdir, signals, argv, write_page)
        return loop.run()
    except BaseException as error:
        if loop is not None:
            loop.abandon()
        if first and not isinstance(error, ConfigError):  # a mistake in the command is no failure of the run
            workdir.fail(error, loop.step if loop else None)
            if isinstance(error, Exception):
                try_page(workdir, write_page)
        raise
    finally:
        workdir.unlock()


class Loop:
    """The state of a run between two calls of the compiled step.

    Args:
        config: the resolved configuration.
        workdir: locked.
        signals: installed.
        argv: the command line.
        write_page: see `train`.
    """

    def __init__(self, config: Any, workdir: Workdir, signals: Signals, argv: list[str], write_page: PageWriter):
        self.config, self.workdir, self.signals, self.write_page = config, workdir, signals, write_page
        self.cache = compiling.use_cache(configs.cache_folder() / "compilation")
        self.built = kept.build_on(workdir, config)
        self.task, self.info = self.built.task, self.built.info
        self.periodic = [name for name, evaluation in self.task.evals.items() if not evaluation.final]
        self.due = due(config, self.info, bool(self.periodic))
        preflight.check(config, self.periodic, workdir.begun())
        self.step = self.calls = 0
        self.memory: dict[str, Any] = dict(evaluated=0, best_step=None, best_value=None, stop=False, row=None)
        self.feedback: Any = None
        self._start(argv)

    # Start ----------------------------------------------------------------------------------------------------------

    def _start(self, argv: list[str]) -> None:
        """Compiles, then restores the newest checkpoint or creates the first state."""
        config, workdir = self.config, self.workdir
        meta = workdir.read_meta()
        self.program = make_program(self.built, meta.get("steps_per_call", "auto"))
        preflight.check_metrics(config, self.program)
        preflight.check_averages(config, self.program, workdir.begun())
        preflight.check_subgroups(self.built, self.program)
        self.stride = Stride(self.program.steps_per_call, fixed=jax.process_count() > 1)
        info, unit = self.info, "img" if "image" in self.info.spec else "examples"  # as data sets name their entries
        self.progress = Progress(
            info.total_steps, 0, info.batch_size, info.steps_per_epoch, unit=unit, selected=config.select.metric
        )
        if parallel.is_first_process():
            kept.record(workdir, self.built, self.program.steps_per_call, argv)
        if config.optim:
            self.progress.message(param_groups.summary(config.optim, self.program.abstract.params))
        with self.progress.phase("compile"):
            seconds = self._in_workers(self.program.jobs())[1]
            self._in_workers({"meet": partial(parallel.wait_for_all, "compiled")})
        self.progress.message(
            f"compiled in {seconds:.1f} s ({self.cache}); {self.program.steps_per_call} steps per call"
        )
        self.checkpoints = Checkpoints(workdir.checkpoints, config.checkpoint.keep)
        self.context = RunContext(workdir, self.built, self.program, self.checkpoints)
        restored = self.checkpoints.restore_latest(self.program.abstract_tree())
        if restored is None:
            self.state, self.sums = self.first_state(self.progress.message), self.program.zero_sums()
        else:
            self.step, tree, self.memory = restored
            self.state, self.sums = tree["state"], tree["sums"]
            self.progress.message(f"restored step {self.step} from {workdir.checkpoints}")
        explain = partial(nonfinite.explain, self.context, self.first_state)
        self.row = OpenRow(self.info, explain, self.memory["row"] or {})
        self._open_writers()
        self.progress.start_step = self.step
        self.feed = TrainFeed(self.program, self.built.data, config.seed, self.step, self.info.total_steps)

    def first_state(self, say: Callable[[str], None] = lambda text: None) -> State:
        """The state before the first step, from the seed, or from another run's weights."""
        state = self.program.create()
        if self.config.init_from:
            from cvdl_jax.engine import from_run  # imports Flax, which not every run needs

            state, report = from_run.load_weights(self.config.init_from, state, self.built.fitted)
            say(report)
            if parallel.is_first_process():
                self.workdir.record_source(report)
        return state

    def _open_writers(self) -> None:
        """Opens the writers behind the rows that the restored step has; a row it carries is written again."""
        log = self.config.log
        self.writers = Writers(
            self.workdir.path,
            config=configs.to_plain(self.config),
            last_step=self.step - 1 if self.row.values else self.step,
            tensorboard=log.tensorboard,
            wandb=log.wandb,
        )

    def flagged(self) -> bool:
        """Whether a signal asks the run to stop."""
        return bool(self.signals)

    def _in_workers(self, jobs: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], float]:
        return compiling.run_in_workers(jobs, self.flagged, lambda: exit_now(self.leave()))

    # The loop -------------------------------------------------------------------------------------------------------

    def run(self) -> int:
        """Trains to the end, or to a signal.

        Returns:
            The exit code.
        """
        self.signals.hold()
        self.progress.begin()
        while True:
            if self.due.now(self.due.evaluate, self.step) and self.memory["evaluated"] < self.step:
                self._evaluate()
                if self.signals:
                    return self.leave()
            if not self.row.waiting:  # an evaluation completed it; a plain row is written one call late
                self._write_row()
            if self._save_is_due():
                self._save()
            if self.memory["stop"] or self.step >= self.info.total_steps:
                break
            if self.signals:
                return self.leave()
            self._advance()
            self._agree_on_signals()
        finished = FinishedRun(self.context, self.step, self.state, self.memory["best_step"])
        if not finish(finished, self.write_page, self.flagged, self.progress):
            return self.leave()
        self.checkpoints.close()
        self.writers.close()
        return 0

    def _advance(self) -> None:
        """Makes the steps up to the next thing that is due, as one call."""
        count = self.due.next(self.step, self.stride.steps) - self.step
        source = self.feed.next(self.step, count)
        self.state, self.sums = self.program.advance(self.state, self.sums, source, count)
        self.step += count
        self.stride.called(count, jax.tree.leaves(self.sums)[:1])
        self.progress.advance(self.step)
        self._write_row()  # of the interval before: the device is already at work on the next one
        if self.due.now(self.due.log, self.step) or self.due.now(self.due.evaluate, self.step):
            self.row.open(self.step, self.sums, self.progress.interval(self.feed.waited))
            self.sums = self.program.zero_sums()

    def _agree_on_signals(self) -> None:
        """Several processes stop at one step, which JAX's preemption service chooses after a SIGTERM to any."""
        self.calls += 1  # the service counts calls: it picks the one after the furthest process's
        if jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(self.calls):
            self.signals.exit_code = PREEMPTED

    def _write_row(self) -> None:
        def write(step: int, values: dict[str, float]) -> None:
            self.writers.row(step, values)
            self.progress.row(step, values)

        self.row.flush(self.step, write)

    # Evaluation and saving ------------------------------------------------------------------------------------------

    def _evaluate(self) -> None:
        """Runs the periodic evaluations and feeds them back; leaves no trace if a signal comes in between."""
        self.row.fetch()
        metrics: dict[str, float] = {}
        with self.progress.phase("evaluate"):
            for name in self.periodic:
                split = self.context.split(name)
                result = evaluate(
                    self.program, name, self.state, split, self.step, self.flagged, self.progress.evaluated
                )
                if result is None:
                    return
                metrics.update({f"{name}/{key}": value for key, value in result[0].items()})
        self.row.values.update(metrics)
        self._feed_back({k: v for k, v in self.row.values.items() if not k.startswith("time/")})
        checkpoint.update(self.memory, self.config.select, metrics, self.step)
        self.memory["evaluated"] = self.step

    def _feed_back(self, metrics: dict[str, float]) -> None:
        """Lets the task change its state after an evaluation: plateau learning rate, early stopping."""
        if self.task.on_eval is None:
            return
        values = parallel.replicate({k: np.float32(v) for k, v in metrics.items()}, self.program.mesh)
        if self.feedback is None:
            compiled, _ = self._in_workers({"feedback": lambda: self.program.compile_feedback(values)})
            self.feedback = compiled["feedback"]
        self.state, stop = self.feedback(self.state, values)
        if bool(stop):
            self.memory["stop"] = True
            self.progress.message(f"early stopping at step {self.step}")

    def _save_is_due(self) -> bool:
        improved = self.memory["best_step"] == self.step
        last = self.step >= self.info.total_steps or self.memory["stop"]
        wanted = improved or last or self.due.now(self.due.save, self.step)
        begun = self.step > 0 or self.info.total_steps == 0  # an analysis has no steps, but a state to keep
        return wanted and begun and self.step not in self.checkpoints.steps()

    def _save(self) -> None:
        """Starts saving this step; rows up to it are on disk first."""
        with self.progress.phase("save"):
            evaluated = self.memory["evaluated"] == self.step or not self.due.now(self.due.evaluate, self.step)
            if evaluated:
                self._write_row()
            else:
                self.row.fetch()
            self.memory["row"] = None if evaluated else self.row.values
            self.writers.sync()
            self.checkpoints.save(
                self.step, {"state": self.state, "sums": self.sums}, dict(self.memory), self.memory["best_step"]
            )

    def leave(self) -> int:
        """Saves the last complete step after a signal."""
        if self.step > 0 and self.step not in self.checkpoints.steps():
            self._save()
        self.checkpoints.close()
        self.writers.close()
        self.progress.finish()
        saved = f"saved step {self.step} in {self.workdir.checkpoints}" if self.step else "nothing to save"
        self.progress.message(f"{self.signals.describe()}: {saved}; run the same command to continue")
        return self.signals.exit_code

    def abandon(self) -> None:
        """Closes what is open after an error: rows and the save under way are on disk before the lock is released."""
        self.progress.finish()
        for part in (self.checkpoints, self.writers):
            with contextlib.suppress(Exception):  # the error that ended the run is the one to report
                part.close()
