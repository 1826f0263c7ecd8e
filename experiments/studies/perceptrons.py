"""Several perceptrons trained side by side on the same batches, each by its own optimizer: what does one choice change?

`config.study.models` {name: fields} gives each one the fields in which it differs from `config.model`. image:
[b, h, w, c] in 0..1 or features: [b, d]; label: [b]. params: {name: tree}; extra: {"batch_stats": {name: tree}}.
Points of the plane get a picture of what each network decides.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification
from experiments.classify import inputs

READS = ("model", "loss", "data", "normalise", "grad", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    models: Mapping  # {name: fields in which this one differs from config.model}


def network(config, info, fields, path):
    """The network of `config.model` with some fields of its own."""
    configs.check_section(fields, path)
    return registry.create(
        {**config.model, **fields}, path, kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip


def first_state(models, normalise, key, batch):
    """Parameters and batch statistics of every network, all from one key."""
    x = inputs(normalise, batch)[:1]
    made = {name: initialise(model, key, x, False) for name, model in models.items()}
    params, stats = ({name: pair[i] for name, pair in made.items()} for i in (0, 1))
    return {"params": params, "extra": {"batch_stats": stats}}


def training_loss(model, name, normalise, loss, state, batch, key):
    """Sums of the loss and the accuracy of one network."""
    (logits, _), state = apply_train(model, state, inputs(normalise, batch), key, on=name)
    hits = correct(logits, batch["label"])
    weight = jnp.ones(())
    return state, {
        "loss": (loss(logits, batch["label"]).sum(), len(hits) * weight),
        "accuracy": (hits.sum(), len(hits) * weight),
    }


def evaluation_step(models, normalise, loss, state, batch, key):
    """Sums over the real rows of a padded batch, for every network."""
    sums, mask = {}, batch["mask"]
    for name, model in models.items():
        logits, _ = apply_eval(model, state, inputs(normalise, batch), on=name)
        rows = {"loss": loss(logits, batch["label"]), "accuracy": correct(logits, batch["label"])}
        sums |= {f"{name}/{metric}": ((x * mask).sum(), mask.sum()) for metric, x in rows.items()}
    return sums


def evaluation(models, normalise, loss, info, split):
    """The evaluation of a split; accuracies with their 95 % Wilson intervals."""
    step = partial(evaluation_step, models, normalise, loss)
    return Eval(step, lambda means, rows: intervals.with_wilson(means, info.sizes[split]), split)


def decisions(models, state, batch, key):
    """The plane in the colours of the classes that each network sees, and the batch's points in their own."""
    from matplotlib import colormaps

    from cvdl_jax.analysis.figures import images

    if batch.get("features", jnp.zeros((1, 1))).shape[1:] != (2,):
        return {}
    points, label = np.asarray(batch["features"]), np.asarray(batch["label"])
    side = 1.2 * np.abs(points).max()
    line = np.linspace(-side, side, 160, dtype=np.float32)
    plane = np.stack(np.meshgrid(line, line), -1).reshape(-1, 2)
    figure, axes = images.new_figure(1, len(models), inches=3)
    colours = colormaps["tab10"]
    for axis, (name, model) in zip(axes.flat, models.items(), strict=True):
        classes = np.asarray(jnp.argmax(apply_eval(model, state, plane, on=name)[0], -1)).reshape(len(line), -1)
        axis.imshow(colours(classes % 10)[..., :3] * 0.4 + 0.6, origin="lower", extent=(-side, side, -side, side))
        axis.scatter(*points.T, s=10, c=colours(label % 10), edgecolors="white", linewidths=0.4)
        axis.set_title(name, fontsize=9)
    return {"decisions": figure}


def make(config, info) -> Task:
    """The task of a configuration."""
    if info.num_classes is None or not {"image", "features"} & info.spec.keys():
        raise ConfigError("experiment 'studies.perceptrons' needs config.data with labelled images or features")
    study = configs.call(Study, config.study, "config.study")
    models = {name: network(config, info, f, f"config.study.models.{name}") for name, f in study.models.items()}
    normalise = recipe.normalisation(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")

    losses = {name: partial(training_loss, model, name, normalise, loss) for name, model in models.items()}
    return Task(
        init=partial(first_state, models, normalise),
        train=chain(*(recipe.descend(config, info, losses[name], on=name) for name in models)),
        evals=recipe.evaluations(partial(evaluation, models, normalise, loss, info), info.sizes),
        report=partial(decisions, models),
    )
