"""Networks that differ in normalisation, learning rate and batch size, trained side by side on the same batches.

`config.study.cases` {name: {"lr", "batch", and fields in which its model differs from `config.model`}}. A case of fewer
rows than `config.batch_size` takes several steps on parts of each batch, with its learning rate in proportion (Goyal et
al. 2017, section 2.1), so that all cases see every example equally often. image: [b, h, w, c] in 0..1; label: [b].
params: {case: tree}; extra: {"batch_stats": {case: tree}}.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core.parallel import is_mapped
from cvdl_jax.core.task import Eval, Task, Transform, chain, descend
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.losses import classification
from experiments.studies.perceptrons import evaluation_step, first_state, network, training_loss

READS = ("model", "loss", "data", "normalise", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    cases: Mapping  # {name: lr, batch, and fields in which its model differs from config.model}


def in_parts(transform: Transform, n: int) -> Transform:
    """Applies a transform to the n parts of a batch, one after the other; the sums are added."""

    def update(state, batch, key):
        if is_mapped():
            raise ConfigError(
                "config.study.cases of smaller batches cut the global batch in parts, which no device holds whole "
                "under pmap; set config.parallel.mode='jit'"
            )

        def one(state, part):
            i, rows = part
            state, _, sums = transform.update(state, rows, jax.random.fold_in(key, i))
            return state, sums

        parts = jax.tree.map(lambda x: x.reshape(n, len(x) // n, *x.shape[1:]), batch)
        state, sums = lax.scan(one, state, (jnp.arange(n), parts))
        return state, batch, jax.tree.map(lambda x: x.sum(0), sums)

    return Transform(update, transform.init)


def accuracies(cases, metrics, rows):
    """Accuracy of every case on the evaluated split: bars, or lines over the batch size where that is what differs."""
    from cvdl_jax.analysis.figures import images

    figure, axes = images.new_figure(1, 1, inches=4.5)
    axis = axes[0, 0]
    axis.set_frame_on(True)
    kinds = {name.rsplit("_", 1)[0] for name in cases}
    if all(name == f"{name.rsplit('_', 1)[0]}_{case['batch']}" for name, case in cases.items()):
        for kind in sorted(kinds):
            of_kind = {name: case["batch"] for name, case in cases.items() if name.startswith(f"{kind}_")}
            points = sorted((size, metrics[f"{name}/accuracy"]) for name, size in of_kind.items())
            axis.semilogx(*zip(*points, strict=True), "-o", base=2, label=kind)
        sizes = sorted({case["batch"] for case in cases.values()})
        axis.set_xticks(sizes, [str(size) for size in sizes])
        axis.set_ylim(0, 1)
        axis.set_yticks(np.linspace(0, 1, 6))
        axis.set_xlabel("batch size")
        axis.legend()
    else:
        axis.barh(range(len(cases)), [metrics[f"{name}/accuracy"] for name in cases])
        axis.set_yticks(range(len(cases)), list(cases), fontsize=7)
        axis.invert_yaxis()
        axis.set_xticks(np.linspace(0, 1, 6))
    axis.set_title("Accuracy", fontsize=9)
    return {"accuracy": figure}


def make(config, info) -> Task:
    """The task of a configuration."""
    if info.num_classes is None or not {"image", "features"} & info.spec.keys():
        raise ConfigError("experiment 'studies.normalisation' needs config.data with labelled images or features")
    study = configs.call(Study, config.study, "config.study")
    for name, case in study.cases.items():
        configs.check_section(case, f"config.study.cases.{name}")
    cases = {name: {"lr": config.optim.lr, "batch": config.batch_size, **case} for name, case in study.cases.items()}
    normalise = recipe.normalisation(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    models, steps = {}, []
    for name, case in cases.items():
        path = f"config.study.cases.{name}"
        size = configs.check_value(case["batch"], Size, f"{path}.batch")
        if config.batch_size % size:
            raise ConfigError(f"{path}.batch={size} must divide config.batch_size={config.batch_size}")
        fields = {key: value for key, value in case.items() if key not in ("lr", "batch")}
        models[name] = network(config, info, fields, path)
        optimizer = recipe.optimizer({**config.optim, "lr": case["lr"] * size / config.batch_size}, info)
        step = descend(partial(training_loss, models[name], name, normalise, loss), optimizer, on=name)
        steps.append(in_parts(step, config.batch_size // size) if size < config.batch_size else step)

    step = partial(evaluation_step, models, normalise, loss)
    names = [name for name in ("validation", "test") if name in info.sizes]
    evals = {name: Eval(step, data=name, final=name == "test") for name in names}
    if names:
        evals[names[-1]] = evals[names[-1]]._replace(draw=partial(accuracies, cases))
    return Task(init=partial(first_state, models, normalise), train=chain(*steps), evals=evals)
