"""Pretext tasks: a backbone classifies how an image was turned, or its tiles exchanged; then probes of its features.

image: [b, h, w, c] in 0..1, after `config.augment`; label: int [b], which only the probes see; index: int [b] for their
bank. `config.pretext` names a task of `data/pretext.py`, which draws a label for each image and shows it accordingly.
`params`: {"encoder"}, with the task's scores as its head; `extra`: {"batch_stats": {"encoder"}, "probe"?, "feedback"?}.
Evaluations: "validation" and "test", probes of the features of images as they are (`metrics/representation.py`);
"validation_pretext" and "test_pretext", the accuracy of the task, with labels that depend on the seed.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import pretext
from cvdl_jax.engine import recipe
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import self_supervised
from cvdl_jax.models.self_supervised import ENCODER
from cvdl_jax.nn.apply import apply_eval, apply_train
from cvdl_jax.ops.losses.classification import softmax_cross_entropy
from cvdl_jax.optim.ema import averaged

READS = ("model", "pretext", "probe", "data", "normalise", "augment", "grad", "optim", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip


def training_loss(method, state, batch, key):
    """Sums over the rows, whose images the task has changed."""
    (scores, _), state = apply_train(method.encoder, state, method.normalise(batch["image"]), key, on=ENCODER)
    losses, hits = softmax_cross_entropy(scores, batch[pretext.PRETEXT]), correct(scores, batch[pretext.PRETEXT])
    count = jnp.ones(len(losses)).sum()
    return state, {"loss": (losses.sum(), count), "pretext_accuracy": (hits.sum(), count)}


def pretext_step(method, task, state, batch, key):
    """The task's accuracy over the real rows."""
    _, shown, _ = pretext.draw(task, state, batch, key)
    scores, _ = apply_eval(method.encoder, averaged(state), method.normalise(shown["image"]), on=ENCODER)
    hits, mask = correct(scores, shown[pretext.PRETEXT]), batch["mask"]
    return {"accuracy": ((hits * mask).sum(), mask.sum()), "right": hits}


def finalise(means, rows):
    """The accuracy with its interval."""
    return intervals.with_wilson(means, len(rows["right"]))


def report(task, state, batch, key):
    """Images, and what the task makes of them."""
    from cvdl_jax.analysis.figures.images import mosaic

    few = {name: batch[name][:12] for name in ("image", "label") if name in batch}
    shown = pretext.draw(task, state, few, key)[1]["image"]
    return {"pretext": mosaic(jnp.concatenate([few["image"], shown]), columns=len(shown))}


def make(config, info) -> Task:
    """The task of a configuration."""
    task = pretext.chosen(config.pretext, info.num_classes if "label" in info.spec else None)
    method, feedback = self_supervised.make_method(config, info, task.classes), recipe.feedback(config)
    loss = partial(training_loss, method)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats, probe = self_supervised.initial(method, key, batch)
        return {"params": params, "extra": {"batch_stats": stats, **probe, **feedback.extra}}

    probes = self_supervised.evaluation(method, partial(self_supervised.features, method))
    evals = recipe.evaluations(probes.get, info.sizes if probes else ())
    step = partial(pretext_step, method, task)
    evals |= {f"{split}_pretext": Eval(step, finalise, split, final=split == "test")
              for split in recipe.EVALUATED if split in info.sizes}  # fmt: skip
    return Task(
        init=init,
        train=chain(recipe.augmentation(config, info), partial(pretext.draw, task), recipe.descend(config, info, loss)),
        evals=evals,
        report=partial(report, task),
        on_eval=feedback.on_eval,
        predict=lambda state, batch: {"features": self_supervised.features(method, state, batch)},
    )
