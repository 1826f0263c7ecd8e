"""What can be refused before anything is compiled, though only with the task at hand."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import Added, Eval, unwrapped
from cvdl_jax.data import subgroups
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.optim.optimizer import schedule_free_states
from cvdl_jax.workdir.metric_log import check_wandb

ENTRIES = "config.subgroups.entries"


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


def check_metrics(config: Any, program: Program) -> None:
    """Refuses to select, or to steer the run, by a metric that no evaluation during training reports.

    Args:
        config: of the run.
        program: not compiled yet; its evaluations are traced.

    Raises:
        ConfigError: naming the key, the metric and the nearest one.
    """
    task = program.task
    periodic = [name for name, evaluation in task.evals.items() if not evaluation.final]
    if not (config.select.metric or task.on_eval) or not periodic:
        return
    known = metrics(program, periodic)
    if config.select.metric:
        check_reported(config.select.metric, known, "config.select.metric")
    if task.on_eval is not None and None not in known.values():
        names = [f"train/{name}" for name in program.sum_shapes]
        names += [f"{name}/{metric}" for name in periodic for metric in known[name]]
        numbers = dict.fromkeys(["epoch", *names], jax.ShapeDtypeStruct((), jnp.float32))
        jax.eval_shape(task.on_eval, program.abstract_state, numbers)  # it names what it misses


def check_averages(config: Any, program: Program, begun: bool) -> None:
    """Refuses to evaluate the average of a schedule-free rule by the batch statistics of the weights that are trained.

    The average is another function than the present weights, whose running statistics it would be given.

    Args:
        config: of the run.
        program: not compiled yet.
        begun: whether the run has saved something; it then goes on as it began, with a warning.

    Raises:
        ConfigError: saying what to type.

    Reference: Defazio et al. 2024, "The Road Less Scheduled", section 4.
    """
    state = program.abstract_state
    statistics = jax.tree.leaves(state.extra.get("batch_stats", {}))
    if config.batch_stats != "running" or config.ema or not statistics or not schedule_free_states(state.opt):
        return
    problem = (
        "a schedule-free optimizer is evaluated at its average, and config.batch_stats='running' are the statistics "
        "of batch normalisation of the weights that it trains"
    )
    if not begun:
        raise ConfigError(f"{problem}; take those of the average: --config.batch_stats=exact")
    warnings.warn(f"{problem}; for figures of the average: --mode eval --config.batch_stats=exact", stacklevel=2)


def check_subgroups(built: Any, program: Program) -> None:
    """Refuses groups that there are none of, and those of a run that classifies no examples.

    Args:
        built: of `build.build`.
        program: of the same, not compiled yet; its evaluations are traced.

    Raises:
        ConfigError: naming the entry, and the nearest one that makes groups.
    """
    section = built.config.subgroups
    if not section:
        return
    splits = [evaluation.data for evaluation in built.task.evals.values() if isinstance(evaluation.data, str)]
    classifying = [name for name in built.task.evals if _classifies(program.eval_outputs(name))] if splits else []
    if not classifying:
        raise ConfigError(
            f"config.subgroups compares groups of examples that are classified, and experiment "
            f"{built.config.experiment!r} evaluates none; leave it empty"
        )
    for split in splits:
        for entry in section.entries:
            subgroups.check(built.data.splits[split].source, entry, ENTRIES)
    positive, classes = section.get("positive"), built.info.num_classes
    if positive is not None and positive >= classes:
        raise ConfigError(f"config.subgroups.positive={positive} is not one of {classes} classes, 0 to {classes - 1}")


def _classifies(outputs: dict[str, Any]) -> bool:
    scores, label = outputs.get("scores"), outputs.get("label")
    shapes = [getattr(x, "shape", None) for x in (scores, label)]
    return None not in shapes and len(shapes[0]) == 2 and shapes[1] == shapes[0][:1]


def check_reported(metric: str, known: dict[str, Sequence[str] | None], path: str) -> None:
    """Refuses a metric that none of these evaluations reports.

    Args:
        metric: "validation/accuracy".
        known: of `metrics`.
        path: what names it, for the message.

    Raises:
        ConfigError: with the nearest one.
    """
    name = metric.partition("/")[0]
    if name in known and known[name] is None:
        return
    every = [f"{name}/{key}" for name, keys in known.items() for key in keys or ()]
    if metric not in every:
        raise ConfigError(f"{path}={metric!r} is not reported; {nearest(metric, every)}")


def metrics(program: Program, names: Sequence[str]) -> dict[str, tuple[str, ...] | None]:
    """The metrics that evaluations will report, from tracing them.

    `finalize` runs on the host, on numbers. It is given what has their names and shapes: 1 or NaN for each mean, zeros
    for one batch of rows.

    Args:
        program: not compiled yet.
        names: of evaluations.

    Returns:
        {evaluation: names of its metrics}; None for one whose `finalize` could not do with that, and for those of an
        analysis, whose `finalize` may be all the work.
    """
    if program.task.train is None:
        return dict.fromkeys(names)
    return {name: _of_one(program.task.evals[name], program.eval_outputs(name)) for name in names}


def _of_one(evaluation: Eval, outputs: dict[str, Any]) -> tuple[str, ...] | None:
    sums = [name for name, x in outputs.items() if isinstance(x, tuple) and not isinstance(x, Added)]
    for number in (1.0, float("nan")):
        rows = {name: x for name, x in unwrapped(outputs).items() if name not in sums}
        rows = {name: np.zeros(x.shape, x.dtype) for name, x in rows.items()}
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                return tuple(evaluation.finalize(dict.fromkeys(sums, number), rows))
        except Exception:  # whatever an experiment's own function makes of numbers that are none
            continue
    return None
