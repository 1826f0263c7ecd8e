"""Generative adversarial networks: DCGAN, Wasserstein GAN by clipping or gradient penalty, any losses and players.

image: [b, h, w, c] in 0..1; the players see 2 image - 1. z: [b, latent] ~ N(0, 1). A training step is n discriminator
steps (`critic_steps`) on sub-batches of b / n rows, then one generator step on b / n new samples. `params` and `opt`:
{"discriminator", "generator"}; `extra`: {"batch_stats": {both}, "ema"?, "ema_statistics"?, "feedback"?}, where "ema" is
the averaged generator, of which samples are made. Evaluations: "validation", "test" and, where there is one, "judge".
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.core import gradients
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import Task, chain, descend, repeat
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import generation
from cvdl_jax.models import registry
from cvdl_jax.nn import observe
from cvdl_jax.nn.apply import apply_train, initialise
from cvdl_jax.ops.losses import adversarial
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate, real_gradient_penalty
from cvdl_jax.optim.ema import averaged

READS = ("model", "loss", "data", "augment", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype",
         "remat", "critic_steps", "judge")  # fmt: skip
PLAYERS = ("discriminator", "generator")


def make_images(generator, state, key, n):
    """Images [n, h, w, c] in -1..1 in training mode, and the state with the generator's new statistics."""
    z = row_random(jax.random.normal, key, (n, generator.latent))
    (images, _), state = apply_train(generator, state, z, key, on="generator")
    return images, state


def score(discriminator, state, x, key):
    """Scores [b] in training mode, and the state with the discriminator's new statistics."""
    (logits, _), state = apply_train(discriminator, state, x, key, on="discriminator")
    return logits[:, 0], state


def discriminator_loss(generator, discriminator, loss, state, batch, key):
    """Sums over the images of a batch and as many samples; the generator's statistics stay."""
    real, keys = 2 * batch["image"] - 1, jax.random.split(key, 5)
    weight = jnp.ones(len(real)).sum()
    fake = lax.stop_gradient(make_images(generator, state, keys[0], len(real))[0])
    on_real, state = score(discriminator, state, real, keys[1])
    on_fake, state = score(discriminator, state, fake, keys[2])
    values = {"loss": loss.discriminator(on_real, on_fake), "score_real": on_real, "score_fake": on_fake}
    if loss.penalty:
        if jax.tree.leaves(state.extra["batch_stats"]["discriminator"]):
            raise ConfigError(
                "config.loss.penalty needs a critic that does not mix rows; set config.model.discriminator.norm='layer'"
            )
        between = interpolate(real, fake, row_random(jax.random.uniform, keys[3], (len(real),)))
        penalise, x = (real_gradient_penalty, real) if loss.at_real else (gradient_penalty, between)
        values["penalty"] = penalise(lambda x: score(discriminator, state, x, keys[4])[0], x)
        values["loss"] += loss.penalty * values["penalty"]
    return state, {name: (value.sum(), weight) for name, value in values.items()}


def generator_loss(generator, discriminator, loss, n, state, batch, key):
    """Sums over b / n new samples; the discriminator's statistics stay."""
    keys = jax.random.split(key)
    fake, state = make_images(generator, state, keys[0], len(batch["image"]) // n)
    losses = loss.generator(score(discriminator, state, fake, keys[1])[0])
    return state, {"loss": (losses.sum(), jnp.ones(len(losses)).sum())}


def clip(bound, state, batch, key):
    """Bounds each of the discriminator's parameters (Arjovsky et al. 2017, algorithm 1)."""
    clipped = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), state.params["discriminator"])
    return state._replace(params={**state.params, "discriminator": clipped}), batch, {}


def sample(generator, state, key, n):
    """Images [n, h, w, c] in 0..1 of the averaged generator where there is one, each row from its own key."""
    state, z = averaged(state, on="generator"), row_random(jax.random.normal, key, (n, generator.latent))
    variables = {"params": state.params["generator"], "batch_stats": state.extra["batch_stats"]["generator"]}
    return (observe.apply(generator, variables, z, False, on="generator")[0] + 1) / 2


def grid(generator, seed, state, batch, key):
    """64 samples from noise that depends on the seed alone."""
    from cvdl_jax.analysis.figures.images import mosaic

    return {"samples": mosaic(sample(generator, state, jax.random.key(seed), 64))}


def players(config, info):
    """The modules (generator, discriminator) of the config's two sections."""
    for section in ("model", "optim"):
        if set(config[section]) != set(PLAYERS):
            raise ConfigError(f"config.{section} has {sorted(config[section])}; expected the sections {PLAYERS}")
    images = {"shape": info.spec["image"].shape[1:], "dtype": config.compute_dtype}
    scores = {"num_classes": 1, "dtype": config.compute_dtype, "remat": config.remat}
    return (
        registry.create(config.model.generator, "config.model.generator", kinds=("generative",), **images),
        registry.create(config.model.discriminator, "config.model.discriminator", kinds=("backbones",), **scores),
    )


def descent(config, info, name, loss, updates):
    """The update of a player who makes so many of them in a step, each on a part of the batch."""
    counted = info._replace(
        total_steps=info.total_steps * updates,
        steps_per_epoch=info.steps_per_epoch * updates,
        batch_size=info.batch_size // updates,
    )
    optimizer = recipe.optimizer(config.optim[name], counted, f"config.optim.{name}")
    return descend(loss, optimizer, on=name, grad=gradients.build(config.grad))


def make(config, info) -> Task:
    """The two-player task of a configuration."""
    n = configs.check_value(config.get("critic_steps", 1), int, "config.critic_steps")
    if "image" not in info.spec:
        raise ConfigError("experiment 'gan' needs a data set of images; set config.data.name")
    if n < 1 or info.batch_size % n:
        raise ConfigError(f"config.critic_steps={n} must divide config.batch_size={info.batch_size} into sub-batches")
    loss, (generator, discriminator) = configs.named(adversarial, config.loss, "config.loss")(), players(config, info)
    feedback = recipe.feedback(config)

    def init(key: jax.Array, batch: dict) -> dict:
        keys = jax.random.split(key)
        d, d_stats = initialise(discriminator, keys[0], batch["image"][:1], False)
        g, g_stats = initialise(generator, keys[1], jnp.zeros((1, generator.latent)), False)
        stats = {"discriminator": d_stats, "generator": g_stats}
        return {"params": {"discriminator": d, "generator": g}, "extra": {"batch_stats": stats, **feedback.extra}}

    of_discriminator = partial(discriminator_loss, generator, discriminator, loss)
    of_generator = partial(generator_loss, generator, discriminator, loss, n)
    critic = descent(config, info, "discriminator", of_discriminator, n)
    train = chain(
        recipe.augmentation(config, info),
        repeat(chain(critic, partial(clip, loss.clip)) if loss.clip else critic, n),
        descent(config, info, "generator", of_generator, 1),
        recipe.average(config, of_generator, on="generator"),
    )
    sampler = partial(sample, generator)
    evals = recipe.evaluations(partial(generation.compared, sampler), info.sizes)
    evals |= from_run.judgements(config, info, sampler)
    return Task(init, train, evals, partial(grid, generator, info.seed), feedback.on_eval)
