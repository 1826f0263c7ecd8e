"""Regularisers on a small training set: one perceptron, trained plainly and with one method at a time.

Each seed has its own training examples, first weights and batches, shared by all methods: they are compared in pairs.
`params`: {method: leaves [seeds, ...]}; `extra`: {"data": {split: {"image", "label"}}, "rows" and "labels": int [seeds,
examples], "early_stopping": {"memory", "stopped", "params"}}, the last for the network "none" at its best so far.
Evaluations: "validation" during training, "test" once at the end.
"""

from collections import namedtuple
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.analysis import seed_comparison, seed_copies
from cvdl_jax.analysis.monte_carlo_dropout import monte_carlo_dropout
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Count, Probability, Share, Size
from cvdl_jax.core.task import Eval, Task, chain, descend, every
from cvdl_jax.data.augment import policy
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "optim", "compute_dtype", "remat", "study")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    methods: Mapping = {}  # {name: a section of `Method`}; "none" and "dropout" among them
    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    examples: Size = 200  # to train on,
    wrong: Probability = 0.0  # this share of them with labels drawn at random
    seeds: Size = 10
    patience: Count = 10  # of early stopping, in looks at the validation loss, one in
    look_every: Count = 20  # steps
    masks: Size = 30  # of the average over sub-networks


class Method(NamedTuple):
    """What one method changes; `model` and `optim` are added to those of the config."""

    model: Mapping = {}
    optim: Mapping = {}
    augment: str = ""
    label_smoothing: Share = 0.0


Network = namedtuple("Network", "model, optimizer, augment, loss, vmap", defaults=[jax.vmap])  # ready to train


def network(study, config, info, num_classes, name):
    """The Network of a method."""
    path = f"config.study.methods.{name}"
    method = configs.call(Method, study.methods[name], path)
    model = registry.create(
        {**config.model, **method.model}, f"{path}.model", kinds=("backbones",),
        num_classes=num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    counted = info._replace(steps_per_epoch=study.examples / info.batch_size)
    optimizer = recipe.optimizer({**config.optim, **method.optim}, counted, f"{path}.optim")
    loss = partial(softmax_cross_entropy, label_smoothing=method.label_smoothing)
    return Network(model, optimizer, policy.build(method.augment, num_classes, f"{path}.augment"), loss)


def draw(size, state, batch, key):
    """The batches of a step, [seeds, size, ...], the same ones for all methods."""
    rows = state.extra["rows"]
    picked = jax.random.randint(key, (len(rows), size), 0, rows.shape[1])
    rows, labels = (jnp.take_along_axis(x, picked, 1) for x in (rows, state.extra["labels"]))
    return state, {"image": state.extra["data"]["train"]["image"][rows], "label": labels}, {}


def training_loss(net, name, state, batch, key):
    """The sum over seeds of their mean losses, and the accuracy."""
    label, image = batch["label"], to_unit(batch["image"])
    if net.augment is not None:
        flat = {"image": image.reshape(-1, *image.shape[2:]), "label": label.reshape(-1)}
        image = net.augment.update(state, flat, jax.random.fold_in(key, 0))[1]["image"].reshape(image.shape)
    logits = seed_copies.train_scores(net.model, state.params[name], image, jax.random.fold_in(key, 1), net.vmap)
    hits = jax.vmap(correct)(logits, label)
    return state, {
        "loss": (jax.vmap(net.loss)(logits, label).sum(), jnp.full((), label.shape[1], jnp.float32)),
        "accuracy": (hits.sum(), jnp.full((), hits.size, jnp.float32)),
    }


def look(model, patience, state, batch, key):
    """Early stopping of the network "none", at one look."""
    data, params = state.extra["data"]["validation"], state.params["none"]
    loss = seed_copies.mean_losses(model, params, to_unit(data["image"]), data["label"])
    kept = seed_copies.stop_early(state.extra["early_stopping"], params, loss, patience)
    return state._replace(extra={**state.extra, "early_stopping": kept}), batch, {}


def accuracies(nets, masks, split, state, batch, key):
    """{"method/seed": (accuracy, 1)}, of early stopping and of the average over masks of dropout as well."""
    image, label = to_unit(state.extra["data"][split]["image"]), state.extra["data"][split]["label"]
    scores = {name: seed_copies.scores(net.model, state.params[name], image) for name, net in nets.items()}
    scores["early_stopping"] = seed_copies.scores(nets["none"].model, state.extra["early_stopping"]["params"], image)
    images, dropout = jnp.broadcast_to(image[None], (*scores["none"].shape[:1], *image.shape)), nets["dropout"].model
    scores["average_over_masks"], _ = monte_carlo_dropout(
        lambda k: jax.nn.softmax(seed_copies.train_scores(dropout, state.params["dropout"], images, k)), key, masks
    )
    of_seeds = {name: jax.vmap(lambda s: correct(s, label).mean())(s) for name, s in scores.items()}
    return {f"{name}/{i}": (a[i], jnp.ones(())) for name, a in of_seeds.items() for i in range(len(a))}


def report(step, state, batch, key):
    """Accuracies on the test set, and differences from the network without a regulariser."""
    sums = jax.jit(step)(state, batch, key)
    by_method = seed_comparison.by_method({name: total for name, (total, _) in sums.items()})
    return {"regularisers": seed_comparison.draw(by_method, "none", "test accuracy")}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Study, config.study, "config.study")
    for name in ("none", "dropout"):
        configs.check_name(name, study.methods, f"config.study.methods lacks {name!r}")
    loaded, data = recipe.whole_splits(study.data, "config.study.data", ("train", "validation", "test"))
    data = {name: {key: jnp.asarray(batch[key]) for key in ("image", "label")} for name, batch in data.items()}
    nets = {name: network(study, config, info, loaded.num_classes, name) for name in study.methods}

    def init(key: jax.Array, batch: dict) -> dict:
        first, *rest = jax.random.split(key, 4)
        params = seed_copies.initialise(nets["none"].model, first, to_unit(data["train"]["image"][:1]), study.seeds)
        order = jax.vmap(lambda k: jax.random.permutation(k, len(data["train"]["label"])))
        rows = order(jax.random.split(rest[0], study.seeds))[:, : study.examples]
        is_wrong = jax.random.uniform(rest[1], rows.shape) < study.wrong
        random = jax.random.randint(rest[2], rows.shape, 0, loaded.num_classes)
        extra = {"data": data, "rows": rows, "labels": jnp.where(is_wrong, random, data["train"]["label"][rows])}
        extra |= {"early_stopping": seed_copies.start_stopping(params, study.patience)}
        return {"params": {name: jax.tree.map(jnp.copy, params) for name in nets}, "extra": extra}

    steps = [descend(partial(training_loss, net, name), net.optimizer, on=name) for name, net in nets.items()]
    looks = every(study.look_every, partial(look, nets["none"].model, study.patience))
    step = partial(accuracies, nets, study.masks)
    evals = recipe.evaluations(lambda split: Eval(partial(step, split), seed_comparison.finalise("none"), data=1))
    return Task(
        init=init,
        train=chain(partial(draw, info.batch_size), *steps, looks),
        evals=evals | {"zeros": Eval(lambda state, batch, key: seed_copies.zeros(state.params), data=1)},
        report=partial(report, partial(step, "test")),
    )
