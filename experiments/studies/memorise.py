"""Memorisation of random labels: one architecture, the same images, once with their labels and once with random ones.

Zhang et al. 2017: a network that generalises can also fit labels without any meaning, so capacity alone does not
explain generalisation. There are no batches of data: every step draws examples, the same ones for both networks.
`params`: {"true", "random"}; `extra`: {"train", "validation": {"image": [n, h, w, c], "true", "random": int [n]}}.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.ops.textbook.risk import risk

READS = ("model", "grad", "optim", "compute_dtype", "study")
LABELS = ("true", "random")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train and validation
    examples: Counted = 0  # only so many of each split; 0 for all


def load(study, seed):
    """{split: {"image", "true", "random"}}, {number of classes}: random labels are drawn uniformly, once."""
    names = "train", "validation"
    data, splits = recipe.whole_splits(study.data, "config.study.data", names, study.examples)
    labelled = {}
    for i, (name, batch) in enumerate(splits.items()):
        size = len(batch["label"])
        random = np.random.default_rng([seed, i]).integers(data.num_classes, size=size, dtype=np.int32)
        labelled[name] = {"image": jnp.asarray(batch["image"]), "true": jnp.asarray(batch["label"]), "random": random}
    return labelled, data.num_classes


def predict(model, params, image):
    """Scores [b, c] of images."""
    return apply_params(model, params, to_unit(image), False)[0]


def draw(size, state, batch, key):
    """The batch of a step: examples with both kinds of label, so that both networks see the same images."""
    rows = jax.random.randint(key, (size,), 0, len(state.extra["train"]["image"]))
    return state, jax.tree.map(lambda x: x[rows], state.extra["train"]), {}


def training_loss(model, labels, state, batch, key):
    """Cross-entropy and accuracy of one network."""
    scores = predict(model, state.params[labels], batch["image"])
    losses, hits = softmax_cross_entropy(scores, batch[labels]), correct(scores, batch[labels])
    weight = jnp.full((), len(losses), losses.dtype)
    return state, {"loss": (losses.sum(), weight), "accuracy": (hits.sum(), weight)}


def evaluation_step(model, state, batch, key):
    """Risks and accuracies in and out of the sample, and the gap, for true and for random labels."""
    risks = {}
    for labels in LABELS:
        for split in ("train", "validation"):
            data = state.extra[split]
            of = partial(
                risk, h=partial(predict, model), params=state.params[labels], batch=(data["image"], data[labels])
            )
            risks[f"{labels}_{split}_loss"] = of(softmax_cross_entropy)
            risks[f"{labels}_{split}_accuracy"] = of(correct)
        for name in ("loss", "accuracy"):
            risks[f"{labels}_{name}_gap"] = risks[f"{labels}_validation_{name}"] - risks[f"{labels}_train_{name}"]
    return {name: (value, jnp.ones((), value.dtype)) for name, value in risks.items()}


def make(config, info) -> Task:
    """The two networks of this study."""
    study = configs.call(Study, config.study, "config.study")
    data, num_classes = load(study, info.seed)
    model = recipe.without_dropout(registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=num_classes, dtype=config.compute_dtype,
    ))  # fmt: skip

    def init(key: jax.Array, batch: dict) -> dict:
        params = model.init(key, to_unit(data["train"]["image"][:1]), False)["params"]
        params = {labels: jax.tree.map(jnp.copy, params) for labels in LABELS}  # both begin at the same weights
        return {"params": params, "extra": jax.tree.map(jnp.asarray, data)}

    steps = [recipe.descend(config, info, partial(training_loss, model, labels), on=labels) for labels in LABELS]

    def finalise(means: dict, rows: dict) -> dict:
        names = [f"{labels}_validation_accuracy" for labels in LABELS]  # in the sample they are no estimate
        return intervals.with_wilson(means, len(data["validation"]["image"]), names)

    evals = {"risk": Eval(partial(evaluation_step, model), finalise, 1)}
    return Task(init=init, train=chain(partial(draw, info.batch_size), *steps), evals=evals)
