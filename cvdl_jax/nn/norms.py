"""Normalisation of single examples, of weights, and by a style, and the normalisations that a config can name.

The functions return Flax's layers with parameters and statistics of at least float32, and with variances computed in
two passes, which do not cancel. Batch normalisation is in `nn/batch_norm.py`, the mathematics in `ops/normalise.py`.
"""

import inspect
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import bind_calls, functions
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.nn.batch_norm import PATH, BatchNorm
from cvdl_jax.nn.conv import Conv, conv_general_dilated
from cvdl_jax.nn.equalised import EqualisedDense
from cvdl_jax.ops import normalise
from cvdl_jax.ops.normalise import check_groups
from cvdl_jax.ops.precision import at_least_float32


def group_norm(dtype: Any, groups: int, epsilon: float = 1e-5, name: str | None = None) -> nn.GroupNorm:
    """Group normalisation of each example, a scale and a bias for each channel; one group is layer normalisation.

    Args:
        dtype: of the result.
        groups: must divide the number of channels, which Flax checks when the layer is called.
        epsilon: added to the variance.
        name: of the layer.

    Reference: Wu and He 2018, "Group Normalization", section 3.
    """
    return nn.GroupNorm(num_groups=groups, epsilon=epsilon, **_types(dtype), name=name)


def instance_norm(dtype: Any, epsilon: float = 1e-5, name: str | None = None) -> nn.InstanceNorm:
    """Instance normalisation of each channel of each example.

    Reference: Ulyanov et al. 2016, "Instance Normalization: The Missing Ingredient for Fast Stylization", equation 2.
    """
    return nn.InstanceNorm(epsilon=epsilon, **_types(dtype), name=name)


def rms_norm(dtype: Any, epsilon: float = 1e-6, name: str | None = None) -> nn.RMSNorm:
    """`scale x / sqrt(mean of squares + epsilon)` over the last axis; no mean is subtracted, and there is no bias.

    Reference: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization", equation 4.
    """
    return nn.RMSNorm(epsilon=epsilon, **_types(dtype), name=name)


def _types(dtype: Any) -> dict[str, Any]:
    return {"dtype": dtype, "param_dtype": at_least_float32(dtype), "use_fast_variance": False}


class AdaptiveInstanceNorm(nn.Module):
    """Instance normalisation with a scale 1 + g and a bias b that a linear map computes from a style.

    The map has an equalised learning rate, as all layers of the generator that it stands in.

    Attributes:
        epsilon: added to the variance.
        dtype: of the result.

    Reference: Huang and Belongie 2017, equation 8; Karras et al. 2019, "A Style-Based Generator Architecture", equation
        1, for the learned map.
    """

    epsilon: float = 1e-5
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, style: jax.Array) -> jax.Array:
        """Args: x float [b, h, w, c]; style float [b, d]. Returns: array like x."""
        if style.ndim != 2 or len(style) != len(x):
            raise ConfigError(f"a style must be [b, d] with b={len(x)}, one for each image; got shape {style.shape}")
        wide, c = at_least_float32(self.dtype), x.shape[-1]
        made = EqualisedDense(2 * c, gain=1.0, dtype=wide, name="style")(style)
        y = normalise.adaptive_instance_norm(x.astype(wide), 1 + made[:, :c], made[:, c:], self.epsilon)
        return y.astype(self.dtype)


def _standardised(x: jax.Array, kernel: jax.Array, *args: Any, **kwargs: Any) -> jax.Array:
    wide = kernel.astype(at_least_float32(kernel.dtype))
    return conv_general_dilated(x, normalise.standardise_weights(wide).astype(kernel.dtype), *args, **kwargs)


class StandardisedConv(Conv):
    """A convolution with weight standardisation, `(W - mean) / sqrt(var + 1e-5)` of each output filter.

    Its parameters are those of a plain convolution. The scale of W has no effect, so a normalisation should follow.

    Reference: Qiao et al. 2019, "Micro-Batch Training with Batch-Channel Normalization and Weight Standardization",
        equations 6 and 7.
    """

    conv_general_dilated: Any = _standardised


def spectral_norm(layer: nn.Module, steps: int = 1) -> nn.SpectralNorm:
    """A layer whose kernel is divided by an estimate of its largest singular value; call it with `update_stats=train`.

    Each training step continues the power iteration by `steps` from the vector u in "batch_stats"; an evaluation does
    the same and discards the new vector. A kernel of more than two axes is reshaped to a matrix [..., n_out].

    Args:
        layer: dense or convolution, unbound and with a name.
        steps: of power iteration, at least 1.

    Raises:
        ConfigError: for fewer steps.

    Reference: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1.
    """
    if steps < 1:
        raise ConfigError(f"spectral_norm(steps={steps}) must make at least 1 step of power iteration")
    return nn.SpectralNorm(layer, n_steps=steps, param_dtype=getattr(layer, "param_dtype", jnp.float32))


# Normalisation layers by the name that a config gives them: "batch", "group(groups=8)", "layer", "none". A public
# function below that takes a `dtype` and returns a `Layer` is one of them; no list has to be edited.

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
    """Each channel over the batch and all places; see `nn.batch_norm.BatchNorm`."""
    make = partial(BatchNorm, momentum, epsilon, running_var, synchronised, track_running_stats, dtype)
    return lambda x, train, name: make(name=name)(x, train)


def layer(epsilon: float = 1e-6, *, dtype: Any) -> Layer:
    """All coefficients of one example, with a scale and a bias for each channel."""
    _check_epsilon("layer", epsilon)
    return lambda x, train, name: (
        nn.LayerNorm(
            epsilon, dtype, at_least_float32(dtype), use_fast_variance=False,
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
        return instance_norm(dtype, epsilon, name)(x)

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
        return group_norm(dtype, groups, epsilon, name)(x)

    return apply


def rms(epsilon: float = 1e-6, *, dtype: Any) -> Layer:
    """Each place of one example, by the root of its channels' mean square."""
    _check_epsilon("rms", epsilon)
    return lambda x, train, name: rms_norm(dtype, epsilon, name)(x)


def known() -> dict[str, Callable[..., Layer]]:
    """All normalisations by name: the public functions of this file that take a `dtype` and return a `Layer`."""
    makers = functions(sys.modules[__name__], Layer)
    return {name: make for name, make in makers.items() if "dtype" in inspect.signature(make).parameters}


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
        raise ConfigError(f"{PATH}={text!r} must be one normalisation; {nearest('', known())}")
    make, arguments = bound[0]
    return make.__name__, make(**arguments)


def _factory(name: str) -> Callable[..., Layer]:
    norms = known()
    if name not in norms:
        raise ConfigError(f"{PATH}={name!r} is not known; {nearest(name, norms)}")
    return norms[name]


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
