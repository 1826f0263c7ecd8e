"""Linear probes: of every layer of networks that were trained on other classes, and with few examples of each class.

Networks of one architecture are trained on the first 50, 150 ... images of the source classes of `config.study`; their
features, and those of the weights they began with, are probed on the target classes. Each seed has first weights, an
order of the source images and draws of k target images of each class, shared by all its networks, so that these are
compared in pairs. `params`: {"n50", ...: leaves [seeds, ...]}; `extra`: {"initial": leaves [seeds, ...], "data":
{"source", "train", "validation", "test": {"image", "label"}}, "rows": int [seeds, source images]}.

Every strength is chosen on validation images of the target classes. "n50_at_stage0" is the test accuracy of a probe on
all target images, "n50_5_shot" that of probes on 5 of each class, the mean over draws; "random" are the first weights.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis import linear_probe, seed_comparison, seed_copies, small_sets
from cvdl_jax.analysis.figures import probes
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core.task import Added, Eval, Task, chain
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import halves, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "grad", "optim", "compute_dtype", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    source: tuple[str, ...] = ()  # classes that networks are trained on
    target: tuple[str, ...] = ()  # classes that their features are probed on
    sizes: tuple[Size, ...] = (50, 150, 450)  # source images to train on, ascending
    shots: tuple[Size, ...] = (1, 5, 10, 25)  # target images of each class
    layer: str = "pre_logits"  # that the few are told apart by
    draws: Size = 10  # of the few, for each seed
    seeds: Size = 5
    grid: Size = 2  # of cells that maps are averaged over
    strengths: tuple[Positive, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # ascending


def load(study):
    """{"source", "train", "validation", "test": {"image", "label" among its classes}}, and how many are probed."""
    data, classes = halves.load(study.data, study.source, study.target)
    few, most = int(jnp.bincount(data["train"]["label"]).min()), len(data["source"]["label"])
    if few < max(study.shots):
        raise ConfigError(f"config.study.shots={study.shots}: the smallest target class has {few} training images")
    small_sets.check_ascending(study.sizes, "config.study.sizes", most, "source images")
    small_sets.check_ascending(study.strengths, "config.study.strengths")
    return data, classes


def training_loss(model, name, count, size, state, batch, key):
    """The sum over seeds of mean losses, each on source images of its own, drawn from its first `count`."""
    source = state.extra["data"]["source"]
    rows = small_sets.draw_rows(jax.random.fold_in(key, 0), state.extra["rows"], (count,), size)  # [seeds, size]
    image, label = to_unit(source["image"][rows]), source["label"][rows]
    how = (image, jax.random.fold_in(key, 1), seed_copies.one_by_one)
    scores = seed_copies.train_scores(model, state.params[name], *how)
    losses, hits = jax.vmap(softmax_cross_entropy)(scores, label), jax.vmap(correct)(scores, label)
    return state, {
        "loss": (losses.sum(), jnp.full((), size, jnp.float32)),
        "accuracy": (hits.sum(), jnp.ones(()) * hits.size),
    }


def features(grid, model, image, params):
    """{"pixels" and each layer: [b, d]} of images by one network."""
    out = apply_params(model, params, image, False)[1]
    return linear_probe.features({"pixels": image.reshape(len(image), -1), **out}, grid)


def evaluation_step(study, model, split, state, batch, key):
    """{"network layer part": the features [seeds, n, d] of its images} and {"part": labels [n]}."""
    nets, seen = {"random": state.extra["initial"], **state.params}, {}
    for part in dict.fromkeys(("train", "validation", split)):
        image = to_unit(state.extra["data"][part]["image"])
        seen[part] = state.extra["data"][part]["label"]
        for net, params in nets.items():
            layers = seed_copies.in_turn(partial(features, study.grid, model, image))(params)
            configs.check_name(study.layer, layers, f"config.study.layer={study.layer!r} is not a layer")
            seen |= {f"{net} {layer} {part}": x for layer, x in layers.items()}
    return {name: Added(x) for name, x in seen.items()}


def probed(study, classes, seed, split, rows):
    """{"network_at_layer", "network_5_shot": accuracy of each seed}; the draws of a seed are the same for all nets."""
    values = {}
    for net, layer in (name.split()[:2] for name in rows if name.endswith(" train")):
        for i in range(study.seeds):
            sets = [(rows[f"{net} {layer} {part}"][i], rows[part]) for part in ("train", "validation", split)]
            how = (*sets, classes, study.strengths)
            values.setdefault(f"{net}_at_{layer}", []).append(linear_probe.accuracy(*how))
            for k in study.shots if layer == study.layer else ():
                one = linear_probe.few_shot_accuracy(np.random.default_rng([seed, i, k]), k, study.draws, *how)
                values.setdefault(f"{net}_{k}_shot", []).append(one)
    return values


def finalise(study, classes, seed, split, means, rows):
    """Accuracies with intervals over seeds, and gains over the first weights of the same seed."""
    values, metrics = probed(study, classes, seed, split, rows), {}
    for name in values:
        base = f"random_{name.partition('_')[2]}"
        metrics |= seed_comparison.gains({base: values[base], name: values[name]}, base)
    return metrics


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    data, classes = load(study)
    made = {"num_classes": int(data["source"]["label"].max()) + 1, "dtype": config.compute_dtype}
    model = registry.create(config.model, "config.model", kinds=("backbones",), **made)
    nets = {f"n{count}": count for count in study.sizes}

    def init(key: jax.Array, batch: dict) -> dict:
        first, second = jax.random.split(key)
        params = seed_copies.initialise(model, first, to_unit(data["source"]["image"][:1]), study.seeds)
        order = jax.vmap(lambda k: jax.random.permutation(k, len(data["source"]["label"])))
        extra = {"initial": params, "data": data, "rows": order(jax.random.split(second, study.seeds))}
        return {"params": {name: jax.tree.map(jnp.copy, params) for name in nets}, "extra": extra}

    steps = [
        recipe.descend(config, info, partial(training_loss, model, name, count, info.batch_size), on=name)
        for name, count in nets.items()
    ]
    step, end = partial(evaluation_step, study, model), partial(finalise, study, classes, info.seed)
    evals = recipe.evaluations(lambda split: Eval(partial(step, split), partial(end, split), data=1))
    evals["test"] = evals["test"]._replace(draw=partial(probes.draw, study.sizes, study.shots))
    return Task(init=init, train=chain(*steps), evals=evals)
