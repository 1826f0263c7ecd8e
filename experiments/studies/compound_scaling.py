"""Compound scaling: one small network made deeper, wider, seen at a higher resolution, or some of each, at equal MACs.

The bases (alpha, beta, gamma) of compound scaling are found on a small grid at about twice the multiply-adds of the
base network, by the validation loss. Each way of scaling is then made as large as brings its multiply-adds nearest to
`factor` times those of the base, trained with the same seeds, and tested. Lower resolutions are averages over the
pixels of the images as they are drawn. The run itself takes no steps.
"""

from collections.abc import Mapping
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cvdl_jax.analysis import seed_comparison
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Layers, Positive, Size
from cvdl_jax.core import counting, studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops import compound_scaling as scaling
from cvdl_jax.ops.compound_scaling import Scaling
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("study",)
SINGLE = {
    "depth": lambda t: Scaling(t, 1.0, 1.0),
    "width": lambda t: Scaling(1.0, t, 1.0),
    "resolution": lambda t: Scaling(1.0, 1.0, t),
}


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    channels: tuple[Size, ...] = (4, 8)  # of the blocks of the base network
    convolutions: Layers = 2  # of each block
    side: Size = 10  # of its images
    factor: Positive = 4.0  # of the multiply-adds, above 1
    grid: Positive = 0.2  # step of the search for the bases
    tolerance: Positive = 0.1  # of alpha beta^2 gamma^2 around 2
    search_steps: Size = 100
    steps: Size = 200
    batch_size: Size = 64
    lr: Positive = 1e-2
    seeds: Size = 3


def scaled(study, classes, by):
    """The network that is scaled by depth, width and resolution, and the side of its images."""
    section = {
        "name": "convnet_maps",
        "channels": tuple(scaling.round_channels(c * by.width, 1) for c in study.channels),
        "convolutions": scaling.round_layers(study.convolutions, by.depth),
        "norm": "layer",
    }
    model = registry.create(section, "config.study", kinds=("backbones",), num_classes=classes, dtype="float32")
    return model, round(study.side * by.resolution)


@cache
def counted(model, side, channels):
    """Multiply-adds of a model on one image."""
    x = jax.ShapeDtypeStruct((1, side, side, channels), jnp.float32)
    return counting.macs(lambda x: model.init_with_output(jax.random.key(0), x, False)[0][0], x)  # init itself has none


def multiply_adds(study, classes, channels, by):
    """Of one image of so many channels, counted in the traced network."""
    return counted(*scaled(study, classes, by), channels)


def trained(study, data, classes, by, steps, seeds):
    """For each seed {split: (mean cross-entropy, accuracy)} on validation and test images of a network it trained."""
    model, side = scaled(study, classes, by)
    images = {k: jax.image.resize(x, (len(x), side, side, x.shape[-1]), "linear") for k, (x, _) in data.items()}
    rule = optax.adam(optax.cosine_decay_schedule(study.lr, steps))

    def losses(params, image, label):
        logits = apply_params(model, params, image, False)[0]
        return softmax_cross_entropy(logits, label).mean(), correct(logits, label).mean()

    @jax.jit
    def step(params, opt, i, order):
        rows = jax.random.randint(jax.random.fold_in(order, i), (study.batch_size,), 0, len(data["train"][1]))
        image, label = images["train"][rows], data["train"][1][rows]
        updates, opt = rule.update(jax.grad(lambda p: losses(p, image, label)[0])(params), opt)
        return optax.apply_updates(params, updates), opt

    start = jax.jit(lambda key: model.init(key, images["train"][:1], False)["params"])
    judge, results = jax.jit(losses), []
    for seed in seeds:
        first, order = jax.random.split(jax.random.key(seed))
        params = start(first)
        opt = rule.init(params)
        for i in range(steps):
            params, opt = step(params, opt, i, order)
        results.append({k: tuple(map(float, judge(params, images[k], data[k][1]))) for k in ("validation", "test")})
    return results


def measure(study, first_seed):
    """The bases that were found, multiply-adds and test accuracies of every way, and what others gain over compound."""
    loaded, splits = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"))
    classes = loaded.num_classes
    data = {name: (to_unit(jnp.asarray(b["image"])), jnp.asarray(b["label"])) for name, b in splits.items()}
    train = partial(trained, study, data, classes)
    count = partial(multiply_adds, study, classes, data["train"][0].shape[-1])

    def score(by):
        loss = train(by, study.search_steps, [first_seed])[0]["validation"][0]
        print(f"bases {tuple(by)}: {count(by):,} multiply-adds, validation loss {loss:.4f}", flush=True)
        return -loss

    bases = scaling.search(score, step=study.grid, tolerance=study.tolerance)
    ways = {"compound": lambda t: scaling.compound(np.log2(t), *bases), **SINGLE}
    same = Scaling(1.0, 1.0, 1.0)
    target, most = study.factor * count(same), 2 * study.factor
    sizes = {"base": same} | {name: scaling.nearest(count, way, target, most) for name, way in ways.items()}
    accuracies, metrics = {}, dict(zip(("alpha", "beta", "gamma"), bases, strict=True))
    seeds = range(first_seed, first_seed + study.seeds)
    for name, by in sizes.items():
        accuracies[name] = [result["test"][1] for result in train(by, study.steps, seeds)]
        metrics[f"{name}_macs"] = count(by)
        print(f"{name} {np.round(by, 2)}: {count(by):,} multiply-adds, {np.round(accuracies[name], 4)}", flush=True)
    if study.seeds == 1:
        return metrics | {name: of[0] for name, of in accuracies.items()}, accuracies
    return metrics | seed_comparison.gains(accuracies, "compound"), accuracies


def draw(accuracies):
    """Test accuracies of every way, and their differences from compound scaling."""
    return {"scaling": seed_comparison.draw(accuracies, "compound", "test accuracy")}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    if study.factor <= 1:
        raise ConfigError(f"config.study.factor={study.factor} must be above 1, so that networks grow; such as 4.0")
    return studies.measured(config, partial(measure, study, info.seed), draw if study.seeds > 1 else None)
