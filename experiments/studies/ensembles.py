"""Ensembles of networks: the error of 1, 3, 5 and 7 of them, of one architecture or of as many different ones.

An ensemble is the mean of its members' probabilities. A repeat has `members` networks of `config.model` that differ in
their first weights and examples, and one network of each architecture of `study.architectures`; an ensemble of k are
the first k of these, where repeat r begins at the r-th. image: [b, h, w, c] in 0..1; label: [b].
params: {"same": leaves [repeats members, ...], architecture: leaves [repeats, ...]}.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis import seed_comparison, seed_copies
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import calibration
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.report import ensembles
from experiments.classify import inputs

READS = ("model", "data", "normalise", "optim", "grad", "compute_dtype", "study")
KINDS = ("same", "different")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    architectures: Mapping = {}  # {name: a section as `config.model`}, as many as members
    sizes: tuple[Size, ...] = (1, 3, 5, 7)  # of the ensembles, the first of them 1
    repeats: Size = 5


def training_loss(model, normalise, name, state, batch, key):
    """The sum over copies of their mean losses, each on examples of its own, drawn from the batch with replacement."""
    params, x, label = state.params[name], inputs(normalise, batch), batch["label"]
    copies = len(jax.tree.leaves(params)[0])
    rows = jax.random.randint(jax.random.fold_in(key, 0), (copies, len(label)), 0, len(label))
    logits = seed_copies.train_scores(model, params, x[rows], jax.random.fold_in(key, 1))
    losses, hits = jax.vmap(softmax_cross_entropy)(logits, label[rows]), jax.vmap(correct)(logits, label[rows])
    return state, {
        "loss": (losses.sum(), jnp.full((), len(label), losses.dtype)),
        "accuracy": (hits.sum(), jnp.full((), hits.size, losses.dtype)),
    }


def evaluation_step(models, normalise, state, batch, key):
    """The scores of all networks, [b, copies, classes] each, and the labels."""
    x = inputs(normalise, batch)
    scores = {name: seed_copies.scores(model, state.params[name], x).swapaxes(0, 1) for name, model in models.items()}
    return {f"{name}_scores": value for name, value in scores.items()} | {"label": batch["label"]}


def by_kind(study, rows):
    """{kind: probabilities [repeats, members, n, classes]}."""
    scores = {name: np.asarray(rows[f"{name}_scores"]).swapaxes(0, 1) for name in ("same", *study.architectures)}
    p = {name: calibration.softmax(s.reshape(-1, s.shape[-1])).reshape(s.shape) for name, s in scores.items()}
    different = np.stack([p[name] for name in study.architectures], 1)  # [repeats, members, n, classes]
    different = np.stack([np.roll(of_repeat, -r, 0) for r, of_repeat in enumerate(different)])
    return {"same": p["same"].reshape(different.shape), "different": different}


def errors(probabilities, label, sizes):
    """{size: the error of the mean probability of the first so many members, a number for each repeat}."""
    return {
        k: [float((ensembles.average(p[:k]).argmax(-1) != label).mean()) for p in probabilities] for k in sizes
    }  # fmt: skip


def finalise(study, means, rows):
    """Mean errors over repeats, and what they gain over a single network of the same repeat; with 95 % intervals."""
    metrics = {"examples": len(rows["label"])}
    for kind, probabilities in by_kind(study, rows).items():
        of_sizes = errors(probabilities, np.asarray(rows["label"]), study.sizes)
        named = {f"{kind}_{k}_error": values for k, values in of_sizes.items()}
        if study.repeats > 1:
            metrics |= seed_comparison.gains(named, f"{kind}_{study.sizes[0]}_error")
        else:
            metrics |= {name: value for name, (value,) in named.items()}
    return metrics


def draw(study, metrics, rows):
    """Error against the size of the ensemble, a line for each kind, with intervals over repeats."""
    from cvdl_jax.analysis.figures.curves import panels

    figure, (axis,) = panels([(f"{len(rows['label'])} examples, {study.repeats} repeats", "networks", "error")])
    for kind in KINDS:
        names = [f"{kind}_{k}_error" for k in study.sizes]
        low, high = ([metrics.get(f"{name}_{end}", np.nan) for name in names] for end in ("low", "high"))
        (line,) = axis.plot(study.sizes, [metrics[name] for name in names], "-o", label=f"{kind} architecture")
        axis.fill_between(study.sizes, low, high, color=line.get_color(), alpha=0.2)
    axis.set_xticks(study.sizes)
    axis.legend(fontsize=7)
    return {"error": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    check_labelled(config, info)
    study = configs.call(Study, config.study, "config.study")
    members = len(study.architectures)
    if not study.sizes or study.sizes[0] != 1 or max(study.sizes) > members or "same" in study.architectures:
        raise ConfigError(
            f"config.study.sizes={study.sizes} must begin with 1 and not exceed the {members} architectures of "
            "config.study.architectures, none of which may be called 'same'"
        )
    create = partial(registry.create, kinds=("backbones",), num_classes=info.num_classes, dtype=config.compute_dtype)
    models = {"same": create(config.model, "config.model")}
    for name, section in study.architectures.items():
        models[name] = create(section, f"config.study.architectures.{name}")
    normalise = recipe.normalisation(config)

    def init(key: jax.Array, batch: dict) -> dict:
        x, params = inputs(normalise, batch)[:1], {}
        for i, (name, model) in enumerate(models.items()):
            copies = study.repeats * (members if name == "same" else 1)
            params[name] = seed_copies.initialise(model, jax.random.fold_in(key, i), x, copies)
        return {"params": params, "extra": {}}

    steps = [recipe.descend(config, info, partial(training_loss, model, normalise, name), on=name)
             for name, model in models.items()]  # fmt: skip
    step = partial(evaluation_step, models, normalise)
    evals = recipe.evaluations(partial(Eval, step, partial(finalise, study)), info.sizes)
    if "test" in evals:
        evals["test"] = evals["test"]._replace(draw=partial(draw, study))
    return Task(init=init, train=chain(*steps), evals=evals)
