"""Control rows of a table of generators: what is no trained generator, measured exactly as generators are.

`config.control.kind`: "real", training images drawn with replacement, which no generator can beat by much; "gaussian",
the normal distribution with the mean and covariance of the training pixels, cut to 0..1; "untrained", a generator
(`config.model`) with its first weights. A generator that is quoted is to beat the last two. A run takes no steps.
image: [b, h, w, c] in 0..1. `extra`: {"images": [n, h, w, c] as they are stored}, {"mean": [d], "root": [d, d]} or
{"batch_stats"}; mean and root are fitted by a pass over the training split before the evaluations: "validation" and
"test" as of experiment "gan", "samples", and where there is a judge "judge" and "distance".
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Pass, Task
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import generation
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, initialise

READS = ("model", "control", "data", "judge", "compute_dtype")


class Control(NamedTuple):
    """The arguments of `config.control`."""

    kind: Literal["real", "gaussian", "untrained"] = "gaussian"


def fit_sums(state, batch, key):
    """What mean and covariance of the pixels are made of, over the real rows of a batch."""
    x = batch["image"].reshape(len(batch["image"]), -1)
    masked = x * batch["mask"][:, None]
    return {"n": batch["mask"].sum(), "sum": masked.sum(0), "outer": masked.T @ x}


def fit_apply(state, sums):
    """The state with the mean and the symmetric root of the covariance, with n in its denominator."""
    mean = sums["sum"] / sums["n"]
    values, vectors = jnp.linalg.eigh(sums["outer"] / sums["n"] - jnp.outer(mean, mean))
    root = (vectors * jnp.sqrt(jnp.maximum(values, 0))[None]) @ vectors.T
    kept = {"mean": mean, "root": root}
    return state._replace(extra={**state.extra, **{k: v.astype(state.extra[k].dtype) for k, v in kept.items()}})


def gaussian(shape, state, key, n):
    """Images [n, h, w, c] of the fitted normal distribution, cut to 0..1."""
    mean, root = state.extra["mean"], state.extra["root"]
    noise = row_random(jax.random.normal, key, (n, len(mean))).astype(mean.dtype)
    return jnp.clip(mean[None] + noise @ root, 0, 1).reshape(n, *shape)


def real(state, key, n):
    """Training images [n, h, w, c], each drawn from all of them."""
    images = state.extra["images"]
    rows = row_random(lambda k, s: jax.random.randint(k, s, 0, len(images)), key, (n,))
    return to_unit(images[rows])


def untrained(model, state, key, n):
    """Images [n, h, w, c] of a generator with its first weights."""
    z = row_random(jax.random.normal, key, (n, model.latent))
    return (apply_eval(model, state, z)[0] + 1) / 2


def grid(sampler, seed, state, batch, key):
    """64 samples from noise that depends on the seed alone."""
    from cvdl_jax.analysis.figures.images import mosaic

    return {"samples": mosaic(sampler(state, jax.random.key(seed), 64))}


def make(config, info) -> Task:
    """The task of a configuration."""
    kind = configs.call(Control, config.control, "config.control").kind
    if "image" not in info.spec or config.total_steps != 0:
        raise ConfigError(
            f"experiment {config.experiment!r} takes no steps and needs images; set config.total_steps=0 and "
            "config.data.name"
        )
    if bool(config.model) != (kind == "untrained"):
        raise ConfigError("config.model is the generator of config.control.kind='untrained', and of no other kind")
    shape = info.spec["image"].shape[1:]
    size, fit = shape[0] * shape[1] * shape[2], None
    if kind == "untrained":
        more = {"shape": shape, "dtype": config.compute_dtype}
        model = registry.create(config.model, "config.model", kinds=("generative",), **more)
        sampler = partial(untrained, model)
    elif kind == "real":
        sampler, images = real, recipe.whole_splits(config.data, "config.data", ["train"])[1]["train"]["image"]
    else:
        sampler, fit = partial(gaussian, shape), Pass(fit_sums, fit_apply)

    def init(key: jax.Array, batch: dict) -> dict:
        if kind == "untrained":
            params, stats = initialise(model, key, jnp.zeros((1, model.latent)), False)
            return {"params": params, "extra": {"batch_stats": stats}}
        if kind == "real":
            return {"params": {}, "extra": {"images": jnp.asarray(images)}}
        return {"params": {}, "extra": {"mean": jnp.zeros(size), "root": jnp.zeros((size, size))}}

    evals = recipe.evaluations(partial(generation.compared, sampler), info.sizes)
    evals |= from_run.judgements(config, info, sampler)
    evals = {name: evaluation._replace(before=fit) for name, evaluation in evals.items()}
    return Task(init, None, evals, partial(grid, sampler, info.seed))
