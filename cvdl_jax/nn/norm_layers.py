"""Normalisation of single examples, of weights, and by a style; batch normalisation is in `nn/norm.py`.

The functions give Flax's own layers, with parameters and statistics of at least float32 and variances that do not
cancel; their mathematics is `ops/normalise.py`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.conv import Conv, conv_general_dilated
from cvdl_jax.nn.precision import at_least_float32
from cvdl_jax.ops import normalise


def group_norm(dtype: Any, groups: int, epsilon: float = 1e-5, name: str | None = None) -> nn.GroupNorm:
    """Group normalisation of each example, a scale and a bias for each channel; one group is layer normalisation.

    Args:
        dtype: of the result.
        groups: must divide the channels, which Flax says when the layer is called.
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
    """Instance normalisation whose scale and bias a linear map makes from a style; it begins as the plain one.

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
        made = nn.Dense(2 * c, dtype=wide, param_dtype=wide, name="style")(style)
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

    Each training step moves the estimate by `steps` power iterations, from the vector u in "batch_stats";
    an evaluation makes as many from there and keeps nothing. A kernel of more than two axes counts as the matrix
    [everything, n_out].

    Args:
        layer: dense or convolution, unbound and with a name.
        steps: of power iteration, at least 1.

    Raises:
        ConfigError: for fewer steps.

    Reference: Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", algorithm 1.
    """
    if steps < 1:
        raise ConfigError(f"spectral_norm(steps={steps}) must make at least 1 step of power iteration")
    return nn.SpectralNorm(layer, n_steps=steps)
