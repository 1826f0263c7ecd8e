"""Denoising diffusion: a network learns to take noise from images, and makes images of noise alone.

image: [b, h, w, c] in 0..1; the network sees 2 image - 1 with noise of `config.schedule`, a function of
`ops/diffusion.py`; label: int [b] of a network that is told one (config.model.num_classes), hidden at times, for
guidance. `config.loss` has the arguments of `models.denoising.objective`, `config.sampler` those of its `Sampler`.
`extra`: {"batch_stats", "ema"?, "feedback"?}. Evaluations: "validation" and "test", the error at random times; once at
the end, where there is a judge, "judge", what a classifier says of samples, and "distance", how far its features are.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import denoising, registry
from cvdl_jax.models.denoising import Denoising, Sampler, model_inputs, noisy, sample, squared_error
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import diffusion
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "schedule", "sampler", "judge", "data", "augment", "grad", "optim", "ema", "plateau",
         "early_stopping", "compute_dtype", "remat")  # fmt: skip
LEVELS = 4  # parts of the schedule whose errors are shown apart


def training_loss(method, state, batch, key):
    """Sums over the rows of one training batch."""
    keys = jax.random.split(key)
    made = noisy(method, batch, keys[0])
    inputs, more = model_inputs(made)
    (predicted, _), state = apply_train(method.model, state, inputs, keys[1], **more)
    losses = squared_error(predicted, made)
    return state, {"loss": (losses.sum(), jnp.ones(len(losses)).sum())}


def evaluation_step(method, state, batch, key):
    """The error over real rows, in all and for each quarter of the schedule, from little noise to much."""
    made = noisy(method, batch, key)
    inputs, more = model_inputs(made)
    losses, mask = squared_error(apply_eval(method.model, averaged(state), inputs, **more)[0], made), batch["mask"]
    level = made["t"] * LEVELS // len(method.schedule.beta)
    sums = {"loss": ((losses * mask).sum(), mask.sum())}
    for i in range(LEVELS):
        here = mask * (level == i)
        sums[f"loss_{i + 1}_of_{LEVELS}"] = ((losses * here).sum(), here.sum())
    return sums


def finalise(means, rows):
    """The means; a quarter of the schedule that no example drew has none."""
    return {name: value for name, value in means.items() if value == value}


def grid(sampler, seed, state, batch, key):
    """64 samples from noise that depends on the seed alone."""
    from cvdl_jax.analysis.figures.images import mosaic

    return {"samples": mosaic(jax.jit(sampler, static_argnums=2)(state, jax.random.key(seed), 64))}


def make_method(config, info) -> Denoising:
    """The functions that a configuration chooses; every section is checked against its function."""
    if "image" not in info.spec:
        raise ConfigError("experiment 'diffuse' needs a data set of images; set config.data.name")
    channels = info.spec["image"].shape[-1]
    more = {"channels": channels, "dtype": config.compute_dtype, "remat": config.remat}
    model = registry.create(config.model, "config.model", kinds=("generative",), **more)
    schedules = {"linear": diffusion.linear, "cosine": diffusion.cosine}
    name = config.schedule.get("name", "cosine")
    if name not in schedules:
        raise ConfigError(f"config.schedule.name={name!r} must be one of {', '.join(schedules)}")
    rest = {key: value for key, value in config.schedule.items() if key != "name"}
    schedule = configs.call(schedules[name], rest, "config.schedule")
    predicts, without_label = configs.call(denoising.objective, config.loss, "config.loss")
    sampler = configs.call(Sampler, config.sampler, "config.sampler")
    method = Denoising(model, schedule, predicts, without_label, sampler)
    denoising.check(method, info.num_classes, "label" in info.spec)
    return method


def make(config, info) -> Task:
    """The task of a configuration."""
    method, feedback = make_method(config, info), recipe.feedback(config)
    sampler = partial(sample, method, info.spec["image"].shape[1:])

    def init(key: jax.Array, batch: dict) -> dict:
        made = noisy(method, {name: x[:1] for name, x in batch.items()}, key)
        inputs, more = model_inputs(made)
        params, stats = initialise(method.model, key, *inputs, False, *more.values())
        return {"params": params, "extra": {"batch_stats": stats, **feedback.extra}}

    loss = partial(training_loss, method)
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), finalise), info.sizes)
    evals |= from_run.judgements(config, info, sampler, final=True)
    train = chain(recipe.augmentation(config, info), recipe.descend(config, info, loss), recipe.average(config, loss))
    return Task(init, train, evals, partial(grid, sampler, info.seed), feedback.on_eval)
