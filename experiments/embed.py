"""Embeddings in the plane, by PCA or t-SNE, of a trained model's features or of the pixels themselves.

The features of a restored run are computed once, in `make`, so there are no data and batches are {}. PCA is fitted
when the state is created, and takes no step. In t-SNE the points are the parameters, and a step is an ordinary step
of an optimizer on the divergence. `params`: {"points": [n, 2]}, for PCA {"mean": [d], "components": [2, d]}.
`extra`: {"features": [n, d], "label": [n]}, for t-SNE {"affinities": [n, n]}, for PCA {"ratio": [2]}, too.
The evaluation "embedding" measures these points themselves: nothing is held out.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.analysis.embedding import pca, tsne
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError

READS = ("embed", "optim", "grad")
OF_TSNE = ("perplexity", "exaggeration", "exaggeration_steps")


class Embed(NamedTuple):
    """The arguments of `config.embed`."""

    method: Literal["pca", "tsne"] = "tsne"
    workdir: str = ""  # of a run of 'classify', whose data are embedded too; "" for pixels of `data`
    checkpoint: str = "best"  # of that run: best, latest or a step
    layer: str = "pre_logits"  # an entry of the model's second result; "stages.1" for the second of several
    data: Mapping = {}  # a section as `config.data`, where there is no run
    splits: tuple[str, ...] = ("validation", "test")  # embedded one after the other
    limit: Counted = 0  # only the first so many examples; 0 for all
    standardise: bool = False  # every feature to mean 0 and standard deviation 1
    perplexity: Positive = 30.0
    exaggeration: Positive = 12.0  # factor on the affinities,
    exaggeration_steps: Counted = 250  # in so many first steps


def training_loss(embed, state, batch, key):
    """The divergence, exaggerated at first."""
    factor = jnp.where(state.step < embed.exaggeration_steps, embed.exaggeration, 1.0)
    value = tsne.divergence(state.params["points"], state.extra["affinities"], factor)
    return state, {"loss": (value, jnp.ones((), value.dtype))}


def points_of(state):
    """The embedded points [n, 2]."""
    if "points" in state.params:
        return state.params["points"]
    return pca.transform(state.params["mean"], state.params["components"], state.extra["features"])


def evaluation_step(state, batch, key):
    """The divergence, or the share of variance kept, and how often a point's nearest neighbour has its label."""
    points, label = points_of(state), state.extra["label"]
    distances = tsne.squared_distances(points)
    nearest = jnp.where(jnp.eye(len(points), dtype=bool), jnp.inf, distances).argmin(1)  # [n]
    agree, weight = (label == label[nearest]).astype(points.dtype), jnp.ones((), points.dtype)
    sums = {"agreement": (agree.sum(), len(agree) * weight)}
    if "affinities" in state.extra:
        sums["kl"] = (tsne.divergence(points, state.extra["affinities"]), weight)
    else:
        sums["variance"] = (state.extra["ratio"].sum(), weight)
    return {**sums, "points": points, "label": label}


def report(class_names, state, batch, key):
    """The points, coloured by class."""
    from cvdl_jax.analysis.figures import images

    return {"embedding": images.scatter(points_of(state), state.extra["label"], class_names)}


def make(config, info) -> Task:
    """The embedding task of a configuration."""
    embed = configs.call(Embed, config.embed, "config.embed")
    if embed.method == "pca":
        configs.refuse_sections(config, ("optim", "grad"))
        for key in (key for key in OF_TSNE if key in config.embed):
            raise ConfigError(f"config.embed.{key} has no effect with method='pca'; it is for t-SNE: leave it out")
    if embed.method == "pca" and info.total_steps:
        raise ConfigError(f"config.total_steps={info.total_steps}: PCA takes no step; set config.total_steps=0")
    x, label, class_names = from_run.load_features(embed)
    if min(x.shape) < 2:
        raise ConfigError(f"there are {len(x)} points with {x.shape[1]} features; two dimensions need two of each")
    if embed.method == "tsne" and not 1 < embed.perplexity < len(x) - 1:
        raise ConfigError(
            f"config.embed.perplexity={embed.perplexity} must be between 1 and {len(x) - 1}, with {len(x)} points"
        )
    if embed.standardise:
        x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)

    def init(key: jax.Array, batch: dict) -> dict:
        # Without the barrier the compiler would compute all of this by itself, slowly.
        seen = lax.optimization_barrier(jnp.asarray(x, jnp.result_type(float)))
        fitted = pca.fit(seen, 2)
        extra = {"features": seen, "label": jnp.asarray(label)}
        if embed.method == "pca":
            params = {"mean": fitted.mean, "components": fitted.components}
            return {"params": params, "extra": {**extra, "ratio": fitted.ratio}}
        points = pca.transform(fitted.mean, fitted.components, seen)
        points = points * (1e-4 / points[:, 0].std())
        return {"params": {"points": points}, "extra": {**extra, "affinities": tsne.joint(seen, embed.perplexity)}}

    train = recipe.descend(config, info, partial(training_loss, embed)) if embed.method == "tsne" else None
    evals = {"embedding": Eval(evaluation_step, data=1)}
    return Task(init=init, train=train, evals=evals, report=partial(report, class_names))
