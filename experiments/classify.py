"""Image classification: any model, any classification loss, on any labelled set.

image: [b, h, w, c] in 0..1 (or features: [b, d]); label: [b].
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import class_weights, test_time
from cvdl_jax.engine import adversarial, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import classification
from cvdl_jax.optim.ema import averaged

READS = (
    "model", "loss", "data", "normalise", "class_weights", "auxiliary_weight", "augment", "adversary", "robust", "grad",
    "optim", "ema", "plateau", "early_stopping", "test_time", "compute_dtype", "remat",
)  # fmt: skip


def inputs(normalise, batch):
    """What the model sees of a batch: normalised images [b, h, w, c] or features [b, d]."""
    return normalise(batch["image"] if "image" in batch else batch["features"])


def with_auxiliary(losses, out, loss, labels, weight):
    """Losses [b] plus `weight` times those of the model's auxiliary classifiers, which only training has."""
    heads = out.get("auxiliary", ())
    if bool(heads) != (weight is not None):
        raise ConfigError(
            f"config.auxiliary_weight={weight}, and the model has {len(heads)} auxiliary classifiers in training; set "
            "both config.model.auxiliary=True and a weight such as config.auxiliary_weight=0.3, or neither"
        )
    return losses + weight * sum(loss(logits, labels) for logits in heads) if heads else losses


def training_loss(model, normalise, loss, weigh, auxiliary, state, batch, key):
    """Sums of the weighted loss and the accuracy of one training batch."""
    (logits, out), state = apply_train(model, state, inputs(normalise, batch), key)
    hits, weight = correct(logits, batch["label"]), weigh(labels=batch["label"])
    losses = with_auxiliary(loss(logits, batch["label"]), out, loss, batch["label"], auxiliary)
    return state, {
        "loss": ((losses * weight).sum(), weight.sum()),
        "accuracy": (hits.sum(), jnp.ones(len(hits)).sum()),
    }


def logits_of(model, normalise, state, batch):
    """Scores [b, num_classes] of the present weights."""
    return apply_eval(model, state, inputs(normalise, batch))[0]


def averaged_logits(model, normalise, state, batch):
    """Scores [b, num_classes] of the averaged weights, by their own statistics, where the run keeps an average."""
    return logits_of(model, normalise, averaged(state), batch)


def evaluation_step(logits_fn, loss, state, batch, key):
    """Sums over the real rows of a padded batch, and the scores and labels of every row."""
    logits, mask = logits_fn(state, batch), batch["mask"]
    hits = correct(logits, batch["label"])
    return {
        "loss": ((loss(logits, batch["label"]) * mask).sum(), mask.sum()),
        "accuracy": ((hits * mask).sum(), mask.sum()),
        "scores": logits,
        "label": batch["label"],
    }


def finalise(means, rows):
    """Accuracies with their 95 % Wilson intervals, and the loss."""
    return {**intervals.with_wilson(means, len(rows["label"])), "examples": len(rows["label"])}


def predictions(logits_fn, class_names, state, batch, key):
    """Images with their classes; templates of a linear model, positions of a ViT, regions of the plane."""
    from cvdl_jax.analysis.figures import decision_regions, images, positions

    if "image" not in batch:
        points = batch["features"]
        if points.shape[1:] != (2,):
            return {}
        scores = jax.jit(lambda x: logits_fn(state, {"features": x}))
        return {"decision_regions": decision_regions.regions(scores, points, batch["label"], class_names)}
    guess = jnp.argmax(logits_fn(state, batch), -1)
    figures = {"predictions": images.image_grid(batch["image"], batch["label"], guess, class_names)}
    params, shape = averaged(state).params, batch["image"].shape[1:]
    w, alike = decision_regions.weights_of(params), positions.similarities(params, shape)
    if w is not None:
        figures["templates"] = decision_regions.template_grid(w, shape, class_names)
    if alike is not None:
        figures["positions"] = positions.draw(alike)
    return figures


def make(config, info) -> Task:
    """The classification task of a configuration."""
    check_labelled(config, info)
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise = recipe.normalisation(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    weigh = partial(class_weights.of_examples, config.class_weights or (), num_classes=info.num_classes)
    feedback = recipe.feedback(config)
    logits_fn = partial(averaged_logits, model, normalise)
    if config.test_time:
        logits_fn = configs.call(test_time.averaged, config.test_time, "config.test_time", logits_fn=logits_fn)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(normalise, batch)[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    train_loss = partial(training_loss, model, normalise, loss, weigh, config.auxiliary_weight)
    step = partial(evaluation_step, logits_fn, loss)
    step = adversarial.evaluation(config, info, step, logits_fn, loss)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            adversarial.training(config, info, partial(logits_of, model, normalise), loss),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(predictions, logits_fn, info.class_names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"scores": logits_fn(state, batch)},
    )
