"""What wrong labels cost: one network for each share of wrong labels, from the same weights, on the same images.

Only labels of the training split are made wrong. Beside the accuracy on the test split stands what was learned of the
wrong labels by heart: the share of the mislabelled training images that get their wrong label, and their true one.
There are no batches of data: every step draws images, the same for all networks. `params`: {"networks": leaves [shares,
...]}; `extra`: {"train": {"image" [n, h, w, c], "true" [n], "noisy" [n, shares], "wrong" [n, shares]}, "validation",
"test": {"image", "true"}}.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Probability
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import label_noise
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "grad", "optim", "compute_dtype", "study")
SPLITS = ("train", "validation", "test")


class Study(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, with train, validation and test
    kind: label_noise.Kind = "symmetric"
    shares: tuple[Probability, ...] = (0.0, 0.2, 0.4, 0.6)  # of wrong labels
    examples: Counted = 0  # only so many of each split; 0 for all


def load(study, seed):
    """{split: {entry: array}}, {number of classes}."""
    data, splits = recipe.whole_splits(study.data, "config.study.data", SPLITS, study.examples)
    arrays = {name: {"image": jnp.asarray(x["image"]), "true": jnp.asarray(x["label"])} for name, x in splits.items()}
    noisy = [
        label_noise.corrupted(splits["train"]["label"], share, data.num_classes, study.kind, seed)
        for share in study.shares
    ]
    unseen = [share for share, one in zip(study.shares, noisy, strict=True) if share and not one.wrong.any()]
    if unseen or len(set(study.shares)) < len(study.shares):
        why = f"{unseen[0]:g} of {len(noisy[0].wrong)} images is none" if unseen else "one is named twice"
        raise ConfigError(f"config.study.shares={study.shares}: {why}; name other shares")
    arrays["train"]["noisy"] = jnp.stack([jnp.asarray(one.label) for one in noisy], 1)
    arrays["train"]["wrong"] = jnp.stack([jnp.asarray(one.wrong) for one in noisy], 1)
    return arrays, data.num_classes


def scores(model, params, image):
    """Scores of all networks for the same images, [shares, b, c]."""
    return jax.vmap(lambda p: apply_params(model, p, to_unit(image), False)[0])(params)


def draw(size, state, batch, key):
    """The images and labels of a step."""
    rows = jax.random.randint(key, (size,), 0, len(state.extra["train"]["image"]))
    return state, {name: state.extra["train"][name][rows] for name in ("image", "noisy")}, {}


def training_loss(model, state, batch, key):
    """Summed over the networks: each has parameters of its own, and so the gradient of its own mean."""
    logits = scores(model, state.params["networks"], batch["image"])
    losses = jax.vmap(softmax_cross_entropy)(logits, batch["noisy"].T)  # [shares, b]
    return state, {"loss": (losses.sum(), jnp.full((), losses.shape[1], losses.dtype))}


def evaluation_step(model, shares, split, state, batch, key):
    """Accuracies on a split, and what the networks say of mislabelled training images."""
    one = jnp.ones(())
    of = lambda name: scores(model, state.params["networks"], state.extra[name]["image"])  # noqa: E731
    logits, sums = of(split), {}
    learned, train = of("train"), state.extra["train"]
    for i, share in enumerate(shares):
        sums[f"accuracy_{share:g}"] = (correct(logits[i], state.extra[split]["true"]).mean(), one)
        wrong = train["wrong"][:, i].astype(logits.dtype)
        for name, labels in (("noisy", train["noisy"][:, i]), ("true", train["true"])):
            hits = correct(learned[i], labels)
            sums[f"train_{name}_{share:g}"] = (hits.mean(), one)
            if share:
                sums[f"mislabelled_as_{name}_{share:g}"] = ((hits * wrong).sum() / wrong.sum(), one)
    return sums


def make(config, info) -> Task:
    """The networks of this study."""
    study = configs.call(Study, config.study, "config.study")
    data, num_classes = load(study, info.seed)
    model = recipe.without_dropout(registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=num_classes, dtype=config.compute_dtype,
    ))  # fmt: skip

    def init(key: jax.Array, batch: dict) -> dict:
        params = model.init(key, to_unit(data["train"]["image"][:1]), False)["params"]
        alike = jax.tree.map(lambda x: jnp.stack([x] * len(study.shares)), params)
        return {"params": {"networks": alike}, "extra": data}

    def evaluation(split):
        n, names = len(data[split]["true"]), [f"accuracy_{share:g}" for share in study.shares]
        step = partial(evaluation_step, model, study.shares, split)
        return Eval(step, lambda means, rows: intervals.with_wilson(means, n, names), data=1)

    train = chain(partial(draw, info.batch_size), recipe.descend(config, info, partial(training_loss, model)))
    return Task(init=init, train=train, evals=recipe.evaluations(evaluation))
