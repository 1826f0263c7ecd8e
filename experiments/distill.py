"""Distillation: a student that learns from labels and from the answers of a teacher, on the same images.

    loss = (1 - share) loss(z, label) + share taught,    taught = T^2 KL(softmax(v / T), softmax(z / T))  ("soft")
                                                         taught = cross-entropy of z with argmax v        ("hard")

z and v are the scores of the student and of the teacher. image: [b, h, w, c] in 0..1, as augmented; label: [b].
`params`: those of the student; `extra`: {"batch_stats", "teacher": {"params", "batch_stats"}, which never change,
"ema"?, "ema_statistics"?, "feedback"?}. Evaluations, and predictions, are those of experiments/classify.py, without the
teacher; training also reports "taught" and "agreement", the share of images of which both name the same class.

Reference: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; Touvron et al. 2021, "Training
Data-Efficient Image Transformers & Distillation through Attention", equation 3 ("hard", with share=0.5).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, UpToOne
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import test_time
from cvdl_jax.engine import recipe, teachers
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_train, initialise
from cvdl_jax.ops.losses import classification, distillation
from experiments.classify import averaged_logits, evaluation_step, finalise, inputs, predictions, with_auxiliary

READS = (
    "model", "loss", "data", "normalise", "augment", "grad", "optim", "ema", "plateau", "early_stopping", "test_time",
    "compute_dtype", "remat", "distill",
)  # fmt: skip


class Distillation(NamedTuple):
    """The arguments of `config.distill`; those that name the teacher are described in `engine/teachers.py`."""

    workdir: str = ""
    checkpoint: str = "best"
    file: str = ""
    sha256: str = ""
    kind: Literal["soft", "hard"] = "soft"
    temperature: Positive | None = None  # of soft targets
    share: UpToOne = 0.5  # of the teacher in the loss


def check(distill):
    """Refuses soft targets without a temperature, and hard ones with one, which would have no effect."""
    soft = distill.kind == "soft"
    if soft != (distill.temperature is not None):
        what = (
            "needs a temperature, such as 4.0" if soft else f"has no temperature, got {distill.temperature}; clear it"
        )
        raise ConfigError(f"config.distill.temperature: kind={distill.kind!r} {what}")


def taught(distill, logits, targets):
    """The loss [b] of answering otherwise than the teacher."""
    if distill.kind == "hard":
        return distillation.hard_targets(logits, targets)
    return distillation.soft_targets(logits, targets, distill.temperature)


def training_loss(model, normalise, loss, teacher, distill, state, batch, key):
    """Sums of the loss, its part of the teacher, the accuracy and the agreement of one training batch."""
    (logits, out), state = apply_train(model, state, inputs(normalise, batch), key)
    targets = teachers.logits(teacher, state.extra[teachers.EXTRA], batch["image"])
    of_teacher = taught(distill, logits, targets)
    of_labels = with_auxiliary(loss(logits, batch["label"]), out, loss, batch["label"], None)
    losses = (1 - distill.share) * of_labels + distill.share * of_teacher
    hits, agree = correct(logits, batch["label"]), logits.argmax(-1) == targets.argmax(-1)
    values = {"loss": losses, "taught": of_teacher, "accuracy": hits, "agreement": agree.astype(jnp.float32)}
    return state, {name: (value.sum(), jnp.ones(len(losses)).sum()) for name, value in values.items()}


def make(config, info) -> Task:
    """The distillation of a configuration."""
    check_labelled(config, info)
    distill = configs.call(Distillation, config.distill, "config.distill")
    check(distill)
    source = {name: getattr(distill, name) for name in ("workdir", "checkpoint", "file", "sha256")}
    teacher = teachers.load(source, info)
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    loss = configs.named(classification, config.loss, "config.loss", "logits", "labels")
    logits_fn = partial(averaged_logits, model, normalise)
    if config.test_time:
        logits_fn = configs.call(test_time.averaged, config.test_time, "config.test_time", logits_fn=logits_fn)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, inputs(normalise, batch)[:1], False)
        kept = {teachers.EXTRA: jax.tree.map(jnp.asarray, teacher.variables)}
        return {"params": params, "extra": {"batch_stats": stats, **kept, **feedback.extra}}

    train_loss = partial(training_loss, model, normalise, loss, teacher, distill)
    step = partial(evaluation_step, logits_fn, loss)
    return Task(
        init=init,
        train=chain(
            recipe.augmentation(config, info),
            recipe.descend(config, info, train_loss),
            recipe.average(config, train_loss),
        ),
        evals=recipe.evaluations(partial(Eval, step, finalise), info.sizes),
        report=partial(predictions, logits_fn, info.class_names),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"scores": logits_fn(state, batch)},
    )
