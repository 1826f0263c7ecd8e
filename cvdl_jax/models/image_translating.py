"""What an experiment does with networks from image to image: its players, scores of patches, the pool of images."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import State
from cvdl_jax.data.pairs import AFTER, second
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.losses import adversarial, translation
from cvdl_jax.ops.losses.adversarial import AdversarialLoss
from cvdl_jax.ops.losses.translation import Objective
from cvdl_jax.optim.ema import averaged


class Method(NamedTuple):
    """What a configuration chooses: the players' modules, their loss, the objective, whether images need a tanh."""

    generator: Any
    discriminator: Any
    loss: AdversarialLoss
    objective: Objective
    squash: bool


def make_method(config: Any, info: Info) -> Method:
    """The method of `config.model`, `config.loss` and `config.objective`.

    Raises:
        ConfigError: for data without pairs of entries, players or losses that do not fit.
    """
    spec, after = info.spec, second(info.spec)
    if "image" not in spec or not after:
        raise ConfigError(
            f"experiment {config.experiment!r} translates 'image' to {AFTER!r}, and config.data.name="
            f"{config.data.get('name', '')!r} has {', '.join(spec) or 'nothing'}; choose face_domains or aerial_pairs, "
            "or name two classes of a set in config.data.domains"
        )
    if spec["image"].shape != spec[after].shape:
        one, other = (list(spec[name].shape[1:]) for name in ("image", after))
        raise ConfigError(f"'image' is {one} and {after!r} {other}; set config.data.image_size and channels")
    loss = configs.named(adversarial, config.loss, "config.loss")()
    if loss.penalty or loss.clip:
        raise ConfigError(
            f"config.loss={dict(config.loss)}: experiment {config.experiment!r} has no penalties; choose "
            "least_squares, non_saturating or hinge, without penalty"
        )
    if set(config.model) != {"generator", "discriminator"}:
        raise ConfigError(f"config.model has {sorted(config.model)}; expected the sections discriminator and generator")
    name, channels = config.model.generator.get("name"), spec["image"].shape[-1]
    variant = registry.variants().get(name)
    squash = variant is not None and variant.kind == "segmentation"  # a U-Net, whose scores become pixels
    kinds, context = (("segmentation",), "num_classes") if squash else (("generative",), "out_channels")
    more = {"dtype": config.compute_dtype, "remat": config.remat}
    generator = registry.create(
        config.model.generator, "config.model.generator", kinds=kinds, **{context: channels}, **more
    )
    discriminator = registry.create(
        config.model.discriminator, "config.model.discriminator", kinds=("generative",), dtype=config.compute_dtype
    )
    objective = configs.named(translation, config.objective, "config.objective")()
    if len(objective.ways) == 1 and after != AFTER:
        raise ConfigError(
            f"config.objective={dict(config.objective)} learns from pairs, and the images of config.data.domains are "
            "none; set config.data.paired=True where the names of their files make pairs, or the objective unpaired"
        )
    return Method(generator, discriminator, loss, objective, squash)


def distance(x: jax.Array, y: jax.Array) -> jax.Array:
    """Mean absolute difference of each row, [b]; x and y [b, ...]."""
    return abs(x - y).mean(tuple(range(1, x.ndim)))


def patches(losses: jax.Array) -> jax.Array:
    """The mean over the patches of each image: [b, h, w, 1] -> [b]."""
    return losses.mean((1, 2, 3))


def exchanged(pool: Mapping[str, jax.Array], made: jax.Array, key: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
    """Puts new images into the pool, and takes out as many to show a discriminator.

    Each row has a pool of its own. While it is not full a new image is kept and shown; later, one time in two, it takes
    the place of a random one, which is shown.

    Args:
        pool: {"images": [b, n, h, w, c], "kept": int [b]}.
        made: [b, h, w, c].
        key: each row draws from its own.

    Returns:
        (the pool, images [b, h, w, c]).
    """
    images, kept = pool["images"], pool["kept"]
    n = images.shape[1]
    draws = row_random(jax.random.uniform, key, (len(made), 2))
    full, swap = kept >= n, draws[:, 0] < 0.5
    at = jnp.where(full, jnp.minimum((draws[:, 1] * n).astype(jnp.int32), n - 1), kept)  # [b]
    old = jnp.take_along_axis(images, at[:, None, None, None, None], 1)[:, 0]
    shown = jnp.where((full & swap)[:, None, None, None], old, made)
    here = (jnp.arange(n)[None] == at[:, None]) & (~full | swap)[:, None]  # [b, n]
    images = jnp.where(here[..., None, None, None], made[:, None], images)
    return {"images": images, "kept": jnp.minimum(kept + 1, n)}, shown


def empty_pool(objective: Objective, rows: int, like: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """What a run begins with, for each way: the pool, where there is one, and the images last shown."""
    shape = like.shape[1:]
    shown = jnp.zeros((rows, *shape), like.dtype)
    if not objective.pool:
        return {"shown": shown}
    images = jnp.zeros((rows, objective.pool, *shape), like.dtype)
    return {"shown": shown, "images": images, "kept": jnp.zeros(rows, jnp.int32)}


def translate(method: Method, params: Any, way: str, x: jax.Array, train: bool, key: Any = None) -> jax.Array:
    """Images [b, h, w, c] in -1..1 of one of the generators; a key for its dropout in training."""
    rngs = {} if key is None else {"rngs": {"dropout": key}}
    y = apply_params(method.generator, params["generators"][way], x, train, **rngs)[0]
    return jnp.tanh(y) if method.squash else y


def predicted(method: Method, state: State, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """{"images/way": [b, h, w, c] in 0..1} by each generator, whose domain the inputs are taken for."""
    params, x = averaged(state, on="generators").params, 2 * batch["image"] - 1
    made = {f"images/{way}": translate(method, params, way, x, False) for way in method.objective.ways}
    return {name: jnp.clip((y + 1) / 2, 0, 1) for name, y in made.items()}


def scores(method: Method, params: Any, way: str, seen: jax.Array, x: jax.Array) -> jax.Array:
    """Scores of patches [b, h', w', 1] of images x; where pairs are known, of x beside what it was made of."""
    x = jnp.concatenate([seen, x], -1) if len(method.objective.ways) == 1 else x
    return apply_params(method.discriminator, params["discriminators"][way], x, True)[0]
