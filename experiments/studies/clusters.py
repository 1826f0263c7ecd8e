"""Clusters of a data set without its labels: k-means, Gaussian mixtures, and agglomerative clustering.

The features are the first principal components of the pixels. Every method is told the number of clusters alone; how
far they agree with the classes is the adjusted Rand index and the purity.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.embedding import clustering, gaussian_mixture, pca
from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import clusters

READS = ("study",)


class Clusters(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, whose test split is clustered
    limit: Size = 400  # examples
    clusters: Size = 10
    components: Size = 10  # principal ones
    iterations: Size = 50
    restarts: Size = 5  # of k-means
    floor: NotNegative = 1e-3  # of the variances of mixtures


def measure(study, seed):
    """Measures of every method, and what `draw` shows."""
    test = recipe.whole_splits(study.data, "config.study.data", ("test",), study.limit)[1]["test"]
    label = np.asarray(test["label"])
    pixels = jnp.asarray(np.asarray(to_unit(test["image"]), np.float32).reshape(len(label), -1))
    for name in ("clusters", "components"):
        most = len(pixels) if name == "clusters" else min(pixels.shape)
        if getattr(study, name) > most:
            raise ConfigError(f"config.study.{name}={getattr(study, name)} is more than {most}, which there are")
    fitted = pca.fit(pixels, study.components)
    x, key = pca.transform(fitted.mean, fitted.components, pixels), jax.random.key(seed)
    means = jax.jit(partial(clustering.kmeans, k=study.clusters, iterations=study.iterations, restarts=study.restarts))(
        key, x
    )
    groups, metrics = {"kmeans": means.label}, {"kmeans_inertia": means.inertia[-1] / len(x)}
    history = {"kmeans": np.asarray(means.inertia) / len(x)}
    for kind in ("diag", "full"):
        run = jax.jit(partial(gaussian_mixture.fit, k=study.clusters, iterations=study.iterations, kind=kind,
                              floor=study.floor))  # fmt: skip
        mixture, values = run(key, x)
        gaussian_mixture.check_fit(values, study.floor)
        groups[f"gmm_{kind}"] = gaussian_mixture.responsibilities(mixture, x)[0].argmax(1)
        history[f"gmm_{kind}"] = np.asarray(values)
        metrics[f"gmm_{kind}_log_likelihood"] = values[-1]
    for linkage in clustering.LINKAGES:
        groups[linkage] = clustering.cut(clustering.agglomerate(np.asarray(x), linkage), study.clusters)
    for name, group in groups.items():
        metrics[f"{name}_rand"] = clusters.adjusted_rand(label, np.asarray(group))
        metrics[f"{name}_purity"] = clusters.purity(label, np.asarray(group))
    return metrics, (metrics, np.asarray(x), {name: np.asarray(group) for name, group in groups.items()}, history)


def draw(shown):
    """Clusters in the plane of the first two components, and what iterations reached."""
    from cvdl_jax.analysis.figures import curves, images

    metrics, x, groups, history = shown
    figure, axes = images.new_figure(2, -(-len(groups) // 2), 2.4)
    for axis, (name, group) in zip(axes.flat, groups.items(), strict=False):
        colours = images.class_colours(group.max() + 1)
        axis.scatter(x[:, 0], x[:, 1 if x.shape[1] > 1 else 0], s=4, c=[colours[c] for c in group])
        axis.set_title(f"{name}: {metrics[f'{name}_rand']:.2f}", fontsize=8)
    labels = [("k-means", "iteration", "inertia of a point"), ("mixtures", "iteration", "log likelihood of a point")]
    progress, panels = curves.panels(labels)
    for name, values in history.items():
        panels[int(name != "kmeans")].plot(values, label=name)
    panels[1].legend(fontsize=8)
    return {"clusters": figure, "iterations": progress}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Clusters, config.study, "config.study")
    return studies.measured(config, partial(measure, study, info.seed), draw)
