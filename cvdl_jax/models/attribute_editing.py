"""What an experiment does with AttGAN: its players, the weights of its losses, what is asked of the critic, edits."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cvdl_jax.config import configs
from cvdl_jax.config.binding import NotNegative
from cvdl_jax.core.info import Info
from cvdl_jax.core.parallel import row_random
from cvdl_jax.errors import ConfigError
from cvdl_jax.models import registry
from cvdl_jax.nn.apply import apply_eval, apply_train
from cvdl_jax.ops.losses import adversarial
from cvdl_jax.ops.losses.adversarial import AdversarialLoss
from cvdl_jax.optim.ema import averaged

PLAYERS = ("discriminator", "generator")


class Weights(NamedTuple):
    """The arguments of `config.weights`, beside 1 for the adversarial losses (He et al. 2019, section 4.1)."""

    reconstruction: NotNegative = 100.0  # lambda 1, of the mean absolute difference of pixels in -1..1
    generated: NotNegative = 10.0  # lambda 2, of the attributes that the classifier sees in what was made
    real: NotNegative = 1.0  # lambda 3, of those that it sees in real images, for itself


class Method(NamedTuple):
    """What a configuration chooses."""

    generator: Any
    discriminator: Any
    loss: AdversarialLoss
    weights: Weights


def make_method(config: Any, info: Info) -> Method:
    """The method of `config.model`, `config.loss` and `config.weights`.

    Raises:
        ConfigError: for data without attributes, players or losses that do not fit.
    """
    label = info.spec.get("label")
    if "image" not in info.spec or label is None or len(label.shape) != 2 or info.num_classes != label.shape[1]:
        raise ConfigError(
            f"experiment {config.experiment!r} needs 'image' and several attributes of each; config.data.name="
            f"{config.data.get('name', '')!r} lacks them: set config.data.label_set, such as attributes of faces"
        )
    if set(config.model) != set(PLAYERS):
        raise ConfigError(f"config.model has {sorted(config.model)}; expected the sections {PLAYERS}")
    more = {"kinds": ("generative",), "attributes": info.num_classes, "dtype": config.compute_dtype}
    players = {name: registry.create(config.model[name], f"config.model.{name}", **more) for name in PLAYERS}
    for name, method in (("discriminator", "critic"), ("generator", "generator")):
        if method not in config.model[name].get("name", ""):
            raise ConfigError(f"config.model.{name}.name={config.model[name].name!r} is no {method} of attgan")
    loss = configs.named(adversarial, config.loss, "config.loss")()
    if loss.clip or loss.at_real:
        raise ConfigError(
            f"config.loss={dict(config.loss)}: {config.experiment!r} has no clipping and no r1; use penalty"
        )
    return Method(**players, loss=loss, weights=configs.call(Weights, config.weights, "config.weights"))


def desired(label: jax.Array, key: jax.Array) -> jax.Array:
    """Attributes like label [b, n], 0 or 1: each one turned or not, with probability one half."""
    turned = row_random(jax.random.uniform, key, label.shape) < 0.5
    return jnp.where(turned, 1 - label, label)


def judged(method: Method, state: Any, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array, Any]:
    """The critic's scores [b] and logits of attributes [b, n] of images x in training mode, and the state."""
    (scores, out), state = apply_train(method.discriminator, state, x, key, on="discriminator")
    return scores[:, 0], out["attributes"], state


def costs(logits: jax.Array, label: jax.Array) -> jax.Array:
    """`sum_i -b_i ln C_i - (1 - b_i) ln(1 - C_i)` of logits and attributes b [b, n]: [b]."""
    return (jax.nn.softplus(logits) - label * logits).sum(-1)


def sums_of(parts: dict[str, jax.Array]) -> dict[str, tuple[jax.Array, jax.Array]]:
    """The loss, which is the sum of the parts, and the parts: {name: [b]} -> {name: (sum, count)}."""
    parts = {"loss": sum(parts.values()), **parts}
    return {name: (x.sum(), jnp.ones(len(x)).sum()) for name, x in parts.items()}


def edits(method: Method, state: Any, batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Images with their own attributes, and with one after the other turned.

    Returns:
        [b, 1 + n, h, w, c] in -1..1; their attributes [b, 1 + n, n].
    """
    a = batch["label"][:, None]  # [b, 1, n]
    turned = abs(a - jnp.eye(a.shape[-1], dtype=a.dtype)[None])  # [b, n, n]
    lists = jnp.concatenate([a, turned], 1)
    inputs = 2 * batch["image"] - 1, lists
    return apply_eval(method.generator, averaged(state, on="generator"), inputs, on="generator")[0], lists
