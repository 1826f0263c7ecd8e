"""Does a classifier answer the same when the image is changed? Consistency under a transformation."""

from collections.abc import Callable, Mapping
from typing import Any

import jax

from cvdl_jax.core import parallel
from cvdl_jax.core.task import Eval, Transform
from cvdl_jax.metrics.classification import correct
from cvdl_jax.ops.losses.divergences import kl_divergence_of_logits


def agreement(before: jax.Array, after: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Whether two predictions are of one class, and how far the probabilities move.

        argmax l = argmax m,    KL(softmax l || softmax m)

    Args:
        before: logits l [b, classes].
        after: logits m [b, classes].

    Returns:
        (1 or 0 [b], divergence in nats [b]), both float.
    """
    same = (before.argmax(-1) == after.argmax(-1)).astype(before.dtype)
    return same, kl_divergence_of_logits(before, after)


def consistency(
    logits_fn: Callable[[jax.Array], jax.Array], transform: Callable, images: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How far a classifier's answers stay when images are transformed.

    A constant classifier is perfectly consistent, so read this beside the accuracy.

    Args:
        logits_fn: images [b, h, w, c] -> [b, classes].
        transform: (images, key) -> images.
        images: [b, h, w, c].
        key: a typed key.

    Returns:
        (share of unchanged predictions [], mean KL divergence in nats []); of every image in `agreement`.
    """
    same, divergence = agreement(logits_fn(images), logits_fn(transform(images, key)))
    return same.mean(), divergence.mean()


def of_images(policy: Transform) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """An augmentation policy without labels as (images, key) -> images; what is drawn for an image is its own."""

    def change(images: jax.Array, key: jax.Array) -> jax.Array:
        with parallel.rows_known_by(parallel.contents(images)):
            return policy.update(None, {"image": images}, key)[1]["image"]

    return change


def evaluation(
    classifiers: Mapping[str, Callable[[Any, jax.Array], jax.Array]],
    transform: Callable,
    data: str = "validation",
) -> Eval:
    """Consistency and accuracy of classifiers on a split, all on the same transformed images.

    Args:
        classifiers: {name: (state, images) -> logits [b, classes]}.
        transform: (images, key) -> images.
        data: name of the split.

    Returns:
        An Eval with the metrics `NAME_consistency`, `NAME_kl`, `NAME_accuracy` and `NAME_accuracy_transformed`.
    """

    def step(state: Any, batch: Mapping, key: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        mask, images, label, sums = batch["mask"], batch["image"], batch["label"], {}
        changed = transform(images, key)
        for name, classifier in classifiers.items():
            before, after = classifier(state, images), classifier(state, changed)
            same, divergence = agreement(before, after)
            per_image = {"consistency": same, "kl": divergence}
            per_image |= {"accuracy": correct(before, label), "accuracy_transformed": correct(after, label)}
            sums |= {f"{name}_{metric}": ((values * mask).sum(), mask.sum()) for metric, values in per_image.items()}
        return sums

    return Eval(step, data=data)
