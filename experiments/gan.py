"""Generative adversarial networks: DCGAN, conditional, Wasserstein, spectral, progressive, StyleGAN; any losses.

image: [b, h, w, c] in 0..1; the players see 2 image - 1; label: int [b] of players that are told one (`labels`). z:
[b, latent] of the generator's prior. A training step is n discriminator steps (`critic_steps`) on sub-batches of b / n
rows, then one generator step on b / n new samples. `config.growth` has the arguments of `models.players.grown`,
`config.ada` those of `models.adaptive_augmentation.adaptive`. `params` and `opt`: {"discriminator", "generator"};
`extra`: {"batch_stats": {both}, "ema"?, "ema_statistics"?, "augmentation"?, "feedback"?}, where "ema" is the averaged
generator, of which samples are made. Evaluations: "validation", "test" and, where there is one, "judge"; with
`config.ada`, "overfitting": r_v and r_t.
"""

from functools import partial

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.task import Task, chain, repeat
from cvdl_jax.engine import from_run, recipe
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics import generation
from cvdl_jax.models import players, registry
from cvdl_jax.models.adaptive_augmentation import adaptive, following, overfitting
from cvdl_jax.models.players import PLAYERS, Game, discriminator_loss, generator_loss, sample
from cvdl_jax.nn.apply import apply_eval, initialise
from cvdl_jax.ops.losses import adversarial

READS = ("model", "loss", "data", "augment", "grad", "optim", "ema", "plateau", "early_stopping", "compute_dtype",
         "remat", "critic_steps", "judge", "growth", "ada")  # fmt: skip


def clip(bound, state, batch, key):
    """Bounds each of the discriminator's parameters (Arjovsky et al. 2017, algorithm 1)."""
    clipped = jax.tree.map(lambda p: jnp.clip(p, -bound, bound), state.params["discriminator"])
    return state._replace(params={**state.params, "discriminator": clipped}), batch, {}


def grid(game, seed, state, batch, key):
    """64 samples from noise that depends on the seed alone, or a column for each class; and what styles do."""
    from cvdl_jax.analysis.figures.images import mosaic

    made, columns = jax.jit(partial(sample, game), static_argnums=2), game.labels or 8
    figures = {"samples": mosaic(made(state, jax.random.key(seed), 8 * columns), columns=columns)}
    if hasattr(game.generator, "mapping"):
        figures |= {name: mosaic(x) for name, x in players.styles(game, state, jax.random.key(seed)).items()}
    return figures


def make_game(config, info) -> Game:
    """The players of the config's two sections, and their rules."""
    if set(config.model) != set(PLAYERS):
        raise ConfigError(f"config.model has {sorted(config.model)}; expected the sections {', '.join(PLAYERS)}")
    images = {"shape": info.spec["image"].shape[1:], "dtype": config.compute_dtype}
    scores = {"num_classes": 1, "dtype": config.compute_dtype, "remat": config.remat}
    game = Game(
        registry.create(config.model.generator, "config.model.generator", kinds=("generative",), **images),
        registry.create(config.model.discriminator, "config.model.discriminator", kinds=("backbones",), **scores),
        configs.named(adversarial, config.loss, "config.loss")(),
    )
    if config.get("ada"):
        game = game._replace(adaptive=configs.call(adaptive, config.ada, "config.ada", spec=info.spec["image"]))
    if config.get("growth"):
        grows = [getattr(player, "grows", False) for player in (game.generator, game.discriminator)]
        if not all(grows):
            raise ConfigError("config.growth is for players that grow, such as progressive_generator_32; set it to {}")
        length = {"resolutions": len(game.generator.widths), "total_steps": info.total_steps}
        game = game._replace(growth=configs.call(players.grown, config.growth, "config.growth", **length))
    players.check(game, info.num_classes, info.spec)
    return game


def scores_of(game, state, images, batch):
    """Scores [b] of images in 0..1, in evaluation mode."""
    more = players.told(game, "discriminator", state, batch.get("label"))
    return apply_eval(game.discriminator, state, 2 * images - 1, on="discriminator", **more)[0][:, 0]


def make(config, info) -> Task:
    """The two-player task of a configuration."""
    if "image" not in info.spec:
        raise ConfigError("experiment 'gan' needs a data set of images; set config.data.name")
    n = recipe.critic_steps(config, info)
    game, feedback = make_game(config, info), recipe.feedback(config)
    sampler = partial(sample, game)

    def init(key: jax.Array, batch: dict) -> dict:
        keys = jax.random.split(key)
        d, d_stats = initialise(game.discriminator, keys[0], batch["image"][:1], False)
        g, g_stats = initialise(game.generator, keys[1], jnp.zeros((1, game.generator.latent)), False)
        extra = {"batch_stats": {"discriminator": d_stats, "generator": g_stats}, **feedback.extra}
        extra |= game.adaptive.extra() if game.adaptive else {}
        return {"params": {"discriminator": d, "generator": g}, "extra": extra}

    of_generator = partial(generator_loss, game, n)
    losses = {"discriminator": partial(discriminator_loss, game), "generator": of_generator}
    steps = recipe.players(config, info, losses, {"discriminator": n})
    critic = steps["discriminator"]
    critic = chain(critic, partial(clip, game.loss.clip)) if game.loss.clip else critic
    critic = following(critic, game.adaptive) if game.adaptive else critic
    turns = {"discriminator": repeat(critic, n), "generator": steps["generator"]}
    if game.growth is not None:
        turns = {name: players.restarted(turn, steps[name], name, game.growth) for name, turn in turns.items()}
    train = chain(
        recipe.augmentation(config, info),
        turns["discriminator"],
        turns["generator"],
        recipe.average(config, of_generator, on="generator"),
    )
    evals = recipe.evaluations(partial(generation.compared, sampler), info.sizes)
    if game.adaptive and "validation" in info.sizes:
        generated = lambda state, key, batch: sampler(state, key, len(batch["image"]), batch.get("label"))  # noqa: E731
        evals["overfitting"] = overfitting(partial(scores_of, game), generated)
    evals |= from_run.judgements(config, info, sampler, labels=game.labels, walk=players.walk(game))
    told = game.growth is not None or getattr(game.discriminator, "labels", 0)
    features = None if told else partial(players.learned, game)
    return Task(init, train, evals, partial(grid, game, info.seed), feedback.on_eval, features=features)
