"""Deep ReLU perceptrons from He's and from Xavier's initialisation, several seeds, side by side on the same batches.

image: [b, h, w, c]; label: [b]. `params`: {"layers_30": one tree of [initialisers * seeds, ...], ...}. `extra`:
{"initial": the params before the first step}. The evaluation "loss" divides the training loss by the one at step 0.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Layers, Size
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import classification
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "data", "normalise", "grad", "optim", "compute_dtype", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    layers: tuple[Layers, ...] = (22, 30)  # with weights, the scores included
    inits: tuple[str, ...] = ("he_normal", "xavier_fan_in")  # values of config.model.kernel_init
    units: Size = 64  # of every hidden layer
    seeds: Size = 3


def logits_of(models, params, image):
    """Scores of every network: {group: [initialisers * seeds, b, num_classes]}."""
    return {
        group: jax.vmap(lambda p, model=model: apply_params(model, p, image, False)[0])(params[group])
        for group, model in models.items()
    }


def losses_of(logits, label):
    """The loss of every network on every example, [initialisers * seeds, b]."""
    return jax.vmap(softmax_cross_entropy, (0, None))(logits, label)


def training_loss(models, normalise, state, batch, key):
    """The networks share no parameter, so the gradient of the sum is that of each."""
    logits = logits_of(models, state.params, normalise(batch["image"]))
    total = sum(losses_of(scores, batch["label"]).sum() for scores in logits.values())
    return state, {"loss": (total, jnp.ones(len(batch["label"])).sum())}


def evaluation_step(models, normalise, study, state, batch, key):
    """Sums of every network's loss, now and at first, and of its hits."""
    image, label, mask = normalise(batch["image"]), batch["label"], batch["mask"]
    first, now = logits_of(models, state.extra["initial"], image), logits_of(models, state.params, image)
    sums = {}
    for group in models:
        old, new = losses_of(first[group], label), losses_of(now[group], label)
        hits = jax.vmap(classification.correct, (0, None))(now[group], label)
        for i in range(len(study.inits) * study.seeds):
            for name, values in (("old", old[i]), ("new", new[i]), ("hits", hits[i])):
                sums[f"{group}/{i}/{name}"] = ((values * mask).sum(), mask.sum())
    return sums


def finalise(study, means, rows):
    """For each depth and initialiser: the loss's ratio to that of step 0, its range over seeds, and the accuracy."""
    metrics = {}
    for layers in study.layers:
        for j, init in enumerate(study.inits):
            runs = [f"layers_{layers}/{j * study.seeds + seed}" for seed in range(study.seeds)]
            ratios = [means[f"{run}/new"] / means[f"{run}/old"] for run in runs]
            metrics |= {
                f"{init}_{layers}/least_ratio": min(ratios),
                f"{init}_{layers}/largest_ratio": max(ratios),
                f"{init}_{layers}/accuracy": sum(means[f"{run}/hits"] for run in runs) / len(runs),
            }
    return metrics


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if "image" not in info.spec or config.model.get("name") != "mlp":
        raise ConfigError("study 'deep_relu' needs images, such as config.data.name=digits, and config.model.name=mlp")
    if min(study.layers, default=0) < 2 or not study.inits:
        raise ConfigError(f"{study} needs layers of at least 2 each, and at least one initialiser")
    for key in set(config.model) - {"name", "activation", "bias_init"}:
        raise ConfigError(f"study 'deep_relu' has no use for config.model.{key}; see config.study")
    normalise = recipe.normalisation(config)

    def model(layers: int, init: str):
        fields = {"hidden": (study.units,) * (layers - 1), "kernel_init": init}
        return registry.create(
            {**config.model, **fields}, "config.model", kinds=("backbones",),
            num_classes=info.num_classes, dtype=config.compute_dtype,
        )  # fmt: skip

    models = {f"layers_{layers}": model(layers, study.inits[0]) for layers in study.layers}

    def init(key: jax.Array, batch: dict) -> dict:
        keys, image = jax.random.split(key, study.seeds), normalise(batch["image"][:1])
        params = {}
        for layers in study.layers:  # seed i has the same draws for every initialiser, scaled differently
            draw = [lambda k, m=m: m.init(k, image, False)["params"] for m in map(partial(model, layers), study.inits)]
            members = [jax.vmap(one)(keys) for one in draw]
            params[f"layers_{layers}"] = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *members)
        return {"params": params, "extra": {"initial": jax.tree.map(jnp.copy, params)}}

    step = partial(evaluation_step, models, normalise, study)
    evals = {"loss": Eval(step, partial(finalise, study), "train")}
    return Task(init, recipe.descend(config, info, partial(training_loss, models, normalise)), evals)
