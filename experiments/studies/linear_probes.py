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

from cvdl_jax.analysis import linear_probe, seed_comparison, seed_copies
from cvdl_jax.analysis.figures import probes
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
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
    if set(study.source) & set(study.target) or len(study.target) < 2:
        raise ConfigError(
            f"config.study.target={study.target} must be two classes or more, none of them in source={study.source}"
        )
    names = ("train", "validation", "test")
    path, section = "config.study.data", dict(study.data)
    _, splits = recipe.whole_splits({**section, "only": study.target}, path, names)
    splits["source"] = recipe.whole_splits({**section, "only": study.source}, path, names[:1])[1]["train"]
    classes = {name: np.unique(batch["label"]) for name, batch in splits.items()}
    label = {name: np.searchsorted(classes[name], batch["label"]) for name, batch in splits.items()}
    few, most = int(np.bincount(label["train"]).min()), len(label["source"])
    if few < max(study.shots):
        raise ConfigError(f"config.study.shots={study.shots}: the smallest target class has {few} training images")
    if max(study.sizes) > most or list(study.sizes) != sorted(set(study.sizes)):
        raise ConfigError(f"config.study.sizes={study.sizes} must ascend, up to the {most} source images")
    if list(study.strengths) != sorted(set(study.strengths)):
        raise ConfigError(f"config.study.strengths={study.strengths} must ascend")
    data = {n: {"image": jnp.asarray(b["image"]), "label": jnp.asarray(label[n])} for n, b in splits.items()}
    return data, len(classes["train"])


def training_loss(model, name, count, size, state, batch, key):
    """The sum over seeds of mean losses, each on source images of its own, drawn from its first `count`."""
    source, rows = state.extra["data"]["source"], state.extra["rows"][:, :count]
    picked = jax.random.randint(jax.random.fold_in(key, 0), (len(rows), size), 0, count)
    rows = jnp.take_along_axis(rows, picked, 1)  # [seeds, size]
    image, label = to_unit(source["image"][rows]), source["label"][rows]
    scores = seed_copies.train_scores(
        model, state.params[name], image, jax.random.fold_in(key, 1), seed_copies.one_by_one
    )
    losses, hits = jax.vmap(softmax_cross_entropy)(scores, label), jax.vmap(correct)(scores, label)
    one = jnp.full((), size, jnp.float32)
    return state, {"loss": (losses.sum(), one), "accuracy": (hits.sum(), one * len(rows))}


def of_network(study, model, classes, data, split, params, key):
    """{"at_stage0": accuracy of a probe of a layer, "5_shot": with few examples} of one network on a split."""
    layers, names = {}, ("train", "validation", split)
    for name in names:
        image = to_unit(data[name]["image"])
        out = apply_params(model, params, image, False)[1]
        layers[name] = linear_probe.features({"pixels": image.reshape(len(image), -1), **out}, study.grid)
    configs.check_name(study.layer, layers["train"], f"config.study.layer={study.layer!r} is not a layer")
    sets = {layer: [(layers[name][layer], data[name]["label"]) for name in names] for layer in layers["train"]}
    values = {f"at_{layer}": linear_probe.accuracy(*s, classes, study.strengths) for layer, s in sets.items()}
    for k in study.shots:
        how = (*sets[study.layer], classes, study.strengths)
        values[f"{k}_shot"] = linear_probe.few_shot_accuracy(jax.random.fold_in(key, k), k, study.draws, *how)
    return values


def evaluation_step(study, model, classes, split, state, batch, key):
    """{"network_at_layer/seed", "network_5_shot/seed": (accuracy, 1)}; the draws of a seed are the same for all."""
    nets = {"random": state.extra["initial"], **state.params}
    stacked = jax.tree.map(lambda *x: jnp.concatenate(x), *nets.values())
    keys = jnp.tile(jax.random.split(key, study.seeds), len(nets))
    one = partial(of_network, study, model, classes, state.extra["data"], split)
    values, one = seed_copies.in_turn(one)(stacked, keys), jnp.ones(())
    order = [(net, seed) for net in nets for seed in range(study.seeds)]
    return {f"{n}_{what}/{seed}": (x[i], one) for what, x in values.items() for i, (n, seed) in enumerate(order)}


def finalise(means, rows):
    """Accuracies with intervals over seeds, and what is gained over the first weights of the same seed."""
    values, metrics = seed_comparison.by_method(means), {}
    for name in values:
        base = f"random_{name.partition('_')[2]}"
        metrics |= seed_comparison.gains({base: values[base], name: values[name]}, base)
    return metrics


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    data, classes = load(study)
    sources = int(data["source"]["label"].max()) + 1
    model = registry.create(
        config.model, "config.model", kinds=("backbones",), num_classes=sources, dtype=config.compute_dtype
    )
    nets = {f"n{count}": count for count in study.sizes}

    def init(key: jax.Array, batch: dict) -> dict:
        first, second = jax.random.split(key)
        params = seed_copies.initialise(model, first, to_unit(data["source"]["image"][:1]), study.seeds)
        copies = {name: jax.tree.map(jnp.copy, params) for name in nets}
        order = jax.vmap(lambda k: jax.random.permutation(k, len(data["source"]["label"])))
        rows = order(jax.random.split(second, study.seeds))
        return {"params": copies, "extra": {"initial": params, "data": data, "rows": rows}}

    steps = [
        recipe.descend(config, info, partial(training_loss, model, name, count, info.batch_size), on=name)
        for name, count in nets.items()
    ]
    evals = recipe.evaluations(lambda split: Eval(partial(evaluation_step, study, model, classes, split), finalise, 1))
    evals["test"] = evals["test"]._replace(draw=partial(probes.draw, study.sizes, study.shots))
    return Task(init=init, train=chain(*steps), evals=evals)
