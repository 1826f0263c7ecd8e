"""Domain transfer network: images of a source as images of a target, without pairs, with all that an encoder sees.

image (source), image_emoji (target): [b, h, w, c] in 0..1; the players see 2 image - 1. The generator is g(f(x)) with
the frozen encoder f of `config.encoder` (`engine/encoders.py`), for images of both domains. Rows of the two entries
belong together, which no loss uses. `params` and `opt`: {"generator", "discriminator"}; `extra`: {"batch_stats":
{"generator", "discriminator"}, "encoder": weights of f, "ema"?, "feedback"?}. `config.objective` has the weights of
`ops/losses/domain_transfer.py`.
Evaluations: "validation" and "test": `l1`, how far a transfer is from the emoji of the same person, in 0..1, beside
`unchanged_l1` of the photo itself; `constancy`, the distance of features; `identity_l1` of emoji that are transferred.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config import configs
from cvdl_jax.core.task import Eval, Task, chain
from cvdl_jax.engine import encoders, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train, initialise
from cvdl_jax.ops.losses import domain_transfer as losses
from cvdl_jax.optim.ema import averaged

READS = ("model", "objective", "encoder", "data", "grad", "optim", "ema", "plateau", "early_stopping",
         "compute_dtype")  # fmt: skip
TARGET = "image_emoji"
PLAYERS = ("discriminator", "generator")


def made_of(net, state, images, key):
    """Images [b, h, w, c] in -1..1 that are made of images in 0..1, and the state with the generator's statistics."""
    _, g, f = net
    codes = lax.stop_gradient(f.apply(state.extra["encoder"], images))
    (made, _), state = apply_train(g, state, codes, key, on="generator")
    return made, state


def score(net, state, images, key):
    """Logits [b, 3] of images in -1..1, and the state with the discriminator's statistics."""
    (logits, _), state = apply_train(net[0], state, images, key, on="discriminator")
    return logits, state


def generator_loss(net, objective, state, batch, key):
    """Sums of the game and of what is wanted beside it; the discriminator's statistics stay."""
    keys, f = jax.random.split(key, 4), net[2]
    of_source, state = made_of(net, state, batch["image"], keys[0])
    of_target, state = made_of(net, state, batch[TARGET], keys[1])
    judged = [score(net, state, x, k)[0] for x, k in ((of_source, keys[2]), (of_target, keys[3]))]
    weights, here = state.extra["encoder"], f.apply(state.extra["encoder"], batch["image"])
    parts = {"game": losses.generator(*judged)}
    parts["constancy"] = objective.constancy * losses.squared_distance(here, f.apply(weights, (of_source + 1) / 2))
    parts["identity"] = objective.identity * losses.squared_distance(2 * batch[TARGET] - 1, of_target)
    variation = losses.total_variation(of_source) + losses.total_variation(of_target)
    parts["smoothness"] = objective.smoothness * variation
    values = {"loss": sum(parts.values()), **parts}
    return state, {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in values.items()}


def discriminator_loss(net, state, batch, key):
    """Sums over the three classes; the generator's statistics stay."""
    keys = jax.random.split(key, 5)
    made = [
        lax.stop_gradient(made_of(net, state, batch[x], k)[0]) for x, k in zip(("image", TARGET), keys, strict=False)
    ]
    judged, after = [], state
    for x, k in zip((*made, 2 * batch[TARGET] - 1), keys[2:], strict=True):
        logits, after = score(net, after, x, k)
        judged.append(logits)
    value = losses.discriminator(*judged)
    right = [logits.argmax(1) == kind for kind, logits in enumerate(judged)]
    values = {"loss": value, "accuracy": sum(x * 1.0 for x in right) / 3}
    return after, {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in values.items()}


def transfer(net, state, images):
    """Images in 0..1 as images of the target, by the averaged generator where there is one."""
    _, g, f = net
    made = apply_eval(g, averaged(state, on="generator"), f.apply(state.extra["encoder"], images), on="generator")[0]
    return jnp.clip((made + 1) / 2, 0, 1)


def evaluation_step(net, state, batch, key):
    """Sums over real rows."""
    weights, apply = state.extra["encoder"], net[2].apply
    photo, emoji, mask = batch["image"], batch[TARGET], batch["mask"]
    made = transfer(net, state, photo)
    pairs = {"l1": (made, emoji), "unchanged_l1": (photo, emoji), "identity_l1": (transfer(net, state, emoji), emoji)}
    rows = {name: jnp.abs(x - y).mean((1, 2, 3)) for name, (x, y) in pairs.items()}
    rows["constancy"] = losses.squared_distance(apply(weights, photo), apply(weights, made))
    return {name: ((x * mask).sum(), mask.sum()) for name, x in rows.items()}


def report(net, state, batch, key):
    """Photos, their transfers, and the emoji of the same people; emoji and their transfers."""
    from cvdl_jax.analysis.figures.images import mosaic

    columns = min(8, len(batch["image"]))
    photo, emoji = batch["image"][:columns], batch[TARGET][:columns]
    made = jax.jit(partial(transfer, net))
    return {"transfer": mosaic(jnp.concatenate([photo, made(state, photo), emoji, made(state, emoji)]), columns)}


def make(config, info) -> Task:
    """The task of a configuration."""
    if not {"image", TARGET} <= (info.spec or {}).keys():
        raise ConfigError(f"experiment 'transfer_domain' needs 'image' and {TARGET!r}; set config.data.name=faces")
    if set(config.model) != set(PLAYERS):
        raise ConfigError(f"config.model has {sorted(config.model)}; expected the sections discriminator, generator")
    objective, feedback = configs.call(losses.Objective, config.objective, "config.objective"), recipe.feedback(config)
    shape, dtype = tuple(info.spec["image"].shape[1:]), {"dtype": config.compute_dtype}
    f, weights = encoders.encoder(config.encoder, shape, config.compute_dtype)
    section = {**config.model.generator, "latent": f.width}
    g = registry.create(section, "config.model.generator", kinds=("generative",), shape=shape, **dtype)
    d = registry.create(
        config.model.discriminator, "config.model.discriminator", kinds=("backbones",), num_classes=3, **dtype
    )
    net = (d, g, f)

    def init(key: jax.Array, batch: dict) -> dict:
        keys = jax.random.split(key)
        d_params, d_stats = initialise(d, keys[0], batch["image"][:1], False)
        g_params, g_stats = initialise(g, keys[1], jnp.zeros((1, f.width)), False)
        stats = {"discriminator": d_stats, "generator": g_stats}
        extra = {"batch_stats": stats, "encoder": jax.tree.map(jnp.asarray, weights), **feedback.extra}
        return {"params": {"discriminator": d_params, "generator": g_params}, "extra": extra}

    wanted = {"discriminator": partial(discriminator_loss, net), "generator": partial(generator_loss, net, objective)}
    train = chain(
        *recipe.players(config, info, wanted).values(), recipe.average(config, wanted["generator"], on="generator")
    )
    evals = recipe.evaluations(partial(Eval, partial(evaluation_step, net), lambda means, rows: means), info.sizes)
    predict = lambda state, batch: {"images/transfer": transfer(net, state, batch["image"])}  # noqa: E731
    return Task(init, train, evals, partial(report, net), feedback.on_eval, predict=predict)
