"""The crowding problem: SNE and t-SNE of the same points by the same descent, and how much room each leaves.

A ball of many dimensions has far more room at moderate distances than a disc has. Under Gaussians in the plane (SNE)
what is moderately far apart has to stay close, and clusters run into each other; Student's t (t-SNE) lets it move away.
Points are clusters of procedural data, at mutually equal distances, or a split of `config.study.data`. Both methods
begin at the first two principal components and take steps of gradient descent with momentum; t-SNE without its early
exaggeration, so that the kernels alone differ.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from cvdl_jax.analysis.embedding import pca, sne, tsne
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.core import studies
from cvdl_jax.core.task import Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError

READS = ("study",)
METHODS = {"sne": "SNE", "tsne": "t-SNE"}
BINS = 12  # quantiles of distances, in the figure


class Crowding(NamedTuple):
    """The arguments of `config.study`."""

    data: Mapping = {}  # a section as `config.data`, whose test split is embedded; {} for procedural clusters
    clusters: Size = 10  # of them
    points: Size = 30  # of a cluster; of `data`, clusters x points in all
    apart: Positive = 6.0  # distance of centres in standard deviations of a cluster
    perplexity: Positive = 20.0
    steps: Size = 600
    rate: Positive = 0.1  # of the descent, times the number of points


def equidistant(study, seed):
    """Points [n, clusters] around the corners of a simplex, and their clusters int [n]."""
    rng, k = np.random.default_rng(seed), study.clusters
    label = np.repeat(np.arange(k), study.points)
    return np.eye(k)[label] * study.apart / np.sqrt(2) + rng.normal(size=(len(label), k)), label


def examples(study, seed):
    """The points to embed [n, d], and their classes."""
    if not study.data:
        return equidistant(study, seed)
    test = recipe.whole_splits(study.data, "config.study.data", ("test",), study.clusters * study.points)[1]["test"]
    return np.asarray(to_unit(test["image"]), np.float64).reshape(len(test["label"]), -1), np.asarray(test["label"])


@partial(jax.jit, static_argnames=("method", "perplexity", "steps", "rate"))
def embedded(x, method, perplexity, steps, rate):
    """Points of the plane [n, 2], and the divergence of a point before every step and after the last."""
    of = sne.affinities if method == "sne" else tsne.joint
    p, loss = of(x, perplexity), sne.divergence if method == "sne" else tsne.divergence
    scale = len(x) if method == "sne" else 1  # the sum of all p
    cost = lambda y: loss(y, p) / scale  # noqa: E731
    fitted = pca.fit(x, 2)
    y = pca.transform(fitted.mean, fitted.components, x)
    y = y * (1e-2 / y[:, 0].std())
    rule = optax.sgd(rate * len(x), momentum=0.8)

    def step(carry, _):
        y, state = carry
        value, slope = jax.value_and_grad(cost)(y)
        update, state = rule.update(slope, state)
        return (y + update, state), value

    (y, _), values = lax.scan(step, (y, rule.init(y)), None, steps)
    return y, jnp.append(values, cost(y))


def room(y, label):
    """How clusters lie: silhouette, gap, and the share of nearest neighbours of the same class.

    The silhouette of a point is (b - a) / max(a, b), a its mean distance to its own cluster, b that to the nearest
    other, 0 for one alone; the gap is the median over the others of their distance to the nearest point of another
    cluster over that to the farthest of the nearest half of their own.
    """
    d = np.sqrt(np.square(y[:, None] - y[None]).sum(-1))
    same = label[:, None] == label[None]
    own = same & ~np.eye(len(y), dtype=bool)
    several, a = own.any(1), (d * own).sum(1) / np.maximum(own.sum(1), 1)
    means = np.stack([d[:, label == c].mean(1) for c in np.unique(label)], 1)
    means[label[:, None] == np.unique(label)[None]] = np.inf
    b = means.min(1)
    other, half = np.where(same, np.inf, d).min(1), np.nanmedian(np.where(own, d, np.nan)[several], 1)
    nearest = np.where(np.eye(len(y), dtype=bool), np.inf, d).argmin(1)
    return {
        "silhouette": float((several * (b - a) / np.maximum(a, b)).mean()),
        "gap": float(np.median(other[several] / half)),
        "agreement": float((label[nearest] == label).mean()),
    }


def measure(study, seed):
    """Measures of both maps, and what `draw` shows."""
    x, label = examples(study, seed)
    if not 1 < study.perplexity < len(x) - 1:
        raise ConfigError(f"config.study.perplexity={study.perplexity} must be between 1 and {len(x) - 1}")
    if not 1 < len(np.unique(label)) < len(label):
        raise ConfigError("room between clusters needs two clusters and one of two points; set config.study.clusters=2")
    metrics, maps = {f"data_{name}": value for name, value in room(x, label).items()}, {}
    for method in METHODS:
        y, values = jax.device_get(embedded(jnp.float32(x), method, study.perplexity, study.steps, study.rate))
        metrics |= {f"{method}_{name}": value for name, value in room(y, label).items()}
        metrics[f"{method}_kl"], maps[method] = float(values[-1]), y
    return metrics, (metrics, x, label, maps)


def draw(shown):
    """Both maps, and distances in the map over those in the data."""
    from cvdl_jax.analysis.figures import curves, images

    metrics, x, label, maps = shown
    titles = [(f"{METHODS[m]}, silhouette {metrics[f'{m}_silhouette']:.2f}", "", "") for m in maps]
    figure, axes = curves.panels([*titles, ("room", "distance in the data", "distance in the map / its median")], 4.0)
    colours = images.class_colours(len(np.unique(label)))
    pairs = np.triu_indices(len(x), 1)
    far = np.sqrt(np.square(x[:, None] - x[None]).sum(-1))[pairs]
    edges = np.unique(np.quantile(far, np.linspace(0, 1, BINS + 1)))
    bins = np.clip(np.searchsorted(edges, far, "right") - 1, 0, len(edges) - 2)
    for axis, (method, y) in zip(axes, maps.items(), strict=False):
        for c, colour in zip(np.unique(label), colours, strict=True):
            axis.scatter(*y[label == c].T, s=5, color=colour)
        axis.set_aspect("equal", "datalim")
        near = np.sqrt(np.square(y[:, None] - y[None]).sum(-1))[pairs]
        rows = [near[bins == b] / np.median(near) for b in range(len(edges) - 1)]
        medians = [(far[bins == b].mean(), np.median(row)) for b, row in enumerate(rows) if len(row)]
        axes[-1].plot(*zip(*medians, strict=True), "o-", markersize=3, label=METHODS[method])
    axes[-1].legend(fontsize=8)
    return {"crowding": figure}


def make(config, info) -> Task:
    """The study of a configuration."""
    study = configs.call(Crowding, config.study, "config.study")
    if study.data and "apart" in config.study:
        raise ConfigError("config.study.apart has no effect on data; it is of procedural clusters: leave it out")
    return studies.measured(config, partial(measure, study, info.seed), draw)
