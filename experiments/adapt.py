"""Unsupervised domain adaptation: labels of one set, and images without labels of another, whose classes are learned.

image: [b, h, w, c] in 0..1, label: [b], of the source, `config.data`. Every row gets an image of the target's training
split, `config.target`, drawn anew in every step: "target" [b, h, w, c], and for the oracle alone "target_label" [b].
`config.adapt` names the method (`ops/losses/adaptation.py`): source, dann, coral or oracle. `params`: {"classifier",
"domain"? (of dann)}; `extra`: {"batch_stats", "target": {"image", "label"?}, "target_test": {"image", "label"},
"feedback"?}: stored images of the target; the labels of its training split are there for the oracle alone.
Batch statistics are of the images of one domain at a time. Evaluations: "validation" and "test" of the source, and
"target" once at the end, of the target's test split.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.core.info import check_labelled
from cvdl_jax.core.parallel import gather_rows, row_random
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.engine.target_domain import target_images
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.nn.domain_classifier import DomainClassifier
from cvdl_jax.ops import domain_adaptation as domains
from cvdl_jax.ops.losses import adaptation
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "data", "target", "adapt", "normalise", "augment", "grad", "optim", "plateau", "early_stopping",
         "compute_dtype", "remat")  # fmt: skip
CHUNK = 256  # target images that are evaluated at a time


def with_target(state, batch, key):
    """Gives every row a random example of the target's training split."""
    stored = state.extra["target"]
    size = len(stored["image"])
    place = row_random(lambda k, s: jax.random.randint(k, s, 0, size), key, (len(batch["image"]),))
    more = {"target": to_unit(stored["image"][place])}
    more |= {"target_label": stored["label"][place]} if "label" in stored else {}
    return state, {**batch, **more}, {}


def of_target(augment, state, batch, key):
    """The augmentation of the source's images, for the target's."""
    changed = augment.update(state, {"image": batch["target"]}, key)[1]["image"]
    return state, {**batch, "target": changed}, {}


def training_loss(method, model, normalise, total_steps, state, batch, key):
    """Sums of the classification of labelled images, and of what the method adds."""
    keys, own = jax.random.split(key), ("target", "target_label") if method.target_labels else ("image", "label")
    (logits, out), state = apply_train(model, state, normalise(batch[own[0]]), keys[0], on="classifier")
    losses, hits = softmax_cross_entropy(logits, batch[own[1]]), correct(logits, batch[own[1]])
    parts = {"classification": losses, "accuracy": hits}
    if method.weight:
        seen = normalise(batch["target"])
        (other, more), state = apply_train(model, state, seen, keys[1], on="classifier")
        if method.name == "dann":
            strength = domains.adaptation_strength(state.step / total_steps, method.steepness)
            judge = partial(DomainClassifier(method.units).apply, {"params": state.params["domain"]})
            ours, theirs = (judge(domains.reversed_gradient(x["pre_logits"], strength)) for x in (out, more))
            parts["adaptation"] = domains.domain_losses(ours, theirs)
            parts["domain_accuracy"] = ((ours > 0).astype(losses.dtype) + (theirs <= 0)) / 2
        else:
            distance = domains.coral_distance(*gather_rows((logits, other)))
            parts["adaptation"] = jnp.broadcast_to(distance, losses.shape)
        losses = losses + method.weight * parts["adaptation"]
    count = jnp.ones(len(losses)).sum()
    return state, {name: (x.sum(), count) for name, x in {"loss": losses, **parts}.items()}


def scores(model, normalise, state, image):
    """Logits [b, classes] of images in 0..1."""
    return apply_eval(model, state, normalise(image), on="classifier")[0]


def evaluation_step(logits_of, state, batch, key):
    """Sums over the real rows of a batch of the source."""
    logits, mask = logits_of(state, batch["image"]), batch["mask"]
    parts = {"loss": softmax_cross_entropy(logits, batch["label"]), "accuracy": correct(logits, batch["label"])}
    sums = {name: ((x * mask).sum(), mask.sum()) for name, x in parts.items()}
    return {**sums, "scores": logits, "label": batch["label"]}


def target_step(logits_of, state, batch, key):
    """The mean over the target's whole test split."""
    stored = state.extra["target_test"]
    logits = lax.map(lambda x: logits_of(state, to_unit(x)[None])[0], stored["image"], batch_size=CHUNK)
    return {"accuracy": (correct(logits, stored["label"]).mean(), jnp.ones(()))}


def report(logits_of, class_names, state, batch, key):
    """Images of the source, and of the target's test split, with their predicted classes."""
    from cvdl_jax.analysis.figures.images import image_grid

    stored, n = state.extra["target_test"], len(batch["image"])
    shown = {"source": (batch["image"], batch["label"])}
    shown["target"] = to_unit(stored["image"][:n]), stored["label"][:n]
    return {name: image_grid(x, y, logits_of(state, x).argmax(-1), class_names) for name, (x, y) in shown.items()}


def make(config, info) -> Task:
    """The task of a configuration."""
    check_labelled(config, info)
    if config.batch_stats != "running":
        raise ConfigError(f"config.batch_stats={config.batch_stats!r} would not be those of the target; use 'running'")
    method = configs.named(adaptation, config.adapt, "config.adapt")()
    stored = target_images(config, info, method.target_labels)
    model = registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    )  # fmt: skip
    normalise, feedback = recipe.normalisation(config), recipe.feedback(config)
    logits_of, augment = partial(scores, model, normalise), recipe.augmentation(config, info)

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(model, key, normalise(batch["image"])[:1], False)
        params = {"classifier": params}
        if method.units:
            out = model.apply({"params": params["classifier"], "batch_stats": stats}, batch["image"][:1], False)[1]
            key = jax.random.fold_in(key, 1)
            params["domain"] = DomainClassifier(method.units).init(key, out["pre_logits"])["params"]
        kept = jax.tree.map(jnp.asarray, stored)
        return {"params": params, "extra": {"batch_stats": {"classifier": stats}, **kept, **feedback.extra}}

    loss = partial(training_loss, method, model, normalise, info.total_steps)
    both = augment and chain(augment, partial(of_target, augment))
    finalise = lambda means, rows: intervals.with_wilson(means, len(rows["label"]))  # noqa: E731
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, logits_of), finalise), info.sizes)
    n = len(stored["target_test"]["label"])
    evals["target"] = Eval(
        partial(target_step, logits_of), lambda means, rows: intervals.with_wilson(means, n), data=1, final=True
    )
    return Task(
        init, chain(with_target, both, recipe.descend(config, info, loss)), evals,
        partial(report, logits_of, info.class_names), feedback.on_eval,
        predict=lambda state, batch: {"scores": logits_of(state, batch["image"])},
    )  # fmt: skip
