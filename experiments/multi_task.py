"""Multi-task learning: one network with a head for each task, trained on `L = sum_t lambda_t L_t`.

image: [b, h, w, c] in 0..1 (or features: [b, d]); and for each task of `config.tasks` (`models/task_heads.py`) the
entry with its labels and, where some examples have none, an entry that is 0 for them, else 1. `config.balance.weights`
is "fixed", each task's `weight`, or "uncertainty", a logarithm of a variance for each task that is learned with the
network (`ops/losses/multi_task.py`). `params`: {"model", "log_variances"?: {task: []}}; `extra`: {"batch_stats":
{"model"}, "ema"?, "ema_statistics"?, "feedback"?}. Evaluations: "validation" during training, "test" once at the end on
the selected checkpoint: "loss", and of each task, over the examples that have its label, "TASK/loss" and its measure;
losses that change during a run are those of its end, so that checkpoints can be compared.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import shared_trunk
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import multi_task
from cvdl_jax.ops.precision import at_least_float32
from cvdl_jax.optim.ema import averaged
from experiments.classify import inputs

READS = ("model", "tasks", "balance", "data", "normalise", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip


class Balance(NamedTuple):
    """The arguments of `config.balance`."""

    weights: Literal["fixed", "uncertainty"] = "fixed"
    log_variance: float = 0.0  # of every task at the beginning, where they are learned


def as_sums(tasks, balance, progress, params, views, real):
    """The sums of a batch.

    Args:
        tasks: {name: Job}.
        balance: how their losses are weighed.
        progress: the share of the run that is over.
        params: of the run.
        views: {name: Look}.
        real: 1 for examples, 0 for padding, [b].
    """
    losses = shared_trunk.losses_of(tasks, views, progress)
    known = {name: view.known for name, view in views.items()}
    if balance.weights == "uncertainty":
        squares = {name: job.head.gaussian for name, job in tasks.items()}
        pair = multi_task.uncertain(losses, known, params["log_variances"], squares, real)
    else:
        pair = multi_task.weighted(losses, known, {name: job.weight for name, job in tasks.items()}, real)
    return {"loss": pair, **shared_trunk.measures(tasks, views, losses)}


def training_loss(model, normalise, tasks, judge, total_steps, state, batch, key):
    """Sums of one training batch, and the learned logarithms of variances."""
    (outputs, _), state = apply_train(model, state, inputs(normalise, batch), key, on="model")
    real = jnp.ones(len(next(iter(outputs.values()))))
    progress = state.step / max(total_steps, 1)
    sums = judge(progress, state.params, shared_trunk.looks(tasks, outputs, batch, real), real)
    learned = state.params.get("log_variances", {})
    return state, sums | {f"{name}/log_variance": (s, jnp.ones_like(s)) for name, s in learned.items()}


def outputs_of(model, normalise, state, batch):
    """{task: outputs [b, n]} of the averaged weights, where the run keeps an average."""
    return apply_eval(model, averaged(state), inputs(normalise, batch), on="model")[0]


def evaluation_step(outputs_fn, tasks, judge, state, batch, key):
    """Sums over real rows, and of every row which labels it has."""
    outputs, real = outputs_fn(state, batch), batch["mask"]
    views = shared_trunk.looks(tasks, outputs, batch, real)
    known = {f"{name}/known": view.known for name, view in views.items()}
    return judge(1.0, averaged(state).params, views, real) | known


def finalise(means, rows):
    """The means; of accuracies 95 % Wilson intervals, and how many labels of each task there are."""
    metrics = dict(means)
    for key, known in rows.items():
        task, n = key.removesuffix("/known"), int(known.sum())
        metrics[f"{task}/labels"] = n
        if n and f"{task}/accuracy" in means:
            metrics |= intervals.with_wilson({f"{task}/accuracy": means[f"{task}/accuracy"]}, n)
    return metrics


def make(config, info) -> Task:
    """The task of a configuration."""
    if not {"image", "features"} & info.spec.keys():
        raise ConfigError(f"config.data.features={tuple(info.spec)}: 'multi_task' needs 'image' or 'features'")
    tasks = shared_trunk.jobs(config.tasks, info.spec)
    balance = configs.call(Balance, config.balance, "config.balance")
    learned = balance.weights == "uncertainty"
    if learned and any(job.weight != 1 for job in tasks.values()):
        raise ConfigError("config.balance.weights='uncertainty' learns the weights; leave config.tasks.*.weight out")
    if not learned and balance.log_variance:
        raise ConfigError("config.balance.log_variance has an effect where config.balance.weights='uncertainty' alone")
    shared_trunk.check_augmentation(config.augment, tasks)
    model = shared_trunk.make_model(config, tasks)
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    judge = partial(as_sums, tasks, balance)
    outputs_fn = partial(outputs_of, model, normalise)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(normalise, batch)[:1], False)
        dtype = at_least_float32(jnp.dtype(config.compute_dtype))
        variances = {"log_variances": {name: jnp.full((), balance.log_variance, dtype) for name in tasks}}
        params = {"model": params, **(variances if learned else {})}
        return {"params": params, "extra": {"batch_stats": {"model": stats}, **feedback.extra}}

    train_loss = partial(training_loss, model, normalise, tasks, judge, info.total_steps)
    step = partial(evaluation_step, outputs_fn, tasks, judge)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {name: tasks[name].head.read(z) for name, z in outputs_fn(state, batch).items()},
    )
