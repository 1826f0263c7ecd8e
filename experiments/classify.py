"""Image classification: any model, any classification loss, on any labelled set.

image: [b, h, w, c] in 0..1 (or features: [b, d]); label: [b]. `extra`: {"batch_stats", "ema"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.attacks.pgd import pgd
from cvdl_jax.config import configs
from cvdl_jax.core import gradients
from cvdl_jax.core import info as labelled
from cvdl_jax.core.task import Eval, Task, chain, descend, ema
from cvdl_jax.data import class_weights, pixels, test_time
from cvdl_jax.data.augment import policy
from cvdl_jax.metrics import classification
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification as losses
from cvdl_jax.optim import optimizer as optim
from cvdl_jax.optim import plateau


def inputs(normalise, batch):
    """What the model sees of a batch: normalised images [b, h, w, c] or features [b, d]."""
    return normalise(batch["image"] if "image" in batch else batch["features"])


def training_loss(model, normalise, loss, weigh, state, batch, key):
    """Sums of the weighted loss and the accuracy of one training batch."""
    (logits, _), state = apply_train(model, state, inputs(normalise, batch), key)
    hits, weight = classification.correct(logits, batch["label"]), weigh(labels=batch["label"])
    return state, {
        "loss": ((loss(logits, batch["label"]) * weight).sum(), weight.sum()),
        "accuracy": (hits.sum(), jnp.ones(len(hits)).sum()),
    }


def logits_of(model, normalise, state, batch, average="ema"):
    """Scores [b, num_classes], of the averaged weights where the run keeps an average (None: of the raw ones)."""
    params = state.extra.get(average)
    if params is None and average is not None:
        params = optim.averaged_params(state.opt.get("model"), state.params)  # of a schedule-free optimizer
    return apply_eval(model, state, inputs(normalise, batch), params=params)[0]


def evaluation_step(logits_fn, loss, state, batch, key):
    """Sums over the real rows of a padded batch, and the scores and labels of every row."""
    logits, mask = logits_fn(state, batch), batch["mask"]
    hits = classification.correct(logits, batch["label"])
    return {
        "loss": ((loss(logits, batch["label"]) * mask).sum(), mask.sum()),
        "accuracy": ((hits * mask).sum(), mask.sum()),
        "scores": logits,
        "label": batch["label"],
    }


def adversary(logits_fn, loss, attack, state, batch, key):
    """Replaces the images of a batch by adversarial ones for the present weights."""

    def each(image):
        return loss(logits_fn(state, {**batch, "image": image}), batch["label"])

    return state, {**batch, "image": attack(loss=each, x=batch["image"], key=key)}, {}


def finalise(means, rows):
    """Accuracy with its 95 % Wilson interval, and the loss."""
    n = len(rows["label"])
    low, high = intervals.wilson(round(means["accuracy"] * n), n)
    return {**means, "accuracy_low": low, "accuracy_high": high, "examples": n}


def predictions(logits_fn, class_names, state, batch, key):
    """What a reader wants to see: images with their classes, templates of a linear model, regions of the plane."""
    from cvdl_jax.analysis.figures import decision_regions, images

    if "image" not in batch:
        points = batch["features"]
        if points.shape[1:] != (2,):
            return {}
        scores = jax.jit(lambda x: logits_fn(state, {"features": x}))
        return {"decision_regions": decision_regions.regions(scores, points, batch["label"], class_names)}
    guess = jnp.argmax(logits_fn(state, batch), -1)
    found = {"predictions": images.image_grid(batch["image"], batch["label"], guess, class_names)}
    w = decision_regions.weights_of(state.extra.get("ema", state.params))
    if w is not None:
        found["templates"] = decision_regions.template_grid(w, batch["image"].shape[1:], class_names)
    return found


def make(config, info) -> Task:
    """The classification task of a configuration."""
    labelled.check(config, info)
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise = configs.partially(pixels.normalise, config.normalise, "config.normalise", "image")
    loss = configs.named(losses, config.loss, "config.loss", "logits", "labels")
    weigh = partial(class_weights.of_examples, config.class_weights or (), num_classes=info.num_classes)
    optimizer = configs.call(
        optim.optimizer, config.optim, "config.optim",
        total_steps=info.total_steps, steps_per_epoch=info.steps_per_epoch, batch_size=info.batch_size,
    )  # fmt: skip
    memory, on_eval = plateau.build(config.plateau, config.early_stopping) or ({}, None)
    logits_fn = partial(logits_of, model, normalise)
    if config.test_time:
        logits_fn = configs.call(test_time.averaged, config.test_time, "config.test_time", logits_fn=logits_fn)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(normalise, batch)[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **({"feedback": memory} if memory else {})}}

    step = partial(evaluation_step, logits_fn, loss)
    evals = {
        name: Eval(step, finalise, name, final=name == "test") for name in ("validation", "test") if name in info.sizes
    }
    attack = configs.partially(pgd, config.adversary, "config.adversary", "loss", "x", "key")
    raw_logits = partial(logits_of, model, normalise, average=None)
    train = [
        policy.build(config.augment, info.num_classes),
        partial(adversary, raw_logits, loss, attack) if config.adversary else None,
        descend(partial(training_loss, model, normalise, loss, weigh), optimizer, grad=gradients.build(config.grad)),
        configs.call(ema, config.ema, "config.ema") if config.ema else None,
    ]
    return Task(
        init=init,
        train=chain(*[t for t in train if t is not None]),
        evals=evals,
        report=partial(predictions, logits_fn, info.class_names),
        on_eval=on_eval,
        predict=lambda state, batch: {"scores": logits_fn(state, batch)},
    )
