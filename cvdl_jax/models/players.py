"""What an experiment does with a generator and a discriminator: their losses, their samples, and how they grow.

image: [b, h, w, c] in 0..1; the players see 2 image - 1. z: [b, latent], drawn from the generator's `prior`. A player
with `labels` is told the label of each image, a player that `grows` its level (`ops/growing.py`), which depends on the
number of completed steps alone. Between both stands `config.ada`, augmentation that neither notices where it is absent.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.core.parallel import row_places, row_random
from cvdl_jax.core.task import State, Transform
from cvdl_jax.core.trees import names
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.adaptive_augmentation import Adaptive
from cvdl_jax.nn import observe
from cvdl_jax.nn.apply import apply_eval, apply_train
from cvdl_jax.ops import growing
from cvdl_jax.ops.losses.adversarial import AdversarialLoss
from cvdl_jax.ops.losses.penalties import gradient_penalty, interpolate, real_gradient_penalty
from cvdl_jax.optim.ema import averaged
from cvdl_jax.optim.optimizer import LearningRateState

PLAYERS = ("discriminator", "generator")


class Growth(NamedTuple):
    """How players grow.

    Attributes:
        stable: steps at each resolution.
        fade: steps in which the next one fades in.
        resolutions: how many there are.
    """

    stable: int
    fade: int
    resolutions: int

    def starts(self) -> tuple[int, ...]:
        """The steps before which a new resolution begins to fade in."""
        return tuple(k * (self.stable + self.fade) + self.stable for k in range(self.resolutions - 1))

    def level(self, state: State) -> jax.Array:
        """The level of a state, float32 []."""
        return growing.level_at(state.step, self.stable, self.fade, self.resolutions)


class Game(NamedTuple):
    """Two players and their rules.

    Attributes:
        generator: `(z, train) -> (images in -1..1, out)`.
        discriminator: `(images, train) -> (logits [b, 1], out)`.
        loss: of both.
        adaptive: the augmentation of what the discriminator sees; None for none.
        growth: of both; None for players of full size.
    """

    generator: Any
    discriminator: Any
    loss: AdversarialLoss
    adaptive: Adaptive | None = None
    growth: Growth | None = None

    @property
    def labels(self) -> int:
        """How many classes the players are told; 0 for none."""
        return getattr(self.generator, "labels", 0)


def grown(stable_steps: Size, fade_steps: Counted, resolutions: int, total_steps: int) -> Growth:
    """The arguments of `config.growth`: steps at each resolution, and steps in which the next one fades in.

    Raises:
        ConfigError: for a run that ends before the last resolution is all there is.
    """
    needed = (resolutions - 1) * (stable_steps + fade_steps) + 1
    if total_steps < needed:
        raise ConfigError(
            f"config.growth of stable_steps={stable_steps} and fade_steps={fade_steps} reaches the last of "
            f"{resolutions} resolutions after {needed - 1} steps, and the run has {total_steps}; set "
            f"config.total_steps={needed} or more"
        )
    return Growth(stable_steps, fade_steps, resolutions)


def check(game: Game, classes: int | None, spec: Mapping[str, Any]) -> None:
    """Refuses players that do not fit each other, or the data.

    Args:
        game: of the configuration.
        classes: of the data's labels; None without.
        spec: entries of a batch.

    Raises:
        ConfigError: naming the keys.
    """
    told = {name: getattr(getattr(game, name), "labels", 0) for name in PLAYERS}
    if len(set(told.values())) > 1:
        raise ConfigError(
            f"config.model.generator.labels={told['generator']} and config.model.discriminator.labels="
            f"{told['discriminator']}: both players are told the label, or neither; set both to the same number"
        )
    if game.labels and ("label" not in spec or classes != game.labels):
        raise ConfigError(
            f"config.model.generator.labels={game.labels}: the labels of config.data.name are of {classes or 'no'} "
            f"classes; set both players' labels={classes or 0}"
        )
    widths = {name: getattr(getattr(game, name), "widths", ()) for name in PLAYERS}
    if game.growth and len(widths["generator"]) != len(widths["discriminator"]):
        raise ConfigError(
            f"config.growth: the players have {len(widths['generator'])} and {len(widths['discriminator'])} "
            "resolutions; give config.model.generator.widths and config.model.discriminator.widths as many numbers"
        )


def told(game: Game, player: str, state: State, label: jax.Array | None) -> dict[str, jax.Array]:
    """What a player is told besides its input: the label, the level."""
    more = {"label": label} if getattr(getattr(game, player), "labels", 0) else {}
    return more | ({"level": game.growth.level(state)} if game.growth else {})


def noise(game: Game, key: jax.Array, n: int) -> jax.Array:
    """Z [n, latent] of the generator's prior: N(0, 1), or uniform in 0..1; each row from its own key."""
    draw = jax.random.uniform if getattr(game.generator, "prior", "normal") == "uniform" else jax.random.normal
    return row_random(draw, key, (n, game.generator.latent))


def walk(game: Game) -> tuple | None:
    """What `metrics.generation.walked` asks a generator with a normal prior; None for one of uniform noise."""
    if getattr(game.generator, "prior", "normal") == "uniform":
        return None
    return partial(noise, game), lambda state, key, z: sample(game, state, key, len(z), z=z)


def make_images(game: Game, state: State, key: jax.Array, n: int, label: jax.Array | None = None) -> Any:
    """Images [n, h, w, c] in -1..1 in training mode, and the state with the generator's new statistics."""
    z, more = noise(game, key, n), told(game, "generator", state, label)
    (images, _), state = apply_train(game.generator, state, z, key, on="generator", **more)
    return images, state


def score(game: Game, state: State, x: jax.Array, key: jax.Array, label: jax.Array | None = None) -> Any:
    """Scores [b] in training mode, and the state with the discriminator's new statistics."""
    more = told(game, "discriminator", state, label)
    (logits, _), state = apply_train(game.discriminator, state, x, key, on="discriminator", **more)
    return logits[:, 0], state


def shown(game: Game, state: State, images: jax.Array, key: jax.Array) -> jax.Array:
    """Images in -1..1 as the discriminator is shown them: augmented, where that is asked for."""
    return images if game.adaptive is None else game.adaptive.augmented(state, images, key)


def mixes_rows(state: State) -> bool:
    """Whether the discriminator keeps means of batches, and so scores an image together with the others."""
    return any(name.endswith("mean") for name in names(state.extra["batch_stats"]["discriminator"]))


def discriminator_loss(game: Game, state: State, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
    """Sums over the images of a batch and as many samples; the generator's statistics stay.

    Where the discriminator keeps vectors of a power iteration, and no means, both passes begin with the same ones: a
    step of training is one step of the iteration.
    """
    real, keys, loss = 2 * batch["image"] - 1, jax.random.split(key, 5), game.loss
    more = jax.random.split(jax.random.fold_in(key, 5))
    label, weight = batch.get("label"), jnp.ones(len(real)).sum()
    fake = lax.stop_gradient(make_images(game, state, keys[0], len(real), label)[0])
    if game.growth:
        real = growing.seen_at(real, game.growth.level(state), game.growth.resolutions)
    real, fake = shown(game, state, real, more[0]), shown(game, state, fake, more[1])
    on_real, after = score(game, state, real, keys[1], label)
    on_fake, after = score(game, after if mixes_rows(state) else state, fake, keys[2], label)
    values = {"loss": loss.discriminator(on_real, on_fake), "score_real": on_real, "score_fake": on_fake}
    if game.adaptive is not None:
        values["sign_real"] = jnp.sign(on_real)
    if loss.penalty:
        if mixes_rows(state):
            raise ConfigError(
                "config.loss.penalty needs a critic that does not mix rows; set config.model.discriminator.norm='layer'"
            )
        between = interpolate(real, fake, row_random(jax.random.uniform, keys[3], (len(real),)))
        penalise, x = (real_gradient_penalty, real) if loss.at_real else (gradient_penalty, between)
        # slopes are those of the small image's pixels, of which each is many of the full size
        side = growing.pixel_size(game.growth.level(state), game.growth.resolutions) if game.growth else 1
        values["penalty"] = penalise(lambda x: score(game, after, x * side, keys[4], label)[0], x / side)
        values["loss"] += loss.penalty * values["penalty"]
    return after, {name: (value.sum(), weight) for name, value in values.items()}


def generator_loss(game: Game, n: int, state: State, batch: Mapping[str, jax.Array], key: jax.Array) -> Any:
    """Sums over b / n new samples; the discriminator's statistics stay."""
    keys, rows = jax.random.split(key), len(batch["image"]) // n
    label = batch["label"].reshape(rows, n, *batch["label"].shape[1:])[:, 0] if game.labels else None
    fake, state = make_images(game, state, keys[0], rows, label)
    fake = shown(game, state, fake, jax.random.fold_in(key, 2))
    losses = game.loss.generator(score(game, state, fake, keys[1], label)[0])
    return state, {"loss": (losses.sum(), jnp.ones(len(losses)).sum())}


def sample(game: Game, state: State, key: jax.Array, n: int, label: jax.Array | None = None, **more: Any) -> jax.Array:
    """Images [n, h, w, c] in 0..1 of the averaged generator where there is one, each row from its own key.

    Args:
        game: the players.
        state: of training.
        key: of the noise.
        n: how many.
        label: int [n], of a generator that is told one; None for the classes in turn, by the row's place.
        **more: other arguments of the generator, and `z` in place of noise.
    """
    state = averaged(state, on="generator")
    z = more.pop("z") if "z" in more else noise(game, key, n)
    label = row_places(n) % game.labels if label is None and game.labels else label
    variables = {"params": state.params["generator"], "batch_stats": state.extra["batch_stats"]["generator"]}
    more |= told(game, "generator", state, label) | {"rngs": {"dropout": jax.random.fold_in(key, 1)}}
    images = observe.apply(game.generator, variables, z, False, on="generator", **more)[0]
    return jnp.clip((images + 1) / 2, 0, 1)


def learned(game: Game, state: State, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The maps of all layers of the discriminator, each pooled by maxima to a 4x4 grid, in evaluation mode: [b, d].

    Reference: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", section 4.1.
    """
    _, out = apply_eval(game.discriminator, state, 2 * batch["image"] - 1, on="discriminator")
    return jnp.concatenate([pooled(maps) for maps in out["stages"]], 1)


def pooled(maps: jax.Array, grid: int = 4) -> jax.Array:
    """The maxima of maps [b, h, w, c] over a grid of cells that cover them, the last ones smaller: [b, cells c].

    A map of fewer pixels a side than `grid` is taken as it is.
    """
    b, h, w, c = maps.shape
    cells = [-(-n // grid) if n > grid else 1 for n in (h, w)]
    pads = [-n % cell for n, cell in zip((h, w), cells, strict=True)]
    low = jnp.asarray(-jnp.inf, maps.dtype)
    x = jnp.pad(maps, ((0, 0), (0, pads[0]), (0, pads[1]), (0, 0)), constant_values=low)
    x = x.reshape(b, x.shape[1] // cells[0], cells[0], x.shape[2] // cells[1], cells[1], c)
    return x.max((2, 4)).reshape(b, -1)


def styles(game: Game, state: State, key: jax.Array) -> dict[str, jax.Array]:
    """Samples of a generator with styles, 8 to a row, in 0..1.

    Args:
        game: whose generator has `mapping`, `truncation` and `layers`.
        state: of training.
        key: of the noise; the same 8 images are in each row.

    Returns:
        {"truncation": with styles 0, 0.25 ... 1 times as far from their mean, "mixing": no styles of another 8, those
        from the finest resolution on, from the finest two on, ... and all of them}.
    """
    z, other = (noise(game, k, 8) for k in jax.random.split(key))
    layers = game.generator.layers

    @jax.jit
    def made(state: State, psi: jax.Array, first: jax.Array) -> jax.Array:
        return sample(game, state, key, 8, z=z, other=other, first=first, truncation=psi)

    truncated = [made(state, psi, layers) for psi in (0.0, 0.25, 0.5, 0.75, 1.0)]
    mixed = [made(state, 1.0, first) for first in range(layers, -1, -2)]
    return {"truncation": jnp.concatenate(truncated), "mixing": jnp.concatenate(mixed)}


def restarted(steps: Transform, descent: Transform, player: str, growth: Growth) -> Transform:
    """Steps whose moments begin anew with each new resolution; the count of updates for the rate goes on.

    What a new layer's gradients are divided by would else be an average with the zeros of all steps before it was used.

    Args:
        steps: all of the player's in one training step, so that moments begin anew once.
        descent: of `task.descend`, whose moments they are.
        player: its name in `state.opt`.
        growth: says when.

    Reference: Karras et al. 2018, appendix A, "we reset the optimizer's state", of their programme.
    """

    def keep(fresh: Any, old: Any) -> Any:
        return old if isinstance(old, LearningRateState) else fresh

    def update(state: State, batch: Any, key: jax.Array) -> Any:
        begins = jnp.isin(state.step, jnp.asarray(growth.starts() or (-1,)))
        old, others = state.opt[player], {name: x for name, x in state.opt.items() if name != player}
        fresh = descent.init(state._replace(opt=others)).opt[player]
        fresh = jax.tree.map(keep, fresh, old, is_leaf=lambda x: isinstance(x, LearningRateState))
        opt = jax.tree.map(lambda a, b: jnp.where(begins, a, b), fresh, old)
        return steps.update(state._replace(opt={**others, player: opt}), batch, key)

    return Transform(update, steps.init)
