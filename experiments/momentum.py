"""Learning without labels from a teacher that is the student's moving average: MoCo v2, BYOL, DINO.

image: [b, h, w, c] in 0..1; label: int [b], which only the evaluations see; index: int [b] for their bank. Views are
drawn from `config.views`, further ones of DINO's student from `config.small_views`. `config.momentum` names a method of
`models/momentum.py`. The teacher sees its views in training mode and has statistics of its own; those of a batch are of
all its rows on all devices, so that nothing says which images share a device (for which MoCo shuffles). Accumulated
gradients move queue and centre with each part. `params`: {"encoder", "projector", "predictor"?}; `extra`:
{"batch_stats" of these, "teacher", "teacher_statistics", "memory", "probe"?, "feedback"?}. Evaluations "validation" and
"test" are probes of the features of the student's encoder, or of the teacher's (`config.evaluate`), see
`metrics/representation.py`.
"""

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import check_value
from cvdl_jax.core.task import Task, chain
from cvdl_jax.data.views import VIEWS, views
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import momentum, self_supervised
from cvdl_jax.models.momentum import MEMORY, PREDICTOR, STATISTICS, TEACHER
from cvdl_jax.nn.apply import apply_train, initialise

READS = ("model", "projection", "prediction", "momentum", "views", "small_views", "evaluate", "probe", "data",
         "normalise", "augment", "grad", "optim", "plateau", "early_stopping", "compute_dtype", "remat")  # fmt: skip


def teacher_of(state):
    """The state whose parameters and statistics are the teacher's, which begin as the student's; without optimizer."""
    if TEACHER not in state.extra:
        return state
    extra = {**state.extra, "batch_stats": state.extra[STATISTICS]}
    return state._replace(params=state.extra[TEACHER], opt={}, extra=extra)


def training_loss(method, following, predictor, state, batch, key):
    """Sums over the rows; the state has new statistics of both, and the memory."""
    student, teacher, seen = {}, {}, batch[VIEWS]
    for view in sorted({s for s, _ in following.pairs}):
        keys = jax.random.split(jax.random.fold_in(key, view))
        student[view], state = self_supervised.embed(method, state, seen[view], keys[0])
        if predictor is not None:
            student[view], state = apply_train(predictor, state, student[view], keys[1], on=PREDICTOR)
    following_state = teacher_of(state)
    for view in sorted({t for _, t in following.pairs}):
        at = jax.random.fold_in(key, following.views + view)
        made, following_state = self_supervised.embed(method, following_state, seen[view], at)
        teacher[view] = lax.stop_gradient(made)
    pairs = [(student[s], teacher[t]) for s, t in following.pairs]
    losses, memory, measures = following.compare(pairs, teacher, state.extra[MEMORY])
    statistics = lax.stop_gradient(following_state.extra["batch_stats"])
    state = state._replace(extra={**state.extra, STATISTICS: statistics, MEMORY: memory})
    count = jnp.ones(len(losses)).sum()
    return state, {name: (x.sum(), count) for name, x in {"loss": losses, **measures}.items()}


def features(method, which, state, batch):
    """The features of the student's or the teacher's encoder."""
    return self_supervised.features(method, teacher_of(state) if which == "teacher" else state, batch)


def check(config, method, following):
    """Refuses projectors, predictors and views that the method has not. Raises ConfigError."""
    if bool(config.projection.get("prototypes")) != following.prototypes:
        what = "needs some, such as 256" if following.prototypes else "has none: leave them out"
        raise ConfigError(f"config.projection.prototypes: config.momentum.name={config.momentum.name!r} {what}")
    if bool(config.prediction) != following.predicts:
        what = "needs one, such as {'hidden': (128,), 'size': 64}" if following.predicts else "has none: set it to {}"
        raise ConfigError(f"config.prediction: config.momentum.name={config.momentum.name!r} {what}")
    if config.prediction.get("prototypes"):
        raise ConfigError("config.prediction.prototypes: a predictor guesses a vector and has none: leave them out")
    if following.predicts and config.prediction.get("size", 64) != method.projector.size:
        raise ConfigError(f"config.prediction.size must be that of config.projection, {method.projector.size}")
    if bool(config.small_views) != (following.views > 2):
        raise ConfigError(
            f"config.small_views={config.small_views!r} are drawn for config.momentum.more_views of the method 'dino'; "
            "set both, or neither"
        )


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = self_supervised.projecting(config, info), recipe.feedback(config)
    following = momentum.chosen(config.momentum, info.batch_size)
    which = check_value(config.evaluate, Literal["student", "teacher"], "config.evaluate")
    check(config, method, following)
    predictor = None
    if following.predicts:
        made = {"dtype": config.compute_dtype}
        predictor = configs.call(self_supervised.projector, config.prediction, "config.prediction", **made)
    seen = [views(config.views, 2)]
    if following.views > 2:
        seen.append(views(config.small_views, following.views - 2, "config.small_views"))
    loss = partial(training_loss, method, following, predictor)

    def init(key: jax.Array, batch: dict) -> dict:
        keys = jax.random.split(key, 3)
        params, stats, probe = self_supervised.initial(method, keys[0], batch)
        if predictor is not None:
            one = jnp.zeros((1, method.projector.size))
            params[PREDICTOR], stats[PREDICTOR] = initialise(predictor, keys[1], one, False)
        memory = following.memory(keys[2], method.projector.prototypes or method.projector.size)
        return {"params": params, "extra": {"batch_stats": stats, MEMORY: memory, **probe, **feedback.extra}}

    evaluations = self_supervised.evaluation(method, partial(features, method, which))
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info), *seen, recipe.descend(config, info, loss),
            momentum.follow(following, max(info.total_steps, 1)),
        ),
        evals=recipe.evaluations(evaluations.get, info.sizes if evaluations else ()),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"features": features(method, which, state, batch)},
    )  # fmt: skip
