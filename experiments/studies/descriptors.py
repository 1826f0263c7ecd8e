"""Descriptors made by hand and a linear SVM: pixels, histograms of oriented gradients, Fisher vectors of dense SIFT.

What a descriptor learns (the components and the mixture of Fisher vectors) it learns from the training split, the cost
of the SVM is chosen on the validation split, and the accuracy is that of the test split, looked at once.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.embedding import gaussian_mixture, pca
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.classical import fisher_vectors, linear_svm, sift
from cvdl_jax.ops.images.hog import hog

READS = ("study",)
SPLITS = ("train", "validation", "test")
FLOOR = 1e-5  # of the variances of the mixture
UNREAD = {"pixels": ("cell", "step", "components", "mixture"), "hog": ("step", "components", "mixture"),
          "fisher": ("cell",)}  # fmt: skip


class Descriptors(NamedTuple):
    """The arguments of `config.study`."""

    descriptor: Literal["pixels", "hog", "fisher"] = "hog"
    data: Mapping = {}  # a section as `config.data`, with three splits
    limit: Size = 2000  # examples of a split
    cell: Size = 7  # side of a cell of HOG in pixels; of SIFT 3
    step: Size = 4  # pixels between descriptors of SIFT
    components: Size = 32  # of these descriptors
    mixture: Size = 8  # Gaussians
    costs: tuple[Positive, ...] = (0.01, 0.1, 1.0, 10.0)  # of which the validation split chooses


def fisher_of(study, seed, images):
    """Improved Fisher vectors {split: [n, d]} of images {split: [n, h, w, c]}; the training split alone is fitted."""
    parts = {name: sift.dense(x.mean(-1), 3, study.step) for name, x in images.items()}
    if study.components > parts["train"].shape[-1]:
        most = f"{parts['train'].shape[-1]}, which a descriptor has"
        raise ConfigError(f"config.study.components={study.components} is more than {most}")
    rows = parts["train"].reshape(-1, parts["train"].shape[-1])
    key, rng = jax.random.key(seed), np.random.default_rng(seed)
    seen = jnp.asarray(rows[rng.permutation(len(rows))[:10000]], jnp.float32)
    fitted = jax.device_get(pca.fit(seen, study.components))
    project = lambda x: (x - fitted.mean) @ fitted.components.T  # noqa: E731
    fit = jax.jit(partial(gaussian_mixture.fit, k=study.mixture, iterations=20, floor=FLOOR))
    mixture, values = jax.device_get(fit(key, jnp.asarray(project(np.asarray(seen)))))
    gaussian_mixture.check_fit(values, FLOOR)
    mixture = [np.asarray(part, np.float64) for part in mixture]
    encode = lambda x: fisher_vectors.encode(project(x), *mixture)  # noqa: E731
    return {name: fisher_vectors.improved(np.stack([encode(x) for x in part])) for name, part in parts.items()}


def features_of(study, seed, images):
    """Features {split: [n, d]} of images {split: float [n, h, w, c] in 0..1}."""
    if study.descriptor == "fisher":
        return fisher_of(study, seed, images)
    if study.descriptor == "hog":
        blocks = jax.jit(partial(hog, cell=study.cell))
        images = {name: np.asarray(blocks(jnp.asarray(x, jnp.float32))) for name, x in images.items()}
    return {name: x.reshape(len(x), -1) for name, x in images.items()}


def measure(study, seed):
    """Accuracies, and the cost that was chosen."""
    data, splits = recipe.whole_splits(study.data, "config.study.data", SPLITS, study.limit)
    images = {name: np.asarray(to_unit(batch["image"]), np.float64) for name, batch in splits.items()}
    label = {name: np.asarray(batch["label"]) for name, batch in splits.items()}
    if not study.costs:
        raise ConfigError("config.study.costs=() leaves nothing to choose from; give it one cost or more")
    features = features_of(study, seed, images)
    classes, best = data.num_classes, (-1.0, 0.0, None)
    accuracy = lambda svm, name: float((linear_svm.scores(svm, features[name]).argmax(1) == label[name]).mean())  # noqa: E731
    curve = []
    for cost in study.costs:
        svm = linear_svm.fit(features["train"], label["train"], classes, cost)
        curve.append((cost, accuracy(svm, "train"), accuracy(svm, "validation")))
        best = max(best, (curve[-1][2], -cost, svm), key=lambda entry: entry[:2])
    value, cost, svm = best[0], -best[1], best[2]
    metrics = {"validation_accuracy": value, "cost": cost, "features": features["train"].shape[1]}
    metrics |= {"test_accuracy": accuracy(svm, "test"), "train_accuracy": accuracy(svm, "train")}
    guess = linear_svm.scores(svm, features["test"]).argmax(1)
    return metrics, (curve, images["test"], label["test"], guess, data.class_names)


def draw(shown):
    """Accuracy over the cost, and what was answered to some test images."""
    from cvdl_jax.analysis.figures import curves, images

    curve, x, label, guess, names = shown
    figure, (axis,) = curves.panels([("linear SVM", "cost", "accuracy")])
    for i, name in ((1, "train"), (2, "validation")):
        axis.semilogx([row[0] for row in curve], [row[i] for row in curve], "o-", label=name)
    axis.legend(fontsize=8)
    few = np.concatenate([np.flatnonzero(label != guess), np.flatnonzero(label == guess)])[:24]
    return {"costs": figure, "answers": images.image_grid(x[few], label[few], guess[few], names)}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Descriptors, config.study, "config.study")
    for key in UNREAD[study.descriptor]:
        if key in config.study:
            raise ConfigError(f"config.study.{key} has no effect with descriptor={study.descriptor!r}; leave it out")
    return studies.measured(config, partial(measure, study, info.seed), draw)
