"""Normalisation layers by the name that a config gives them: "batch", "group(groups=8)", "layer", "none"."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax

from cvdl_jax.config_calls import bind_calls
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn import norm_layers
from cvdl_jax.nn.norm import PATH, BatchNorm
from cvdl_jax.ops.normalise import check_groups

PLACEMENTS = ("before", "after")
Layer = Callable[[jax.Array, bool, str], jax.Array]  # (x [b, ..., c], train, name of the layer) -> array like x


def none(*, dtype: Any) -> Layer:
    """The input as it is."""
    return lambda x, train, name: x


def batch(
    momentum: float = 0.1,
    epsilon: float = 1e-5,
    running_var: Literal["biased", "unbiased"] = "biased",
    synchronised: bool = True,
    track_running_stats: bool = True,
    *,
    dtype: Any,
) -> Layer:
    """Each channel over the batch and all places; see `nn.norm.BatchNorm`."""
    make = partial(BatchNorm, momentum, epsilon, running_var, synchronised, track_running_stats, dtype)
    return lambda x, train, name: make(name=name)(x, train)


def layer(epsilon: float = 1e-6, *, dtype: Any) -> Layer:
    """All coefficients of one example, with a scale and a bias for each channel."""
    _check_epsilon("layer", epsilon)
    return lambda x, train, name: (
        nn.LayerNorm(
            epsilon, dtype, norm_layers.at_least_float32(dtype), use_fast_variance=False,
            reduction_axes=tuple(range(1, x.ndim)), name=name,
        )(x)
    )  # fmt: skip


def instance(epsilon: float = 1e-5, *, dtype: Any) -> Layer:
    """Each channel of one example over all places."""
    _check_epsilon("instance", epsilon)

    def apply(x: jax.Array, train: bool, name: str) -> jax.Array:
        if x.ndim < 3 or math.prod(x.shape[1:-1]) < 2:
            raise ConfigError(
                f"{PATH}='instance' needs several places to average over, got shape {x.shape}, where every "
                "channel would become 0; use 'layer'"
            )
        return norm_layers.instance_norm(dtype, epsilon, name)(x)

    return apply


def group(groups: int = 8, epsilon: float = 1e-5, *, dtype: Any) -> Layer:
    """Groups of neighbouring channels of one example over all places."""
    _check_epsilon("group", epsilon)

    def apply(x: jax.Array, train: bool, name: str) -> jax.Array:
        try:
            check_groups(x.shape[-1], groups)
        except ValueError as error:
            raise ConfigError(f"{PATH}: group: {error}") from None
        if x.size < 2 * x.shape[0] * groups:
            raise ConfigError(
                f"{PATH}: group(groups={groups}) of shape {x.shape} has one value in a group, which would become 0; "
                f"use fewer groups, such as {max(groups // 2, 1)}, or 'layer'"
            )
        return norm_layers.group_norm(dtype, groups, epsilon, name)(x)

    return apply


def rms(epsilon: float = 1e-6, *, dtype: Any) -> Layer:
    """Each place of one example, by the root of its channels' mean square."""
    _check_epsilon("rms", epsilon)
    return lambda x, train, name: norm_layers.rms_norm(dtype, epsilon, name)(x)


NORMS: dict[str, Callable[..., Layer]] = {f.__name__: f for f in (none, batch, layer, instance, group, rms)}


def normaliser(text: str, dtype: Any) -> tuple[str, Layer]:
    """The normalisation that a config names.

    Args:
        text: `config.model.norm`, such as "batch", "group(groups=8)" or "none".
        dtype: of its result.

    Returns:
        (its name without arguments, `(x, train, name) -> array like x`, to be called in a compact method).

    Raises:
        ConfigError: for an unknown name, with the nearest, wrong arguments, or more than one name.
    """
    bound = bind_calls(text, _factory, PATH, dtype=dtype) if isinstance(text, str) else []
    if len(bound) != 1:
        raise ConfigError(f"{PATH}={text!r} must be one normalisation; {nearest('', NORMS)}")
    make, arguments = bound[0]
    return make.__name__, make(**arguments)


def _factory(name: str) -> Callable[..., Layer]:
    if name not in NORMS:
        raise ConfigError(f"{PATH}={name!r} is not known; {nearest(name, NORMS)}")
    return NORMS[name]


def with_activation(g: Callable[[jax.Array], jax.Array], norm: Layer, placement: str) -> Layer:
    """An activation function together with the normalisation "before" or "after" it.

    Raises:
        ConfigError: for another placement.
    """
    if placement not in PLACEMENTS:
        raise ConfigError(f"config.model.placement={placement!r} must be 'before' or 'after' the activation")
    if placement == "before":
        return lambda x, train, name: g(norm(x, train, name))
    return lambda x, train, name: norm(g(x), train, name)


def keeps_bias(kind: str, placement: str) -> bool:
    """Whether a bias in front has an effect: what subtracts each channel's mean leaves its gradient rounding noise."""
    return placement == "after" or kind not in ("batch", "instance")


def _check_epsilon(name: str, epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise ConfigError(f"{PATH}: {name}(epsilon={epsilon}) must be positive, such as 1e-5")
