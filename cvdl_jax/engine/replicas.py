"""Several seeds of one run at once: a task over a leading axis of replicas, which the loop trains as any other task.

    python launch.py --config configs/classify/mlp.py --workdir runs/four --replicas 4

Every leaf of `params`, `opt` and `extra` becomes [replicas, ...], and a step is `vmap` of the task's own step. Replica
i has the seed `seed + i`: its own initialisation, dropout and augmentation. The batches are the same for all of them,
in the order of the first seed, so that each is gathered once; the run that replica i equals has that order too, by
`config.data.order_seed`.

A metric of one replica is "accuracy_seed3", the mean over replicas "accuracy". What validation selects for each replica
is kept in `extra["selected"]`: parameters, optimizer state and `extra` of its best step.

When the run has ended, `export` makes an ordinary run folder of every replica, `WORKDIR/seed0`, `WORKDIR/seed1` ...,
with what a run of its seed would have left: configuration, metrics, checkpoints of its selected and last step,
predictions, results, figures, report. They can be evaluated, compared, combined and continued as any other.

Reference: Lakshminarayanan et al. 2017, "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles".
"""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from cvdl_jax.config import configs
from cvdl_jax.core.task import Added, Eval, State, Task, Transform, as_transform
from cvdl_jax.engine import kept, runs
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.engine.finish import PageWriter, finish
from cvdl_jax.engine.program import INIT_STREAM
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.checkpoint import Checkpoints
from cvdl_jax.workdir.folder import Workdir, read_json, write_json
from cvdl_jax.workdir.metric_log import Writers, read

EXPERIMENT = "replicas"  # the experiment that hands the task of another one to `replicated`
MOST = 256


def parent(config: ConfigDict, n: int) -> ConfigDict:
    """The configuration that trains n replicas of a run at once.

    Args:
        config: of the run; its seed is that of the first replica.
        n: how many.

    Raises:
        ConfigError: for a number that is too small or large, or a run that cannot be replicated.
    """
    if jax.process_count() > 1:
        raise ConfigError(f"--replicas={n} runs in one process, got {jax.process_count()}; leave out --num_processes")
    if config.experiment == EXPERIMENT:  # the run's own configuration, to continue it
        if n not in (0, len(config.replicas.seeds)):
            raise ConfigError(f"--replicas={n}: this folder trains {len(config.replicas.seeds)} replicas; leave it out")
        return config
    if not 2 <= n <= MOST:
        raise ConfigError(f"--replicas={n} must lie in 2 ... {MOST}")
    if config.seed + n > 2**32:
        raise ConfigError(f"--replicas={n}: the seeds {config.seed} ... must be less than 2**32; use a smaller one")
    for name in ("early_stopping", "diagnostics", "init_from"):
        if config[name]:
            raise ConfigError(
                f"--replicas={n} cannot be combined with config.{name}; clear it, or run seeds one by one"
            )
    if config.parallel.mode != "jit":
        raise ConfigError(f"--replicas={n} needs config.parallel.mode='jit', got {config.parallel.mode!r}")
    seeds = tuple(range(config.seed, config.seed + n))
    values = configs.to_plain(config)
    own = {"experiment": EXPERIMENT, "replicas": {"experiment": config.experiment, "seeds": seeds}}
    return configs.from_plain({**values, **own})


def member(config: Mapping[str, Any], seed: int) -> ConfigDict:
    """The configuration of the ordinary run that the replica of a seed equals.

    Args:
        config: from `parent`.
        seed: one of its seeds.
    """
    values = {key: value for key, value in configs.to_plain(config).items() if key != "replicas"}
    order = values["data"].get("order_seed")
    if values["data"]:
        values["data"] = {**values["data"], "order_seed": config["seed"] if order is None else order}
    return configs.from_plain({**values, "experiment": config["replicas"]["experiment"], "seed": seed})


def replicated(task: Task, seeds: Sequence[int], select: Mapping[str, Any]) -> Task:
    """A task over a leading axis of replicas.

    Args:
        task: an ordinary one, with a training step and without `rows`.
        seeds: one per replica.
        select: `config.select`: the metric and mode by which each replica's best step is kept; "" keeps none.

    Returns:
        A Task whose evaluations are those that run during training.

    Raises:
        ConfigError: for a task that takes no steps, or whose evaluations prepare the state.
    """
    periodic = {name: evaluation for name, evaluation in task.evals.items() if not evaluation.final}
    if task.train is None:
        raise ConfigError("--replicas: this experiment takes no training steps; there is nothing to train at once")
    if any(evaluation.before is not None for evaluation in periodic.values()):
        raise ConfigError("--replicas: an evaluation of this experiment prepares the state; run the seeds one by one")
    keep = bool(select["metric"]) and bool(periodic)
    on_eval = partial(_on_eval, task, seeds, select) if keep or task.on_eval else None
    train = as_transform(task.train)
    return Task(
        init=partial(_init, task, seeds),
        train=Transform(partial(_update, train, seeds), partial(_init_transform, train, keep)),
        evals={
            name: Eval(partial(_evaluate, inner, seeds), partial(_finalise, inner, seeds), inner.data)
            for name, inner in periodic.items()
        },
        on_eval=on_eval,
    )


def _keys(seeds: Sequence[int]) -> jax.Array:
    return jnp.stack([jax.random.key(seed) for seed in seeds])


def _inner(state: State) -> tuple[Any, Any, Any]:
    return state.params, state.opt, state.extra["replicas"]


def _init(task: Task, seeds: Sequence[int], key: jax.Array, batch: Any) -> dict[str, Any]:
    """Each replica's own parts, from the key that its ordinary run would have."""

    def one(root: jax.Array) -> dict[str, Any]:
        parts = task.init(jax.random.fold_in(root, INIT_STREAM), batch)
        if jax.tree.leaves(parts.get("rows", {})):
            raise ConfigError(
                "--replicas: this experiment keeps a state per row (streams of text, environments); run the seeds one "
                "by one"
            )
        return {"params": parts["params"], "extra": parts.get("extra", {})}

    parts = jax.vmap(one)(_keys(seeds))
    return {"params": parts["params"], "extra": {"replicas": parts["extra"]}}


def _init_transform(train: Transform, keep: bool, state: State) -> State:
    """The optimizers' and other entries of every replica, and the place of the selected ones."""

    def one(params: Any, opt: Any, extra: Any) -> tuple[Any, Any, Any]:
        new = train.init(State(state.step, params, opt, extra))
        return new.params, new.opt, new.extra

    parts = jax.vmap(one)(*_inner(state))
    params, opt, extra = parts
    n = len(jax.tree.leaves(params)[0])
    selected = {
        "parts": jax.tree.map(jnp.copy, parts), "step": jnp.full(n, -1, jnp.int32), "value": jnp.zeros(n, jnp.float32),
    }  # fmt: skip
    return state._replace(params=params, opt=opt, extra={"replicas": extra, **({"selected": selected} if keep else {})})


def _update(train: Transform, seeds: Sequence[int], state: State, batch: Any, key: jax.Array) -> tuple:
    """One step of every replica on the same batch, each with the key of its own seed."""

    def one(root: jax.Array, params: Any, opt: Any, extra: Any) -> tuple:
        inner = State(state.step, params, opt, extra)
        new, _, sums = train.update(inner, batch, jax.random.fold_in(root, state.step))
        return (new.params, new.opt, new.extra), sums

    (params, opt, extra), sums = jax.vmap(one)(_keys(seeds), *_inner(state))
    new = state._replace(params=params, opt=opt, extra={**state.extra, "replicas": extra})
    return new, batch, _named(sums, seeds)


def _named(sums: Mapping[str, tuple[jax.Array, jax.Array]], seeds: Sequence[int]) -> dict[str, Any]:
    """Sums [replicas] as those of every replica, and of all of them together."""
    named = {name: (total.sum(), weight.sum()) for name, (total, weight) in sums.items()}
    for i, seed in enumerate(seeds):
        named |= {f"{name}_seed{seed}": (total[i], weight[i]) for name, (total, weight) in sums.items()}
    return named


def _evaluate(evaluation: Eval, seeds: Sequence[int], state: State, batch: Any, key: jax.Array) -> dict[str, Any]:
    """An evaluation batch of every replica: sums as `_named`, arrays [b, replicas, ...], also those to be added."""

    def one(params: Any, opt: Any, extra: Any) -> dict[str, Any]:
        return dict(evaluation.step(State(state.step, params, opt, extra), batch, key))

    outputs = jax.vmap(one)(*_inner(state))
    pairs = {name: x for name, x in outputs.items() if isinstance(x, tuple) and not isinstance(x, Added)}
    others = {name: x for name, x in outputs.items() if name not in pairs}
    return {**_named(pairs, seeds), **jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), others)}


def _finalise(evaluation: Eval, seeds: Sequence[int], means: dict, rows: dict) -> dict[str, float]:
    """The metrics of every replica, and their means; an interval belongs to one replica, so that it has no mean."""
    metrics = []
    for i, seed in enumerate(seeds):
        mine = {k.removesuffix(f"_seed{seed}"): x for k, x in means.items() if k.endswith(f"_seed{seed}")}
        own = evaluation.finalize(mine, {name: x[:, i] for name, x in rows.items()})
        metrics.append({name: float(x) for name, x in own.items() if not name.endswith(("_low", "_high"))})
    all_of_them = {name: fmean(own[name] for own in metrics) for name in metrics[0]}
    for seed, own in zip(seeds, metrics, strict=True):
        all_of_them |= {f"{name}_seed{seed}": x for name, x in own.items() if name != "examples"}
    return all_of_them


def of_seed(metrics: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The metrics of one replica under the names of its ordinary run: "train/loss_seed3" is "train/loss".

    What is not a replica's, such as "epoch" and "time/seconds", stays as it is; means over replicas are left out.
    """
    end = f"_seed{seed}"
    mine = {key.removesuffix(end): x for key, x in metrics.items() if key.endswith(end)}
    shared = {key: x for key, x in metrics.items() if "/" not in key or key.startswith("time/")}
    return {**shared, **mine}


def _on_eval(
    task: Task, seeds: Sequence[int], select: Mapping[str, Any], state: State, metrics: Mapping[str, jax.Array]
) -> tuple[State, jax.Array]:
    """Feeds each replica's metrics back to it, then keeps those replicas that are better than ever before."""
    by_seed = [of_seed(metrics, seed) for seed in seeds]
    mine = {name: jnp.stack([own[name] for own in by_seed]) for name in by_seed[0]}
    parts = _inner(state)
    if task.on_eval is not None:

        def one(params: Any, opt: Any, extra: Any, metrics: Any) -> tuple[Any, Any, Any]:
            new, _ = task.on_eval(State(state.step, params, opt, extra), metrics)
            return new.params, new.opt, new.extra

        parts = jax.vmap(one)(*parts, mine)
    params, opt, extra = parts
    state = state._replace(params=params, opt=opt, extra={**state.extra, "replicas": extra})
    if "selected" in state.extra:
        state = state._replace(extra={**state.extra, "selected": _select(state, parts, mine, select)})
    return state, jnp.zeros((), bool)


def _select(state: State, parts: Any, metrics: Mapping[str, jax.Array], select: Mapping[str, Any]) -> dict[str, Any]:
    """The selected parts after an evaluation; the first of equals stays, NaN is never best: see `checkpoint.update`."""
    old = state.extra["selected"]
    if select["metric"] not in metrics:
        raise ConfigError(f"config.select.metric={select['metric']!r} is not evaluated; it is {sorted(metrics)}")
    value = metrics[select["metric"]].astype(old["value"].dtype)
    ahead = value > old["value"] if select["mode"] == "max" else value < old["value"]
    better = jnp.isfinite(value) & ((old["step"] < 0) | ahead)  # [replicas]

    def choose(new: jax.Array, kept: jax.Array) -> jax.Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, kept)

    return {
        "parts": jax.tree.map(choose, parts, old["parts"]),
        "step": jnp.where(better, state.step, old["step"]),
        "value": jnp.where(better, value, old["value"]),
    }


def slices(state: State, i: int) -> tuple[State, State | None, float | None]:
    """One replica as an ordinary State: the last step, the selected one if it is another, and its value.

    Args:
        state: of the replicated task, on the host.
        i: which replica.
    """

    def cut(step: Any, parts: Any) -> State:
        return State(np.asarray(step, np.int32), *jax.tree.map(lambda x: x[i], parts))

    last, selected = cut(state.step, _inner(state)), state.extra.get("selected")
    if selected is None or selected["step"][i] < 0:
        return last, None, None
    return last, cut(selected["step"][i], selected["parts"]), float(selected["value"][i])


# Ordinary run folders -------------------------------------------------------------------------------------------------


def export(parent: str | Path, argv: Sequence[str], write_page: PageWriter) -> list[Path]:
    """Writes the run folder of every replica of a finished run; those that are done are kept.

    Args:
        parent: workdir of the run of replicas.
        argv: the command line, for `meta.json`.
        write_page: called with every folder when everything else is in it.

    Returns:
        The folders.
    """
    config, workdir = kept.read_config(parent), Workdir(parent)
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
        _write(workdir, folder, kept.open_as(parent, member(config, seed)), slices(state, i), list(argv), write_page)
    return folders


def _write(
    parent: Workdir,
    folder: Path,
    built: Run,
    parts: tuple[State, State | None, float | None],
    argv: list[str],
    write_page: PageWriter,
) -> None:
    """One run folder; no signal stops it, because the next start would write an unfinished one anew."""
    workdir, seed = Workdir(folder), built.config.seed
    workdir.lock()
    try:
        workdir.write_config(built.config)
        kept.record(workdir, built, parent.read_meta()["steps_per_call"], argv)
        of = {"parent": parent.path.name, "seeds": read_json(parent.config)["replicas"]["seeds"]}
        write_json(workdir.meta, {**workdir.read_meta(), "replica": of})
        writers = Writers(folder, tensorboard=built.config.log.tensorboard)
        for row in read(parent.metrics):
            step = row.pop("step")
            writers.row(step, of_seed(row, seed))
        writers.close()
        finish(_finished(workdir, built, *parts), write_page)  # the run of all replicas has the times
    finally:
        workdir.unlock()


def _finished(workdir: Workdir, built: Run, last: State, best: State | None, value: float | None) -> FinishedRun:
    """A replica as a run that has made its last step, with the checkpoints that its own run would have left.

    Args:
        workdir: locked, with a configuration and `meta.json`.
        built: of the replica's own configuration.
        last: its state after the last step.
        best: the state that validation selected; None where nothing was selected.
        value: of the metric that selected it.
    """
    program = make_program(built, workdir.read_meta()["steps_per_call"])
    runs.compile_functions(program, [name for name in program.jobs() if name.startswith("eval ")])
    checkpoints = Checkpoints(workdir.checkpoints, built.config.checkpoint.keep)
    step, best_step = int(last.step), int(best.step) if best is not None else None
    sums = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype, device=s.sharding), program.abstract_sums)
    state = jax.device_put(last, program.shardings)
    earlier = [] if best is None or best_step == step else [jax.device_put(best, program.shardings)]
    for saved in [*earlier, state]:
        at = int(saved.step)
        memory = dict(evaluated=at, best_step=best_step, best_value=value, stop=False, row=None)
        checkpoints.save(at, {"state": saved, "sums": sums}, memory, best_step)
    return FinishedRun(RunContext(workdir, built, program, checkpoints), step, state, best_step)
