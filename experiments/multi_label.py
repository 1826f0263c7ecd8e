"""Multi-label classification: which of the classes an image has, each one a decision of its own.

image: [b, h, w, c] in 0..1 (or features: [b, d]); label: float [b, k], 1 for every class that is there, which
`config.data.label_set` makes of a list of classes such as "objects/label".
`extra`: {"batch_stats", "ema"?, "ema_statistics"?, "feedback"?}.
Evaluations: "validation" during training, "test" once at the end on the selected checkpoint.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import multi_label as measures
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_train, initialise
from cvdl_jax.ops.losses import multi_label
from experiments.classify import averaged_logits, inputs, with_auxiliary

READS = ("model", "loss", "data", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype", "remat", "auxiliary_weight")  # fmt: skip


def training_loss(model, normalise, loss, auxiliary, state, batch, key):
    """Sums of the loss and of right decisions of one training batch."""
    (logits, out), state = apply_train(model, state, inputs(normalise, batch), key)
    losses = with_auxiliary(loss(logits, batch["label"]), out, loss, batch["label"], auxiliary)
    right = ((logits > 0) == (batch["label"] > 0.5)).mean(-1)
    count = jnp.ones(len(losses)).sum()
    return state, {"loss": (losses.sum(), count), "label_accuracy": (right.sum(), count)}


def evaluation_step(logits_fn, loss, state, batch, key):
    """Sums of the loss over real rows, and the scores and labels [b, k] of every row."""
    logits, mask = logits_fn(state, batch), batch["mask"]
    losses = loss(logits, batch["label"])
    return {"loss": ((losses * mask).sum(), mask.sum()), "scores": logits, "label": batch["label"]}


def finalise(means, rows):
    """The loss, and the measures of `metrics/multi_label.py`; of exact matches with their 95 % Wilson interval."""
    n = len(rows["label"])
    values = {**means, **measures.metrics(rows["label"], rows["scores"])}
    return {**intervals.with_wilson(values, n, ["exact_match"]), "examples": n}


def report(logits_fn, class_names, state, batch, key):
    """Images with the classes that were found; what is missing or too much is in red."""
    from cvdl_jax.analysis.figures import images

    if "image" not in batch:
        return {}
    return {"predictions": images.label_grid(batch["image"], batch["label"], logits_fn(state, batch) > 0, class_names)}


def check(config, info):
    """Refuses data without inputs or without a 0 or 1 for each class. Raises ConfigError."""
    label = info.spec.get("label")
    if not {"image", "features"} & info.spec.keys():
        raise ConfigError(f"config.data.features={tuple(info.spec)}: 'multi_label' needs 'image' or 'features'")
    if label is None or label.shape[1:] != (info.num_classes,) or not config.data.get("label_set"):
        raise ConfigError(
            f"config.data.name={config.data.get('name', '')!r}: experiment 'multi_label' needs a list of classes in "
            "each example; name the entry: --config.data.label_set=objects/label"
        )


def predicted(logits_fn, state, batch):
    """The scores of every class, and their probabilities, each by itself."""
    logits = logits_fn(state, batch)
    return {"logits": logits, "probabilities": jax.nn.sigmoid(logits)}


def make(config, info) -> Task:
    """The multi-label task of a configuration."""
    check(config, info)
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    loss = configs.named(multi_label, config.loss, "config.loss", "logits", "labels")
    logits_fn = partial(averaged_logits, model, normalise)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(normalise, batch)[:1], False)
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    train_loss, step = (
        partial(training_loss, model, normalise, loss, config.auxiliary_weight),
        partial(evaluation_step, logits_fn, loss),
    )
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(report, logits_fn, info.class_names),
        on_eval=feedback.on_eval,
        predict=partial(predicted, logits_fn),
    )
