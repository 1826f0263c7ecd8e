"""Degradation: deeper plain networks fit their own training set worse, residual networks do not.

Networks of several depths, with and without shortcuts, are trained side by side on the same batches. The evaluation
"train" tells their errors on the training split itself, where a lack of data can be no reason. "identity" makes of each
trained network the deepest one of its kind, whose further blocks pass their input on: it exists, and computes the same.

`config.study.models` {"kind_depth": fields in which the network differs from `config.model`}, such as "plain_20".
params: {name: tree}; extra: {"batch_stats": {name: tree}}. image: [b, h, w, c] in 0..1; label: [b].
"""

from functools import partial

import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.backbones.resnet import ResNet, deepened
from cvdl_jax.nn.apply import apply_eval, initialise
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.classify import inputs
from experiments.studies.perceptrons import Study, evaluation, first_state, network, training_loss

READS = ("model", "data", "normalise", "augment", "grad", "optim", "compute_dtype", "remat", "study")


def kinds_of(names):
    """{kind: its depths, the smallest first} of names such as "plain_20"."""
    kinds = {}
    for name in names:
        kind, _, depth = name.rpartition("_")
        if not kind or not depth.isdecimal():
            raise ConfigError(f"config.study.models.{name}: call it by its kind and depth, such as 'plain_20'")
        kinds.setdefault(kind, []).append(int(depth))
    return {kind: sorted(depths) for kind, depths in kinds.items()}


def identity_step(models, kinds, normalise, state, batch, key):
    """{"plain_8": [b]}: the largest difference of the logits, if blocks are added up to the deepest of the kind."""
    x, rows = inputs(normalise, batch), {}
    for kind, (*depths, deepest) in kinds.items():
        deep = models[f"{kind}_{deepest}"]
        params, stats = initialise(deep, key, x[:1], False)
        for name in (f"{kind}_{depth}" for depth in depths):
            own = {"params": state.params[name], "batch_stats": state.extra["batch_stats"][name]}
            grown = deepened(models[name], own, deep, {"params": params, "batch_stats": stats})
            same = deep.apply(grown, x, False)[0] - apply_eval(models[name], state, x, on=name)[0]
            rows[name] = jnp.abs(same).max(-1) * batch["mask"]
    return rows


def errors(kinds, metrics, rows):
    """Errors in the training split over depth, a line for each kind."""
    from cvdl_jax.analysis.figures.curves import panels

    figure, (axis,) = panels([("Training error", "depth", "error")])
    for kind, depths in kinds.items():
        values = [1 - metrics[f"{kind}_{depth}/accuracy"] for depth in depths]
        axis.plot(depths, values, "o-", markersize=3, label=kind)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7)
    return {"training_error": figure}


def make(config, info) -> Task:
    """The networks of this study."""
    check_labelled(config, info)
    study = configs.call(Study, config.study, "config.study")
    kinds, models = kinds_of(study.models), {}
    for name, fields in study.models.items():
        path = f"config.study.models.{name}"
        models[name] = network(config, info, fields, path)
        if not isinstance(models[name], ResNet):
            raise ConfigError(f"{path} must be a residual network of the CIFAR form, such as 'resnet20'")
    normalise = recipe.normalisation(config)

    evaluate = partial(evaluation, models, normalise, softmax_cross_entropy, info)
    losses = {name: partial(training_loss, net, name, normalise, softmax_cross_entropy) for name, net in models.items()}
    evals = recipe.evaluations(evaluate, info.sizes)
    evals["train"] = Eval(evaluate("train").step, data="train", final=True, draw=partial(errors, kinds))
    evals["identity"] = Eval(
        partial(identity_step, models, kinds, normalise),
        lambda means, rows: {f"{name}_difference": float(x.max()) for name, x in rows.items()},
        "train",
        final=True,
    )
    steps = (recipe.descend(config, info, losses[name], on=name) for name in models)
    return Task(
        init=partial(first_state, models, normalise),
        train=chain(recipe.augmentation(config, info), *steps),
        evals=evals,
    )
