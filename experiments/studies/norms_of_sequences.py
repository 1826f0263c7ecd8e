"""Layer normalisation against batch normalisation of texts of different lengths, trained side by side.

`config.study.cases` {name: {"batch", and fields in which its model differs from `config.model`}}: text classifiers that
differ in norm and batch size. A case of fewer rows than `config.batch_size` takes several steps on parts of each batch,
with its learning rate in proportion. Batch normalisation never sees padding (`nn/token_norm.py`): its statistics are of
the tokens that are there. Evaluations give the accuracy of every case, also of the shorter half of the texts and of the
longer one. tokens, segments: int [b, t]; length, label: int [b]. params: {case: tree}; extra: {"batch_stats": {case:
tree}}.

Reference: Ba et al. 2016, "Layer Normalization", sections 1 and 3.1; Shen et al. 2020, "PowerNorm", section 3.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.task import Eval, Task, chain, descend
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.models.sequence.bert import Classifier
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification
from experiments.classify_text import check, inputs
from experiments.studies.normalisation import accuracies, in_parts

READS = ("model", "loss", "data", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    cases: Mapping  # {name: batch, and fields in which its model differs from config.model}


def training_loss(model, name, loss, state, batch, key):
    """Sums of the loss and the accuracy of one case."""
    (logits, _), state = apply_train(model, state, inputs(batch), key, on=name)
    hits, count = correct(logits, batch["label"]), jnp.ones(len(logits)).sum()
    return state, {"loss": (loss(logits, batch["label"]).sum(), count), "accuracy": (hits.sum(), count)}


def evaluation_step(models, loss, state, batch, key):
    """Sums of every case over the real rows; of every row its length, and whether the cases are right."""
    sums, mask = {"length": batch["length"]}, batch["mask"]
    for name, model in models.items():
        logits = apply_eval(model, state, inputs(batch), on=name)[0]
        hits = correct(logits, batch["label"])
        sums[f"{name}/loss"] = ((loss(logits, batch["label"]) * mask).sum(), mask.sum())
        sums[f"{name}/accuracy"] = ((hits * mask).sum(), mask.sum())
        sums[f"{name}/right"] = hits
    return sums


def finalise(means, rows):
    """The means, and the accuracies of texts up to the median length, and of longer ones."""
    short = rows["length"] <= np.median(rows["length"])
    halves = {}
    for name in (key.removesuffix("/right") for key in rows if key.endswith("/right")):
        right = rows[f"{name}/right"]
        halves[f"{name}/accuracy_short"] = float(right[short].mean())
        if not short.all():
            halves[f"{name}/accuracy_long"] = float(right[~short].mean())
    return {**means, **halves, "examples": len(short)}


def table(cases, metrics, rows):
    """The accuracies as a figure and as a table."""
    kinds = ("accuracy", "accuracy_short", "accuracy_long")
    lines = [f"{'case':<12} batch  " + "  ".join(kinds)]
    for name, case in cases.items():
        figures = [f"{metrics.get(f'{name}/{kind}', np.nan):>{len(kind)}.3f}" for kind in kinds]
        lines.append(f"{name:<12} {case['batch']:>5}  " + "  ".join(figures))
    return {"table": "\n".join(lines), **accuracies(cases, metrics, rows)}


def make(config, info) -> Task:
    """The task of a configuration."""
    check(config, info)
    study = configs.call(Study, config.study, "config.study")
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    models, steps, cases = {}, [], {}
    for name, case in study.cases.items():
        path = f"config.study.cases.{name}"
        configs.check_section(case, path)
        size = configs.check_value(case.get("batch", config.batch_size), Size, f"{path}.batch")
        if config.batch_size % size:
            raise ConfigError(f"{path}.batch={size} must divide config.batch_size={config.batch_size}")
        fields = {**config.model, **{key: value for key, value in case.items() if key != "batch"}}
        encoder = registry.create(
            fields, path, kinds=("sequence",),
            vocabulary=len(info.vocabulary), dtype=config.compute_dtype, remat=config.remat,
        )  # fmt: skip
        models[name], cases[name] = Classifier(encoder, info.num_classes, 0.0), {**case, "batch": size}
        optimizer = recipe.optimizer({**config.optim, "lr": config.optim.lr * size / config.batch_size}, info)
        step = descend(partial(training_loss, models[name], name, loss), optimizer, on=name)
        steps.append(in_parts(step, config.batch_size // size) if size < config.batch_size else step)

    def init(key, batch):
        made = {name: initialise(model, key, *(x[:1] for x in inputs(batch)), False) for name, model in models.items()}
        params, stats = ({name: pair[i] for name, pair in made.items()} for i in (0, 1))
        return {"params": params, "extra": {"batch_stats": stats}}

    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, models, loss), finalise), info.sizes)
    if evals:
        evals[list(evals)[-1]] = evals[list(evals)[-1]]._replace(draw=partial(table, cases))
    return Task(init=init, train=chain(*steps), evals=evals)
