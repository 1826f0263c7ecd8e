"""Denoising diffusion: a network learns to take noise from images, and makes images of noise alone.

image: [b, h, w, c] in 0..1; the network sees 2 image - 1, or the codes of the autoencoder of `config.autoencoder`
(`engine/latents.py`), with noise of `config.schedule`, a function of `ops/diffusion.py`. label: int [b] of a network
that is told one (config.model.num_classes); captions: int [b, k, t] of one with a vocabulary, of which a step takes one
at random, "caption" [b, t]; both are hidden at times, for guidance. Samples show the classes, or `config.prompts`, in
turn. `config.loss` has the arguments of `models.denoising.objective`, `config.sampler` those of its `Sampler`.
`extra`: {"batch_stats", "autoencoder"?, "scale"?, "ema"?, "feedback"?}. Evaluations: "validation" and "test", the error
at random times; once at the end "samples", with a judge "judge" and "distance", and with `config.grammar` "captions":
how many samples show exactly what the captions of the test split say.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.data import captions, prompts, scene_parser
from cvdl_jax.engine import from_run, latents, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats import intervals
from cvdl_jax.models import denoising, registry
from cvdl_jax.models.denoising import Denoising, Sampler, model_inputs, noisy, sample, squared_error, told_captions
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops import diffusion
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "schedule", "sampler", "autoencoder", "prompts", "grammar", "judge", "data", "augment",
         "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype", "remat")  # fmt: skip
LEVELS = 4  # parts of the schedule whose errors are shown apart


def training_loss(method, state, batch, key):
    """Sums over the rows of one training batch."""
    keys = jax.random.split(key)
    made = noisy(method, batch, keys[0], state.extra)
    inputs, more = model_inputs(made)
    (predicted, _), state = apply_train(method.model, state, inputs, keys[1], **more)
    losses = squared_error(predicted, made)
    return state, {"loss": (losses.sum(), jnp.ones(len(losses)).sum())}


def evaluation_step(method, state, batch, key):
    """The error over real rows, in all and for each quarter of the schedule, from little noise to much."""
    if told_captions(method):
        key, batch = jax.random.fold_in(key, 1), captions.choose(state, batch, key)[1]
    made = noisy(method, batch, key, state.extra)
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
    return {name: value for name, value in means.items() if value == value or not name.startswith("loss_")}


def captioned_step(method, state, batch, key):
    """An image for one caption of each row, both images as bytes."""
    keys = jax.random.split(key)
    caption = captions.choose(state, batch, keys[0])[1]["caption"]
    pair = {"image": sample(method, state, keys[1], len(caption), {"caption": caption}), "real": batch["image"]}
    return {"caption": caption, **{name: jnp.round(255 * x).astype(jnp.uint8) for name, x in pair.items()}}


def captioned_finalise(words, means, rows):
    """Shares of exact captions with their intervals; the real images are not kept."""
    said = [captions.decode(row, words) for row in rows["caption"]]
    metrics = scene_parser.scores(said, rows["image"], rows.pop("real"))
    return intervals.with_wilson(metrics, len(said), ["exact", "parser"])


def report(method, seed, state, batch, key):
    """64 samples from noise that depends on the seed alone; walks through noise, and through prompts."""
    from cvdl_jax.analysis.figures.images import Animation, mosaic

    key, walk = jax.random.key(seed), jax.jit(partial(denoising.latent_walk, method))
    figures = {"samples": mosaic(jax.jit(partial(sample, method), static_argnums=2)(state, key, 64))}
    figures["noise_walk"] = Animation(walk(state, key))
    if told_captions(method) and len(method.prompts) > 1:
        figures["prompt_walk"] = Animation(jax.jit(partial(denoising.prompt_walk, method))(state, key))
    return figures


def make_method(config, info) -> tuple[Denoising, dict]:
    """The functions that a configuration chooses, each section checked, and what the space adds to `extra`."""
    if "image" not in info.spec:
        raise ConfigError("experiment 'diffuse' needs a data set of images; set config.data.name")
    shape = tuple(info.spec["image"].shape[1:])
    space, extra = latents.space(config.get("autoencoder", {}), shape, config.compute_dtype)
    context, texts = prompts.of_captions(config.get("prompts", ()), config.get("grammar", ""), info)
    more = {"channels": space.shape[-1], "dtype": config.compute_dtype, "remat": config.remat, **context}
    model = registry.create(config.model, "config.model", kinds=("generative",), **more)
    schedules = {"linear": diffusion.linear, "cosine": diffusion.cosine}
    name = config.schedule.get("name", "cosine")
    if name not in schedules:
        raise ConfigError(f"config.schedule.name={name!r} must be one of {', '.join(schedules)}")
    rest = {key: value for key, value in config.schedule.items() if key != "name"}
    schedule = configs.call(schedules[name], rest, "config.schedule")
    predicts, without_label = configs.call(denoising.objective, config.loss, "config.loss")
    sampler = configs.call(Sampler, config.sampler, "config.sampler")
    method = Denoising(model, schedule, predicts, without_label, sampler, space, texts)
    denoising.check(method, info.num_classes, "label" in info.spec)
    return method, extra


def make(config, info) -> Task:
    """The task of a configuration."""
    (method, more), feedback = make_method(config, info), recipe.feedback(config)
    choose = captions.choose if told_captions(method) else None

    def init(key: jax.Array, batch: dict) -> dict:
        extra = {"batch_stats": {}, **jax.tree.map(jnp.asarray, more), **feedback.extra}
        x, t = jnp.zeros((1, *method.space.shape)), jnp.zeros(1, jnp.int32)
        told = jnp.zeros(1, jnp.int32) if method.model.num_classes else None
        params, stats = initialise(method.model, key, x, t, False, told)
        return {"params": params, "extra": {**extra, "batch_stats": stats}}

    loss = partial(training_loss, method)
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, method), finalise), info.sizes)
    evals |= from_run.judgements(config, info, partial(sample, method), final=True)
    if config.get("grammar"):
        if "test" not in info.sizes:
            raise ConfigError("config.grammar judges samples of the captions of the test split; set config.data.test")
        step = partial(captioned_step, method)
        evals["captions"] = Eval(step, partial(captioned_finalise, info.vocabulary), "test", final=True)
    train = chain(
        choose, recipe.augmentation(config, info), method.space.measure, recipe.descend(config, info, loss),
        recipe.average(config, loss),
    )  # fmt: skip
    return Task(init, train, evals, partial(report, method, info.seed), feedback.on_eval)
