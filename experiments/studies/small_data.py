"""Small training sets: what L2, dropout, augmentation, transfer and an auxiliary task gain, by their size.

A method has settings, of which one is chosen for each size by the mean accuracy on validation images. A copy of a
network is one seed at one size; it trains on the first so many images of its seed's order, so that smaller sets are in
the larger ones, and all methods share first weights, images and batches: they are compared in pairs. "transfer" begins
with what the first weights become by as many plain steps on images of other classes, in which `init` trains them, but
its head stays new. "auxiliary" also tells by how many quarters its images were turned. `params`: {"method_setting":
leaves [sizes seeds, ...], with "rotation" where there is an auxiliary task}; `extra`: {"data": {"source", and each
split: {"image", "label"}}, "rows": int [seeds, images]}.
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
from cvdl_jax.data.pretext import quarter_turns
from cvdl_jax.engine import halves, recipe
from cvdl_jax.metrics.classification import correct
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from experiments.studies.regularisers import network

READS = ("model", "optim", "compute_dtype", "remat", "study")
PLAIN = "plain"


class Study(NamedTuple):
    """The arguments of `config.study`."""

    methods: Mapping = {}  # {method: {setting: a section of `regularisers.Method`, and transfer, auxiliary}}
    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    source: tuple[str, ...] = ()  # classes that "transfer" comes from
    target: tuple[str, ...] = ()  # classes that all methods learn
    sizes: tuple[Size, ...] = (50, 100, 200, 500)  # labelled images, ascending
    seeds: Size = 5


class Extra(NamedTuple):
    """What a method may be told beside the fields of `regularisers.Method`."""

    transfer: bool = False  # whether it begins with weights of the source
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


def outputs(net, params, image, key, auxiliary=False):
    """Scores [copies, b, classes] in training mode, or those of the auxiliary head, [copies, b, 4]."""

    def one(p, x, k):
        scores, out = net.model.apply({"params": p}, x, True, rngs={"dropout": k})
        return out["pre_logits"] @ p["rotation"]["kernel"] + p["rotation"]["bias"][None] if auxiliary else scores

    return net.vmap(one)(params, image, jax.random.split(key, len(image)))


def training_loss(name, net, weight, state, batch, key):
    """The sum over copies of their mean losses, and the accuracy."""
    label, image, params = batch["label"], to_unit(batch["image"]), state.params[name]
    if net.augment is not None:
        flat = {"image": image.reshape(-1, *image.shape[2:]), "label": label.reshape(-1)}
        image = net.augment.update(state, flat, jax.random.fold_in(key, 0))[1]["image"].reshape(image.shape)
    scores = outputs(net, params, image, jax.random.fold_in(key, 1))
    losses, hits = jax.vmap(net.loss)(scores, label), jax.vmap(correct)(scores, label)
    if weight:
        turns = jax.random.randint(jax.random.fold_in(key, 2), label.shape, 0, 4)
        turned, key = jax.vmap(quarter_turns)(image, turns), jax.random.fold_in(key, 3)
        losses += weight * jax.vmap(softmax_cross_entropy)(outputs(net, params, turned, key, auxiliary=True), turns)
    one = jnp.full((), label.shape[1], jnp.float32)
    return state, {"loss": (losses.sum(), one), "accuracy": (hits.sum(), one * len(label))}


def accuracies(study, nets, split, state, batch, key):
    """{"method_setting_50_validation/seed" and the same of the split: (accuracy, 1)}."""
    shares = {}
    for part in dict.fromkeys(("validation", split)):
        data = state.extra["data"][part]
        image = to_unit(data["image"])
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
    data, classes = halves.load(study.data, study.source, study.target)
    most, images = len(data["train"]["label"]), to_unit(data["source"]["image"])
    small_sets.check_ascending(study.sizes, "config.study.sizes", most, "training images")
    nets = built(study, config, info, classes)
    plain = next(net for name, (net, _) in nets.items() if name.startswith(f"{PLAIN}_"))

    def source_loss(params: dict, rows: jax.Array, key: jax.Array) -> jax.Array:
        scores = outputs(plain, params, jnp.stack([images[rows]] * study.seeds), key)
        return jax.vmap(lambda s: softmax_cross_entropy(s, data["source"]["label"][rows]).mean())(scores).sum()

    def init(key: jax.Array, batch: dict) -> dict:
        keys, sizes = jax.random.split(key, 4), (len(images), info.batch_size, info.total_steps)
        first = seed_copies.initialise(plain.model, keys[0], images[:1], study.seeds)
        moved = small_sets.pretrained(source_loss, plain.optimizer, first, keys[3], *sizes)
        head = {"rotation": small_sets.linear_head(keys[2], study.seeds, first["head"]["kernel"].shape[1], 4)}
        params = {}
        for name, (_, extra) in nets.items():
            own = {**(moved if extra.transfer else first), "head": first["head"], **(head if extra.auxiliary else {})}
            params[name] = small_sets.repeated(own, len(study.sizes))
        order = jax.vmap(lambda k: jax.random.permutation(k, most))(jax.random.split(keys[1], study.seeds))
        return {"params": params, "extra": {"data": data, "rows": order}}

    loss = lambda name, net, extra: partial(training_loss, name, net, extra.auxiliary)  # noqa: E731
    steps = [descend(loss(name, *net), net[0].optimizer, on=name) for name, net in nets.items()]
    step = partial(accuracies, study, nets)
    evals = recipe.evaluations(lambda split: Eval(partial(step, split), partial(finalise, study, split), data=1))
    evals["test"] = evals["test"]._replace(draw=partial(few_examples.draw, PLAIN, study.methods, study.sizes))
    return Task(init=init, train=chain(partial(draw, study, info.batch_size), *steps), evals=evals)
