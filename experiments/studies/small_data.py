"""Small training sets: what weight decay, dropout, augmentation, transfer and an auxiliary task gain, by their size.

A method has settings, of which one is chosen for each size by the mean accuracy on validation images. A copy of a
network is one seed at one size; it trains on the first so many images of its seed's order, so that smaller sets are in
the larger ones, and all methods share first weights, images and batches: they are compared in pairs. "transfer" begins
with the weights of the file `config.study.source`, but for a new head; "auxiliary" also tells by how many quarters its
images were turned (Gidaris et al. 2018). `params`: {"method_setting": leaves [sizes seeds, ...], with "rotation"
where there is an auxiliary task}; `extra`: {"data": {split: {"image", "label"}}, "rows": int [seeds, images]}.
"""

import itertools
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.analysis import seed_comparison, seed_copies, small_sets
from cvdl_jax.analysis.figures import few_examples
from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core.task import Eval, Task, chain, descend
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import judges, recipe
from cvdl_jax.metrics.classification import correct
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.studies.regularisers import network

READS = ("model", "normalise", "optim", "compute_dtype", "remat", "study")
PLAIN = "plain"


class Study(NamedTuple):
    """The arguments of `config.study`."""

    methods: Mapping = {}  # {method: {setting: a section of `regularisers.Method`, and transfer, auxiliary}}
    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    source: str = ""  # the file of weights of "transfer", see `engine/judges.py`
    sizes: tuple[Size, ...] = (50, 100, 200, 500)  # labelled images, ascending
    seeds: Size = 3


class Extra(NamedTuple):
    """What a method may be told beside the fields of `regularisers.Method`."""

    transfer: bool = False  # whether it begins with the weights of `source`
    auxiliary: NotNegative = 0.0  # weight of the auxiliary task


def built(study, config, info, classes):
    """{"method_setting": (Network, its Extra)}."""
    nets = {}
    for method, settings in study.methods.items():
        for setting, section in settings.items():
            name, own = f"{method}_{setting}", dict(section)
            extra = {key: own.pop(key) for key in Extra._fields if key in own}
            one = SimpleNamespace(methods={name: own}, examples=study.sizes[-1])
            net = network(one, config, info, classes, name)._replace(vmap=seed_copies.in_turn)
            nets[name] = net, configs.call(Extra, extra, f"config.study.methods.{method}.{setting}")
    return nets


def draw(study, size, state, batch, key):
    """The batches of a step, [sizes seeds, size, ...], the same ones for all methods."""
    rows = small_sets.draw_rows(key, state.extra["rows"], study.sizes, size)
    return state, jax.tree.map(lambda x: x[rows], state.extra["data"]["train"]), {}


def outputs(net, normalise, params, image, key, auxiliary=False):
    """Scores [copies, b, classes] in training mode, or those of the auxiliary head, [copies, b, 4]."""

    def one(p, x, k):
        scores, out = net.model.apply({"params": p}, normalise(x), True, rngs={"dropout": k})
        return out["pre_logits"] @ p["rotation"]["kernel"] + p["rotation"]["bias"][None] if auxiliary else scores

    return net.vmap(one)(params, image, jax.random.split(key, len(image)))


def training_loss(name, net, weight, normalise, state, batch, key):
    """The sum over copies of their mean losses, and the accuracy."""
    label, image, params = batch["label"], to_unit(batch["image"]), state.params[name]
    if net.augment is not None:
        flat = {"image": image.reshape(-1, *image.shape[2:]), "label": label.reshape(-1)}
        image = net.augment.update(state, flat, jax.random.fold_in(key, 0))[1]["image"].reshape(image.shape)
    scores = outputs(net, normalise, params, image, jax.random.fold_in(key, 1))
    losses, hits = jax.vmap(net.loss)(scores, label), jax.vmap(correct)(scores, label)
    if weight:
        turns = jax.random.randint(jax.random.fold_in(key, 2), label.shape, 0, 4)
        turned, key = small_sets.quarter_turns(image, turns), jax.random.fold_in(key, 3)
        angles = outputs(net, normalise, params, turned, key, auxiliary=True)
        losses += weight * jax.vmap(softmax_cross_entropy)(angles, turns)
    return state, {
        "loss": (losses.sum(), jnp.full((), label.shape[1], jnp.float32)),
        "accuracy": (hits.sum(), jnp.full((), hits.size, jnp.float32)),
    }


def accuracies(study, nets, normalise, split, state, batch, key):
    """{"method_setting_50_validation/seed" and the same of the split: (accuracy, 1)}."""
    shares = {}
    for part in dict.fromkeys(("validation", split)):
        data = state.extra["data"][part]
        image = normalise(to_unit(data["image"]))
        for name, (net, *_) in nets.items():
            scores = seed_copies.scores(net.model, state.params[name], image, net.vmap)
            of_copies = jax.vmap(lambda s, y=data["label"]: correct(s, y).mean())(scores)
            for i, (size, seed) in enumerate(itertools.product(study.sizes, range(study.seeds))):
                shares[f"{name}_{size}_{part}/{seed}"] = (of_copies[i], jnp.ones(()))
    return shares


def finalise(study, split, means, rows):
    """For each method and size the accuracy of the setting that is best on validation images, and its gain in pairs."""
    return small_sets.at_best_settings(seed_comparison.by_method(means), study.methods, study.sizes, split, PLAIN)


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    configs.check_name(PLAIN, study.methods, f"config.study.methods lacks {PLAIN!r}")
    loaded, data = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"))
    data = {name: {key: jnp.asarray(batch[key]) for key in ("image", "label")} for name, batch in data.items()}
    most = len(data["train"]["label"])
    small_sets.check_ascending(study.sizes, "config.study.sizes", most, "training images")
    nets, normalise = built(study, config, info, loaded.num_classes), recipe.normalisation(config)
    example = normalise(to_unit(data["train"]["image"][:1]))
    wanted = any(extra.transfer for _, extra in nets.values())
    source = judges.weights_for(study.source, config, example.shape[1:], "config.study.source") if wanted else {}
    source.pop("head", None)

    def init(key: jax.Array, batch: dict) -> dict:
        first, second, third = jax.random.split(key, 3)
        plain = seed_copies.initialise(next(iter(nets.values()))[0].model, first, example, study.seeds)
        head = {"rotation": small_sets.linear_head(third, study.seeds, plain["head"]["kernel"].shape[1], 4)}
        moved, params = jax.tree.map(lambda x: jnp.stack([x] * study.seeds), source), {}
        for name, (_, extra) in nets.items():
            own = {**plain, **(moved if extra.transfer else {}), **(head if extra.auxiliary else {})}
            params[name] = small_sets.repeated(own, len(study.sizes))
        order = jax.vmap(lambda k: jax.random.permutation(k, most))(jax.random.split(second, study.seeds))
        return {"params": params, "extra": {"data": data, "rows": order}}

    loss = lambda name, net, extra: partial(training_loss, name, net, extra.auxiliary, normalise)  # noqa: E731
    steps = [descend(loss(name, *net), net[0].optimizer, on=name) for name, net in nets.items()]
    step = partial(accuracies, study, nets, normalise)
    evals = recipe.evaluations(lambda split: Eval(partial(step, split), partial(finalise, study, split), data=1))
    evals["test"] = evals["test"]._replace(draw=partial(few_examples.draw, [*study.methods], study.sizes))
    return Task(init=init, train=chain(partial(draw, study, info.batch_size), *steps), evals=evals)
