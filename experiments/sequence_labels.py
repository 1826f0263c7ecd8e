"""Sequences and their labels: symbols, vectors or frames of a clip -> a class, a number, or a class at each time.

The entry `config.inputs`: int [b, t], symbols that are numbered as the classes are; float [b, t, d]; or uint8
[b, t, h, w, c], frames. The entry `config.targets`: int [b] or [b, s], classes; or float [b], numbers. What goes with
what is `config.structure` (`nn/structures.py`). `config.ignore` are names of classes whose places count neither in the
loss nor in the accuracy. `extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint; of classes "accuracy",
"error_rate" and, of several places, "sequence_accuracy", of numbers "solved", the share within 0.04 of its target.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification, regression
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "inputs", "targets", "structure", "ignore", "normalise", "grad", "optim", "ema",
         "plateau", "early_stopping", "compute_dtype", "remat")  # fmt: skip
TOLERANCE = 0.04  # Hochreiter and Schmidhuber 1997, experiment 4


def inputs_of(entry, normalise, batch):
    """What the model reads: symbols as they are, vectors and frames in 0..1 normalised."""
    x = to_unit(batch[entry]) if batch[entry].dtype == jnp.uint8 else batch[entry]
    return normalise(x) if jnp.issubdtype(x.dtype, jnp.floating) else x


def as_sums(loss, ignored, scores, targets, mask):
    """The sums of a batch, and what was predicted.

    Args:
        loss: `(logits [n, k], labels [n]) -> [n]`, or `(predictions [n], targets [n]) -> [n]`.
        ignored: classes that do not count.
        scores: float [b, k] or [b, s, k]; of numbers [b, 1].
        targets: int [b] or [b, s]; float [b].
        mask: [b], 0 on padding.
    """
    count = mask.sum()
    if jnp.issubdtype(targets.dtype, jnp.floating):
        read = scores[:, 0]
        near = jnp.abs(read - targets) < TOLERANCE
        return {"loss": ((loss(read, targets) * mask).sum(), count), "solved": ((near * mask).sum(), count)}, read
    losses = loss(scores.reshape(-1, scores.shape[-1]), targets.reshape(-1)).reshape(targets.shape)
    read = scores.argmax(-1)
    counted = ~jnp.isin(targets, jnp.asarray(ignored, jnp.int32))  # [b] or [b, s]
    weight = counted * mask.reshape(-1, *(1,) * (targets.ndim - 1))
    hits = (read == targets) * weight
    sums = {"loss": ((losses * weight).sum(), weight.sum()), "accuracy": (hits.sum(), weight.sum())}
    if targets.ndim == 2:
        whole = ((read == targets) | ~counted).all(1)
        sums["sequence_accuracy"] = ((whole * mask).sum(), count)
    return sums, read


def training_loss(model, inputs, judge, entry, state, batch, key):
    """Sums of one training batch."""
    (scores, _), state = apply_train(model, state, inputs(batch), key)
    return state, judge(scores, batch[entry], jnp.ones(len(scores)))[0]


def evaluation_step(scores_of, judge, entry, state, batch, key):
    """Sums over real rows, and what was predicted and what is there of every row."""
    sums, read = judge(scores_of(state, batch), batch[entry], batch["mask"])
    return {**sums, "read": read, "truth": batch[entry]}


def finalise(means, rows):
    """The means, Wilson's intervals of whole examples, the error rate; of numbers the loss of the best constant."""
    n = len(rows["truth"])
    if "accuracy" not in means:
        return {**intervals.with_wilson(means, n, ["solved"]), "constant_loss": float(np.var(rows["truth"]))}
    whole = "accuracy" if rows["truth"].ndim == 1 else "sequence_accuracy"
    return {**intervals.with_wilson(means, n, [whole]), "error_rate": 1 - means["accuracy"], "examples": n}


def report(scores_of, inputs, targets, class_names, ignored, state, batch, key):
    """Frames with the class that was read; labels over time; numbers over their targets."""
    from cvdl_jax.analysis.figures import sequences

    scores, truth = np.asarray(jax.jit(scores_of)(state, batch)), batch[targets]
    if jnp.issubdtype(truth.dtype, jnp.floating):
        return {"predictions": sequences.against_targets(truth, scores[:, 0])}
    if batch[inputs].ndim == 5:
        return {"predictions": sequences.strips(to_unit(batch[inputs]), truth, scores.argmax(-1), class_names)}
    rows = (x[:8].reshape(min(len(x), 8), -1) for x in (np.asarray(truth), scores.argmax(-1)))
    return {"predictions": sequences.over_time(*rows, class_names, ignored)}


def kind_of(config, info):
    """(whether the targets are numbers, outputs of an example, places of the ignored classes). Raises ConfigError."""
    there = {name: list(x.shape[1:]) for name, x in info.spec.items()}
    for key in ("inputs", "targets"):
        if config[key] not in there:
            raise ConfigError(f"config.{key}={config[key]!r} is not an entry of the data, which have {there}")
    target = info.spec[config.targets]
    numbers, one = jnp.issubdtype(target.dtype, jnp.floating), config.structure.endswith("one")
    if target.ndim != (1 if one else 2) or (numbers and not one) or (not numbers and not info.num_classes):
        raise ConfigError(
            f"config.structure={config.structure!r} needs {'a class or a number' if one else 'classes [s]'}, and "
            f"config.targets={config.targets!r} is {target.dtype} {there[config.targets]}"
        )
    ignore = tuple(config.ignore)
    if numbers and ignore:
        raise ConfigError(f"config.ignore={ignore} names classes, and config.targets={config.targets!r} are numbers")
    for name in ignore:
        if name not in info.class_names:
            raise ConfigError(f"config.ignore: {name!r} is no class; {nearest(name, info.class_names)}")
    places = tuple(info.class_names.index(name) for name in ignore)
    return numbers, 1 if one or config.structure == "many_to_many" else target.shape[1], places


def make(config, info) -> Task:
    """The task of a configuration."""
    numbers, steps, ignored = kind_of(config, info)
    model = registry.create(
        config.model, "config.model", kinds=("sequence",), num_classes=1 if numbers else info.num_classes,
        structure=config.structure, steps=steps, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    module, names = (regression, ("predictions", "targets")) if numbers else (classification, ("logits", "labels"))
    judge = partial(as_sums, configs.named(module, config.loss, "config.loss", *names), ignored)
    inputs = partial(inputs_of, config.inputs, normalise)
    scores_of = lambda state, batch: apply_eval(model, averaged(state), inputs(batch))[0]  # noqa: E731

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(batch)[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    train_loss = partial(training_loss, model, inputs, judge, config.targets)
    step = partial(evaluation_step, scores_of, judge, config.targets)
    return Task(
        init=init,
        train=chain(recipe.descend(config, info, train_loss), recipe.average(config, train_loss)),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, scores_of, config.inputs, config.targets, info.class_names, ignored),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"scores": scores_of(state, batch)},
    )
