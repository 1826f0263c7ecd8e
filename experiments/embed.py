"""Embeddings in the plane, by PCA, Isomap, SNE or t-SNE, of a trained model's features or of the pixels themselves.

The features of a restored run are computed once, in `make`, so there are no data and batches are {}. PCA and Isomap
are fitted when the state is created, and take no step. In SNE and t-SNE the points are the parameters, and a step is an
ordinary step of an optimizer on the divergence (a mean over points in SNE); `config.optim.gradient_noise` anneals them.
`params`: {"points": [n, 2]}, for PCA {"mean": [d], "components": [2, d]}. `extra`: {"features": [n, d], "label": [n]},
for SNE and t-SNE {"affinities": [n, n]}, for PCA {"ratio": [2]}, for Isomap {"residual": []}, too.
The evaluation "embedding" measures these points themselves: nothing is held out.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cvdl_jax.analysis.embedding import isomap, neighbours, pca, sne, tsne
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Counted, Positive, Size
from cvdl_jax.core.task import Eval, Task
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError

READS = ("embed", "optim", "grad")
USED = {  # keys that only some methods read
    "pca": (),
    "isomap": ("neighbours",),
    "sne": ("perplexity",),
    "tsne": ("perplexity", "exaggeration", "exaggeration_steps"),
}
NAMES = {"pca": "PCA", "isomap": "Isomap", "sne": "SNE", "tsne": "t-SNE"}
STEPLESS = ("pca", "isomap")


class Embed(NamedTuple):
    """The arguments of `config.embed`."""

    method: Literal["pca", "isomap", "sne", "tsne"] = "tsne"
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
    neighbours: Size = 10  # of a point in the graph of Isomap


def training_loss(embed, state, batch, key):
    """The divergence: of SNE for a point, of t-SNE exaggerated at first."""
    if embed.method == "sne":
        return state, {"loss": sne_sums(state)}
    factor = jnp.where(state.step < embed.exaggeration_steps, embed.exaggeration, 1.0)
    value = tsne.divergence(state.params["points"], state.extra["affinities"], factor)
    return state, {"loss": (value, jnp.ones((), value.dtype))}


def sne_sums(state):
    """SNE's divergence, a mean over points: (sum, points)."""
    value = sne.divergence(state.params["points"], state.extra["affinities"])
    return value, jnp.asarray(len(state.params["points"]), value.dtype)


def points_of(state):
    """The embedded points [n, 2]."""
    if "points" in state.params:
        return state.params["points"]
    return pca.transform(state.params["mean"], state.params["components"], state.extra["features"])


def evaluation_step(method, state, batch, key):
    """The divergence, the variance kept or left, the neighbours kept, and how often the nearest one has the label."""
    points, label = points_of(state), state.extra["label"]
    distances = tsne.squared_distances(points)
    nearest = jnp.where(jnp.eye(len(points), dtype=bool), jnp.inf, distances).argmin(1)  # [n]
    agree, weight = (label == label[nearest]).astype(points.dtype), jnp.ones((), points.dtype)
    sums = {"agreement": (agree.sum(), len(agree) * weight)}
    sums |= {name: (x, weight) for name, x in neighbours.measures(state.extra["features"], points).items()}
    if method == "tsne":
        sums["kl"] = (tsne.divergence(points, state.extra["affinities"]), weight)
    elif method == "sne":
        sums["kl"] = sne_sums(state)
    elif method == "isomap":
        sums["residual_variance"] = (state.extra["residual"], weight)
    else:
        sums["variance"] = (state.extra["ratio"].sum(), weight)
    return {**sums, "points": points, "label": label}


def report(class_names, state, batch, key):
    """The points, coloured by class."""
    from cvdl_jax.analysis.figures import images

    return {"embedding": images.scatter(points_of(state), state.extra["label"], class_names)}


def checked(config, info):
    """The arguments of a config, after what has no effect with its method is refused."""
    embed = configs.call(Embed, config.embed, "config.embed")
    of_some = {key for keys in USED.values() for key in keys}
    for key in sorted(of_some.difference(USED[embed.method]).intersection(config.embed)):
        who = " and ".join(NAMES[name] for name, keys in USED.items() if key in keys)
        raise ConfigError(f"config.embed.{key} has no effect with method={embed.method!r} but of {who}; leave it out")
    if embed.method in STEPLESS:
        configs.refuse_sections(config, ("optim", "grad"))
        if info.total_steps:
            steps = f"config.total_steps={info.total_steps}"
            raise ConfigError(f"{steps}: {NAMES[embed.method]} takes no step; set config.total_steps=0")
    return embed


def make(config, info) -> Task:
    """The embedding task of a configuration."""
    embed = checked(config, info)
    x, label, class_names = from_run.load_features(embed)
    if min(x.shape) < 2:
        raise ConfigError(f"there are {len(x)} points with {x.shape[1]} features; two dimensions need two of each")
    if "perplexity" in USED[embed.method] and not 1 < embed.perplexity < len(x) - 1:
        raise ConfigError(
            f"config.embed.perplexity={embed.perplexity} must be between 1 and {len(x) - 1}, with {len(x)} points"
        )
    if embed.standardise:
        x = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1)
    unrolled = isomap.isomap(x, embed.neighbours) if embed.method == "isomap" else None

    def init(key: jax.Array, batch: dict) -> dict:
        # Without the barrier the compiler would compute all of this by itself, slowly.
        seen = lax.optimization_barrier(jnp.asarray(x, jnp.result_type(float)))
        extra = {"features": seen, "label": jnp.asarray(label)}
        if unrolled is not None:
            points, residual = (jnp.asarray(value, seen.dtype) for value in unrolled)
            return {"params": {"points": points}, "extra": {**extra, "residual": residual}}
        fitted = pca.fit(seen, 2)
        if embed.method == "pca":
            params = {"mean": fitted.mean, "components": fitted.components}
            return {"params": params, "extra": {**extra, "ratio": fitted.ratio}}
        points = pca.transform(fitted.mean, fitted.components, seen)
        points = points * (1e-4 / points[:, 0].std())
        of = tsne.joint if embed.method == "tsne" else sne.affinities
        return {"params": {"points": points}, "extra": {**extra, "affinities": of(seen, embed.perplexity)}}

    train = None if embed.method in STEPLESS else recipe.descend(config, info, partial(training_loss, embed))
    evals = {"embedding": Eval(partial(evaluation_step, embed.method), data=1)}
    return Task(init=init, train=train, evals=evals, report=partial(report, class_names))
