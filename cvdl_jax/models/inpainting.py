"""What an experiment does with two-stage inpainting: its players, holes, and images that are completed twice."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative, Size, UpToOne
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_random
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_params
from cvdl_jax.ops.images.holes import discounts, hole_mask
from cvdl_jax.ops.losses import adversarial
from cvdl_jax.ops.losses.adversarial import AdversarialLoss
from cvdl_jax.optim.ema import averaged

COARSE, REFINED = "coarse", "refined"
GLOBAL, LOCAL = "global", "local"


class Hole(NamedTuple):
    """The arguments of `config.hole`, and of the losses beside the game (Yu et al. 2018, section 3.2 and its code)."""

    side: Size = 24  # of the square that is missing, in pixels
    decay: UpToOne = 0.99  # of gamma, for each pixel further from what is known
    coarse: NotNegative = 1.2  # weight of the first stage's error
    refined: NotNegative = 1.2  # of the second's
    adversarial: NotNegative = 0.001  # of both critics


class Method(NamedTuple):
    """What a configuration chooses: networks and critics by their names, the loss of the game, the hole."""

    generators: dict[str, Any]
    critics: dict[str, Any]
    loss: AdversarialLoss
    hole: Hole


class Cut(NamedTuple):
    """Images with a hole: corners int [b, 2]; mask [b, h, w, 1], 1 inside; gamma, likewise."""

    corners: jax.Array
    mask: jax.Array
    gamma: jax.Array


def make_method(config: Any, info: Info) -> Method:
    """The method of `config.model`, `config.loss` and `config.hole`.

    Raises:
        ConfigError: for data without images, holes that leave nothing, players or losses that do not fit.
    """
    if "image" not in info.spec:
        raise ConfigError(f"experiment {config.experiment!r} needs a data set of images; set config.data.name")
    hole = configs.call(Hole, config.hole, "config.hole")
    height, width, channels = info.spec["image"].shape[1:]
    if hole.side >= min(height, width):
        raise ConfigError(f"config.hole.side={hole.side} leaves nothing of images of {height}x{width} pixels")
    sections = (COARSE, REFINED, GLOBAL, LOCAL)
    if set(config.model) != set(sections):
        raise ConfigError(f"config.model has {sorted(config.model)}; expected the sections {', '.join(sections)}")
    loss = configs.named(adversarial, config.loss, "config.loss")()
    if loss.clip or loss.at_real:
        raise ConfigError(f"config.loss={dict(config.loss)}: this experiment has no clipping and no r1; use penalty")
    types = {"dtype": config.compute_dtype, "remat": config.remat}

    def made(names: tuple[str, str], **how: Any) -> dict[str, Any]:
        return {name: registry.create(config.model[name], f"config.model.{name}", **how, **types) for name in names}

    generators = made((COARSE, REFINED), kinds=("generative",), out_channels=channels)
    return Method(generators, made((GLOBAL, LOCAL), kinds=("backbones",), num_classes=1), loss, hole)


def cut(method: Method, x: jax.Array, key: jax.Array) -> Cut:
    """A hole in each image [b, h, w, c], where its row's key says."""
    (b, height, width, _), side = x.shape, method.hole.side
    room = jnp.asarray([height - side + 1, width - side + 1])
    corners = jnp.floor(row_random(jax.random.uniform, key, (b, 2)) * room[None]).astype(jnp.int32)
    corners = jnp.minimum(corners, room[None] - 1)
    mask = hole_mask(corners, side, height, width)
    return Cut(corners, mask, discounts(corners, side, height, width, method.hole.decay))


def complete(method: Method, params: Any, x: jax.Array, mask: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """What the two stages make of images [b, h, w, c] in -1..1 whose pixels of the mask they do not see.

    The second stage sees the image with the hole filled by the first. What is known is not replaced here.

    Returns:
        The results of the first and of the second, like x.
    """
    seen = (1 - mask) * x
    coarse = stage(method, params, COARSE, seen, mask, train)
    return coarse, stage(method, params, REFINED, seen + mask * coarse, mask, train)


def stage(method: Method, params: Any, name: str, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
    """One network's result for an image beside its mask."""
    return apply_params(method.generators[name], params["generators"][name], jnp.concatenate([x, mask], -1), train)[0]


def learned(method: Method, state: State, batch: Mapping[str, jax.Array]) -> jax.Array:
    """The mean over places of the first stage's innermost map, of images without a hole: [b, d]."""
    params = averaged(state, on="generators").params["generators"][COARSE]
    x = 2 * batch["image"] - 1
    shown = jnp.concatenate([x, jnp.zeros_like(x[..., :1])], -1)
    return apply_params(method.generators[COARSE], params, shown, False)[1]["code"].mean((1, 2))


def score(method: Method, params: Any, name: str, x: jax.Array) -> jax.Array:
    """A critic's scores [b]."""
    return apply_params(method.critics[name], params["critics"][name], x, True)[0][:, 0]
