"""Features of finished runs that were trained for something else: autoencoders, GANs, inpainting, self-supervision."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.core.task import State
from cvdl_jax.engine.build import Run
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import autoencoding, inpainting, registry
from cvdl_jax.nn.apply import apply_eval, apply_params
from cvdl_jax.optim.ema import averaged

GRID = 4  # maps are pooled to so many cells a side
Features = Callable[[State, Mapping[str, jax.Array]], jax.Array]


def features_of(built: Run, path: str) -> Features:
    """What a run's network has learned to see, as a function `(state, batch) -> float [b, d]`.

    Of a self-supervised run its own "features"; of an autoencoder the code, or its mean; of a GAN the maps of all
    layers of the discriminator, each pooled by maxima to a 4x4 grid; of an inpainter the mean over places of the first
    stage's innermost map, for images without a hole.

    Args:
        built: of `runs.load_built`.
        path: of the section that names the run, for messages.

    Raises:
        ConfigError: for a run of another experiment, or a model that is told labels or grows.

    Reference: Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial
        Networks", section 4.1 (the discriminator's maps).
    """
    config, info, predict = built.config, built.info, built.task.predict
    if predict is not None and config.experiment in (
        "contrastive",
        "momentum",
        "instance_discrimination",
        "mae",
        "pretext",
    ):
        return lambda state, batch: predict(state, batch)["features"]
    if config.experiment == "autoencode":
        method = autoencoding.make_autoencoder(config, info)
        _refuse(method.model.num_classes, path)
        return lambda state, batch: _code(apply_eval(method.model, averaged(state), batch["image"])[1])
    if config.experiment == "gan":
        section, how = config.model.discriminator, {"num_classes": 1, "dtype": config.compute_dtype}
        critic = registry.create(section, "config.model.discriminator", kinds=("backbones",), **how)
        _refuse(getattr(critic, "labels", 0) or bool(config.growth), path)

        def seen(state: State, batch: Mapping[str, jax.Array]) -> jax.Array:
            _, out = apply_eval(critic, state, 2 * batch["image"] - 1, on="discriminator")
            return jnp.concatenate([pooled(maps) for maps in out["stages"]], 1)

        return seen
    if config.experiment == "inpaint":
        painter = inpainting.make_method(config, info)

        def inner(state: State, batch: Mapping[str, jax.Array]) -> jax.Array:
            params = averaged(state, on="generators").params["generators"][inpainting.COARSE]
            x = 2 * batch["image"] - 1
            shown = jnp.concatenate([x, jnp.zeros_like(x[..., :1])], -1)
            _, out = apply_params(painter.generators[inpainting.COARSE], params, shown, False)
            return out["code"].mean((1, 2))

        return inner
    raise ConfigError(
        f"{path} is a run of experiment {config.experiment!r}, whose features nobody has named; name a run of "
        "autoencode, gan, inpaint, contrastive, momentum, instance_discrimination, mae or pretext"
    )


def _refuse(told: Any, path: str) -> None:
    if told:
        raise ConfigError(
            f"{path}: this run's network is told labels, or grows; name a run whose network sees images alone"
        )


def _code(out: Mapping[str, jax.Array]) -> jax.Array:
    code = out.get("mean", out["code"])
    return code.reshape(len(code), -1)


def pooled(maps: jax.Array, grid: int = GRID) -> jax.Array:
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
