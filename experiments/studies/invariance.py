"""Invariance gained from augmentation: one network trained as it is, its twin on images that are turned and moved.

Both begin at the same weights and see the same images in the same order; `config.augment` is the only difference. Each
evaluation transforms the images by the same policy and asks of both, and of the weights they began with, whether the
answers stay. params: {"plain", "augmented"}; extra: {"initial"}.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.core.task import Task, chain
from cvdl_jax.data.augment import policy
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import invariance
from cvdl_jax.metrics.classification import correct
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.images import affine
from cvdl_jax.ops.losses.classification import softmax_cross_entropy

READS = ("model", "data", "normalise", "augment", "grad", "optim", "compute_dtype", "remat")
TRAINED = ("plain", "augmented")


def predict(model, normalise, params, image):
    """Scores [b, classes] of images."""
    return apply_params(model, params, normalise(image), False)[0]


def training_loss(scores, name, state, batch, key):
    """Cross-entropy and accuracy of one network."""
    logits = scores(state.params[name], batch["image"])
    losses, hits = softmax_cross_entropy(logits, batch["label"]), correct(logits, batch["label"])
    weight = jnp.full((), len(losses), losses.dtype)
    return state, {"loss": (losses.sum(), weight), "accuracy": (hits.sum(), weight)}


def turned(classifiers, state, batch, key):
    """The figure of a report: the share of answers that stay when its images are turned, against the angle."""
    from cvdl_jax.analysis.figures.curves import panels

    images, angles = batch["image"], jnp.arange(-90.0, 91.0, 5.0)

    @jax.jit
    def unchanged(angle):
        warps = affine.rotation(jnp.full(len(images), angle))
        compare = partial(invariance.consistency, transform=lambda x, k: affine.warp(x, warps), images=images, key=key)
        return {name: compare(partial(of, state))[0] for name, of in classifiers.items()}

    at_angles = [jax.device_get(unchanged(angle)) for angle in angles]
    figure, (axis,) = panels([(f"{len(images)} images", "turned by, degrees", "unchanged predictions")])
    for name in classifiers:
        axis.plot(angles, [shares[name] for shares in at_angles], label=name)
    axis.set_ylim(0, 1.02)
    axis.legend(fontsize=7)
    return {"turned": figure}


def make(config, info) -> Task:
    """The two networks of this study."""
    augment = policy.build(config.augment)
    if augment is None or info.num_classes is None:
        raise ConfigError(
            "experiment 'studies.invariance' needs a policy and a set with classes; set config.augment='rotate(30)'"
        )
    model = recipe.without_dropout(registry.create(
        config.model, "config.model", kinds=("backbones",),
        num_classes=info.num_classes, dtype=config.compute_dtype, remat=config.remat,
    ))  # fmt: skip
    scores = partial(predict, model, recipe.normalisation(config))

    def init(key: jax.Array, batch: dict) -> dict:
        params = model.init(key, batch["image"][:1], False)["params"]
        twins = {name: jax.tree.map(jnp.copy, params) for name in TRAINED}
        return {"params": twins, "extra": {"initial": jax.tree.map(jnp.copy, params)}}

    classifiers = {name: lambda state, x, name=name: scores(state.params[name], x) for name in TRAINED}
    classifiers = {"initial": lambda state, x: scores(state.extra["initial"], x)} | classifiers
    plain, augmented = (recipe.descend(config, info, partial(training_loss, scores, n), on=n) for n in TRAINED)
    evaluation = partial(invariance.evaluation, classifiers, invariance.of_images(augment))
    evals = recipe.evaluations(evaluation, info.sizes)
    return Task(init, chain(plain, augment, augmented), evals, report=partial(turned, classifiers))
