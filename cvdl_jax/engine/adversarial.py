"""Adversarial training and robust accuracy, as transforms and steps of a classifier.

config.adversary = {"epsilon": 0.3, "step_size": 0.08, "steps": 7, "ramp_percent": 10}   # what a step trains on
config.robust = {"epsilon": 0.3, "step_size": 0.02, "steps": 20}              # "robust_accuracy" of evaluations
"""

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from cvdl_jax.analysis.attacks import threat
from cvdl_jax.analysis.attacks.pgd import pgd
from cvdl_jax.config import binding, configs
from cvdl_jax.config.binding import Range
from cvdl_jax.core.info import Info
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.classification import correct

Percent = Annotated[float, Range("from 0 to 100", lambda x: 0 <= x <= 100)]


def training(config: Any, info: Info, logits_fn: Callable, loss: Callable) -> Callable | None:
    """The transform that replaces the images of a batch by adversarial ones, for the weights of this step.

    Args:
        config: of the run; `adversary` are the arguments of `pgd`, empty for none. With `ramp_percent` the radius and
            the step grow evenly over that share of the run, from nearly 0: a network that meets the whole radius at
            first may learn to answer one class.
        info: of the data.
        logits_fn: (state, batch) -> logits [b, num_classes].
        loss: (logits, labels) -> [b], which is raised.

    Returns:
        (state, batch, key) -> (state, batch, {}), or None.

    Raises:
        ConfigError: for a radius that is none, or data without images.
    """
    path, section = "config.adversary", dict(config.adversary)
    percent = binding.check_value(section.pop("ramp_percent", 0.0), Percent, f"{path}.ramp_percent")
    if not section and percent:
        raise ConfigError(f"{path}.ramp_percent={percent} has no radius to grow to; set {path}.epsilon")
    return _replacing(section, path, info, logits_fn, loss, ramp=percent / 100 * info.total_steps)


def evaluation(config: Any, info: Info, step: Callable, logits_fn: Callable, loss: Callable) -> Callable:
    """An evaluation step that also measures accuracy on adversarial images: the metric "robust_accuracy".

    Args:
        config: of the run; `robust` are the arguments of `pgd` but `share`, empty for `step` itself.
        info: of the data.
        step: (state, batch, key) -> sums.
        logits_fn: (state, batch) -> logits [b, num_classes], attacked and measured.
        loss: (logits, labels) -> [b], which is raised.

    Raises:
        ConfigError: see `training`.
    """
    replace = _replacing(config.robust, "config.robust", info, logits_fn, loss, "share")
    if replace is None:
        return step

    def robust(state: State, batch: dict, key: jax.Array) -> dict[str, Any]:
        attacked = replace(state, batch, key)[1]
        hits, mask = correct(logits_fn(state, attacked), batch["label"]), batch["mask"]
        of = lambda image: loss(logits_fn(state, {**batch, "image": image}), batch["label"])  # noqa: E731
        hits = jnp.where(threat.without_derivative(of, batch["image"]), 0, hits)  # nothing shows that it is robust
        return {**step(state, batch, key), "robust_accuracy": ((hits * mask).sum(), mask.sum())}

    return robust


def _replacing(section: Mapping, path: str, info: Info, logits_fn: Callable, loss: Callable, *fixed: str, ramp=0.0):
    if not section:
        return None
    attack = configs.partially(pgd, section, path, "loss", "x", "key", "scale", *fixed)
    chosen = {"epsilon": 8 / 255, "norm": "linf", **attack.keywords}
    threat.check_radius(chosen["epsilon"], chosen["norm"], f"{path}.epsilon")
    if "image" not in info.spec:
        raise ConfigError(f"{path} changes images in 0..1, and these data have none; leave {path} empty")

    def replace(state: State, batch: dict, key: jax.Array) -> tuple[State, dict, dict]:
        def losses(image: jax.Array) -> jax.Array:
            return loss(logits_fn(state, {**batch, "image": image}), batch["label"])

        scale = jnp.minimum(1.0, (state.step + 1) / ramp) if ramp else 1.0
        return state, {**batch, "image": attack(loss=losses, x=batch["image"], key=key, scale=scale)}, {}

    return replace
