"""Morphing: the codes with which a generator comes nearest to images, and the ways between these codes.

    z_i = argmin_z |f(x_i) - f(G(z))|;   G(slerp(z_1, z_2, t)), t from 0 to 1

G is the generator of `config.model`, of a run that `config.init_from` names, whose weights stay; f are pixels, or a
layer of a classifier's run. The images are the first `2 pairs` of a split. There are no data and batches are {}; the
codes, several for each image, are the parameters, and a step is an ordinary step of an optimizer. `params`: {"codes":
[2 pairs, starts, d], "generator"}; `extra`: {"batch_stats": {"generator"}, "ema", "ema_statistics": of the run, which
make the images where it has them; "images", "features"}. The evaluation "morph": the mean distance of the nearest code,
that of random codes, and that of the two images of a pair from each other.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.analysis.figures import images
from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.core import gradients
from cvdl_jax.core.task import Eval, Task, descend
from cvdl_jax.data.pixels import to_unit
from cvdl_jax.engine import from_run, recipe, runs
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import initialise
from cvdl_jax.ops.latent_walks import slerp
from cvdl_jax.optim.ema import averaged

READS = ("model", "morph", "optim", "grad", "compute_dtype")


class Morph(NamedTuple):
    """The arguments of `config.morph`."""

    data: Mapping = {}  # a section as `config.data`
    split: str = "test"  # of which the images are
    pairs: Size = 4  # of images
    points: Size = 8  # K, images of a way, both ends included
    starts: Size = 4  # codes of each image, which begin at random, and of which the nearest is taken at the end
    workdir: str = ""  # of a classifier, whose features are compared; "" for pixels
    checkpoint: str = "best"  # of that run
    layer: str = "pre_logits"  # of that classifier


def decoded(generator, state, z):
    """Images [n, h, w, c] in 0..1 of codes [n, d]."""
    state = averaged(state, on="generator")
    variables = {"params": state.params["generator"], "batch_stats": state.extra["batch_stats"]["generator"]}
    return (generator.apply(lax.stop_gradient(variables), z, False)[0] + 1) / 2


def distances(generator, features, state, codes):
    """`|f(x) - f(G(z))|` of codes [n, starts, d], [n, starts]; where features are equal its slope is 0."""
    made = features(decoded(generator, state, codes.reshape(-1, codes.shape[-1])))
    far = made.reshape(*codes.shape[:2], -1) - state.extra["features"].reshape(len(codes), 1, -1)
    return jnp.sqrt(jnp.square(far).sum(-1) + 1e-12)


def nearest(generator, features, state):
    """The code of each image that is nearest to it, [n, d]."""
    codes = state.params["codes"]
    best = distances(generator, features, state, codes).argmin(1)
    return jnp.take_along_axis(codes, best[:, None, None], 1)[:, 0]


def training_loss(generator, features, state, batch, key):
    """The sum over all codes, each of which moves for itself."""
    return state, {"loss": (distances(generator, features, state, state.params["codes"]).sum(), jnp.ones(()))}


def evaluation_step(generator, features, state, batch, key):
    """Means over the images, in the units of the features, and of pixels."""
    codes, target = nearest(generator, features, state), state.extra["features"].reshape(len(state.extra["images"]), -1)
    chance = jax.random.normal(jax.random.key(0), state.params["codes"].shape)
    values = {
        "distance": distances(generator, features, state, codes[:, None])[:, 0],
        "of_random_codes": distances(generator, features, state, chance).mean(1),
        "between_images": jnp.sqrt(jnp.square(target[0::2] - target[1::2]).sum(-1)),
        "pixel_l1": abs(decoded(generator, state, codes) - state.extra["images"]).mean((1, 2, 3)),
    }
    return {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in values.items()}


def report(generator, features, points, state, batch, key):
    """A row for each pair: an image, the way between their codes, and the other image."""
    codes, shown = nearest(generator, features, state), state.extra["images"]
    t = jnp.linspace(0, 1, points)[None, :, None]
    ways = slerp(codes[0::2, None], codes[1::2, None], t)  # [pairs, K, d]
    made = decoded(generator, state, ways.reshape(-1, codes.shape[-1])).reshape(*ways.shape[:2], *shown.shape[1:])
    rows = jnp.concatenate([shown[0::2, None], made, shown[1::2, None]], 1)
    return {"morphs": images.mosaic(rows.reshape(-1, *shown.shape[1:]), columns=points + 2)}


def features_of(morph, channels):
    """F as a function of images in 0..1."""
    if not morph.workdir:
        return lambda x: x
    built, state, _ = runs.load_evaluated(morph.workdir, morph.checkpoint, with_data=True)
    made_for = built.info.spec["image"].shape[1:] if "image" in built.info.spec else ()
    if len(made_for) != 3 or made_for[-1] != channels:
        raise ConfigError(f"config.morph.workdir={morph.workdir!r} sees {list(made_for)}, not {channels} channels")
    of_layer = from_run.model_features(built, jax.device_get(state), morph, "config.morph")
    sized = lambda x: jax.image.resize(x, (len(x), *made_for), "bilinear")  # noqa: E731
    return lambda x: of_layer({"image": sized(x)})


def make(config, info) -> Task:
    """The task of a configuration."""
    morph = configs.call(Morph, config.morph, "config.morph")
    stored = recipe.whole_splits(morph.data, "config.morph.data", [morph.split], 2 * morph.pairs)[1][morph.split]
    if "image" not in stored or len(stored["image"]) < 2 * morph.pairs:
        raise ConfigError(f"config.morph.pairs={morph.pairs} needs {2 * morph.pairs} images in {morph.split!r}")
    shown = to_unit(jnp.asarray(stored["image"]))
    generator = registry.create(
        config.model, "config.model", kinds=("generative",), shape=shown.shape[1:], dtype=config.compute_dtype
    )
    features = features_of(morph, shown.shape[-1])

    def init(key: jax.Array, batch: dict) -> dict:
        params, stats = initialise(generator, key, jnp.zeros((1, generator.latent)), False)
        codes = jax.random.normal(jax.random.fold_in(key, 1), (len(shown), morph.starts, generator.latent))
        return {
            "params": {"codes": codes, "generator": params},
            "extra": {
                "batch_stats": {"generator": stats}, "ema": jax.tree.map(jnp.copy, params), "ema_statistics": stats,
                "images": shown, "features": features(shown),
            },
        }  # fmt: skip

    loss = partial(training_loss, generator, features)
    optimizer = recipe.optimizer(config.optim, info)
    train = descend(loss, optimizer, on="codes", grad=gradients.build(config.grad))
    evals = {"morph": Eval(partial(evaluation_step, generator, features), data=1)}
    return Task(init, train, evals, partial(report, generator, features, morph.points))
