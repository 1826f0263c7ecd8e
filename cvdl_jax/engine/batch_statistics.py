"""Which statistics batch normalisation uses in evaluations. Any run can choose that keeps running averages.

    config.batch_stats = "running"      # the averages that training kept
    config.batch_stats = "exact"        # of the whole training split, for the weights that are evaluated
    config.batch_stats = "batch"        # of the evaluated batch itself

"exact" is algorithm 2 of Ioffe and Szegedy: before an evaluation, one pass over the training split in batches of the
evaluation's size, each layer normalising by its batch, then `E[x] = E_B[mean_B]` and `Var[x] = E_B[m / (m - 1) var_B]`
over batches B of m values. A last, smaller batch counts by its size. In the first layer the mean is that of the whole
split, whatever the batches. The weights are those the evaluation uses, averaged ones included. The figures of the
report and `--mode predict` use them too; the running averages stay in the state.

With "batch", what an example gets depends on the others of its batch; padded rows do not count.

Reference: Ioffe and Szegedy 2015, "Batch Normalization", section 3.1 and algorithm 2.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax

from cvdl_jax.config.binding import check_name
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import Eval, Pass, State, Task
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.batch_norm import batch_statistics

STATISTICS = ("running", "exact", "batch")


def evaluated_by(task: Task, info: Info, statistics: str) -> Task:
    """A task whose evaluations normalise by the statistics that `config.batch_stats` names.

    Args:
        task: of an experiment whose models run through `nn/apply.py`.
        info: of the run.
        statistics: "running", "exact" or "batch".

    Raises:
        ConfigError: for another word, a run without batch normalisation, or "exact" without training data or for
            evaluations that make a pass of their own.
    """
    check_name(statistics, STATISTICS, f"config.batch_stats={statistics!r} is not known")
    if statistics == "running":
        return task
    if not _normalises(task, info):
        raise ConfigError(
            f"config.batch_stats={statistics!r}: this run keeps no running averages of batch normalisation that could "
            "be replaced: it has no batch normalisation, or one with track_running_stats=False (which uses "
            "the batch already), or it is one of --replicas; set config.batch_stats='running'"
        )
    if statistics == "batch":
        before = {id(e.before): e.before._replace(step=partial(_by_batch, e.before.step))
                  for e in task.evals.values() if e.before is not None}  # fmt: skip
        return task._replace(
            evals={name: _replace_step(e)._replace(before=before.get(id(e.before))) for name, e in task.evals.items()},
            report=task.report and partial(_by_batch, task.report),
            predict=task.predict and partial(_by_batch, task.predict),
        )
    if "train" not in info.sizes:
        raise ConfigError("config.batch_stats='exact' needs config.data.train, the split whose statistics it takes")
    evals, passes = dict(task.evals), {}
    for name, evaluation in task.evals.items():
        if isinstance(evaluation.data, str) and evaluation.before is not None:
            raise ConfigError(
                f"config.batch_stats='exact': evaluation {name!r} makes a pass over the training split of its own, as "
                "probes do, which would see the running averages; set config.batch_stats='running' or 'batch'"
            )
        if isinstance(evaluation.data, str):
            passes.setdefault(evaluation.step, exact(evaluation.step))  # evaluations of one step share one pass
            evals[name] = evaluation._replace(before=passes[evaluation.step])
    return task._replace(evals=evals)


def _normalises(task: Task, info: Info) -> bool:
    made = jax.eval_shape(task.init, jax.random.key(0), dict(info.spec))
    return bool(jax.tree.leaves(made.get("extra", {}).get("batch_stats", {})))


def _replace_step(evaluation: Eval) -> Eval:
    return evaluation._replace(step=partial(_by_batch, evaluation.step))


def _by_batch(function: Callable, *args: Any) -> Mapping[str, Any]:
    with batch_statistics():
        return function(*args)


def exact(step: Callable[..., Any], data: str = "train") -> Pass:
    """The pass that replaces running averages by statistics of a whole split.

    Args:
        step: of an evaluation, run on the batches of the split for what its models compute on the way.
        data: the name of the split.
    """

    def sums(state: State, batch: Any, key: jax.Array) -> Any:
        with batch_statistics(collect=True) as moments:
            step(state, batch, key)
        if not moments:
            raise ConfigError(
                "config.batch_stats='exact': this run has an evaluation that runs no model on the examples of its "
                "split; set config.batch_stats='running' or 'batch'"
            )
        return moments

    return Pass(sums, apply_statistics, data)


def apply_statistics(state: State, sums: Mapping[str, Any]) -> State:
    """The state with statistics from the sums of all batches, for the averaged weights too where there are any.

    Args:
        state: with `extra["batch_stats"]`, perhaps `extra["ema_statistics"]` (see `optim/ema.py`).
        sums: {name of a model or "": {layer: ... {"count", "total", "deviations", "freedom"}}}.
    """
    stats = state.extra["batch_stats"]
    average = state.extra.get("ema_statistics")
    for name, moments in sums.items():
        part = stats[name] if name else stats
        if average is not None and jax.tree.structure(average) == jax.tree.structure(part):
            average = _replaced(average, moments)
        elif average is not None and name in average:
            average = {**average, name: _replaced(average[name], moments)}
        stats = {**stats, name: _replaced(part, moments)} if name else _replaced(part, moments)
    kept = {} if average is None else {"ema_statistics": average}
    return state._replace(extra={**state.extra, "batch_stats": stats, **kept})


def _replaced(stats: Any, moments: Mapping[str, Any]) -> Any:
    if "freedom" in moments:  # those of one layer
        mean, var = moments["total"] / moments["count"], moments["deviations"] / moments["freedom"]
        return {**stats, "mean": mean.astype(stats["mean"].dtype), "var": var.astype(stats["var"].dtype)}
    return {**stats, **{name: _replaced(stats[name], inner) for name, inner in moments.items()}}
