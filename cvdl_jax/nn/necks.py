"""Necks: what stands between the stages of a backbone and the heads that read them."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.residual import Style


class FeaturePyramid(nn.Module):
    """Feature pyramid network: semantics of the last stage brought down to the resolution of the first ones.

    `M_i = conv1x1(C_i) + up(M_{i+1})` from the last stage on, `P_i = conv3x3(M_i)`, and further levels by 3x3
    convolutions of stride 2 from the last one.

    Attributes:
        levels: indices of the stages, C_i, from fine to coarse.
        channels: of every level.
        extra: number of levels beyond the last stage.
        extra_from: what the first of them reads, the last "stage" or its "level"; ReLU stands between the others.
        norm: normalisation behind every convolution (`nn/norms.py`).
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's.
        dtype: of the result.

    Reference: Lin et al. 2017, "Feature Pyramid Networks for Object Detection", section 3; Lin et al. 2017, "Focal
    Loss", footnote 2, for the further levels, P6 from C5.
    """

    levels: tuple[int, ...]
    channels: int = 256
    extra: int = 0
    extra_from: Literal["stage", "level"] = "stage"
    norm: str = "none"
    kernel_init: str = ""
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, stages: Sequence[jax.Array], train: bool) -> tuple[jax.Array, ...]:
        """Makes the levels.

        Args:
            stages: `out["stages"]` of a backbone, [b, h_i, w_i, c_i]; sides need not be divisible by each other.
            train: batch statistics used and updated.

        Returns:
            Levels [b, h, w, channels] from fine to coarse.

        Raises:
            ConfigError: for levels that the backbone has not, or stages that are no maps.
        """
        maps = chosen_stages(stages, self.levels)
        style = Style(self.norm, "before", "plain", "relu", self.kernel_init, self.dtype)

        def convolve(x: jax.Array, size: int, stride: int, name: str) -> jax.Array:
            x = style.convolution(self.channels, size, stride, name)(x.astype(self.dtype))
            return style.normalise(x, train, f"{name}_norm")

        levels: list[jax.Array] = []
        above = None
        for i, x in reversed(list(enumerate(maps))):
            x = convolve(x, 1, 1, f"lateral{i}")
            above = x if above is None else x + enlarge(above, x.shape[1:3])
            levels.insert(0, convolve(above, 3, 1, f"level{i}"))
        x = maps[-1] if self.extra_from == "stage" else levels[-1]
        for i in range(self.extra):
            x = convolve(nn.relu(x) if i else x, 3, 2, f"extra{i}")
            levels.append(x)
        return tuple(levels)


def chosen_stages(stages: Sequence[jax.Array], levels: Sequence[int]) -> list[jax.Array]:
    """The stages of a backbone that a neck or a head reads, checked.

    Args:
        stages: `out["stages"]` of a backbone.
        levels: their indices, rising.

    Returns:
        Maps [b, h, w, c].

    Raises:
        ConfigError: for levels that do not rise, stages that there are not, or that are no maps.
    """
    if not levels or list(levels) != sorted(set(levels)) or levels[0] < 0 or levels[-1] >= len(stages):
        raise ConfigError(
            f"config.model.levels={tuple(levels)} must name stages of the backbone in rising order, 0 to "
            f"{len(stages) - 1}"
        )
    maps = [stages[i] for i in levels]
    if any(x.ndim != 4 for x in maps):
        raise ConfigError(
            f"config.model.backbone: its stages are {[list(x.shape[1:]) for x in maps]}, not maps [h, w, c]; choose a "
            "convolutional one, such as resnet18"
        )
    return maps


def enlarge(x: jax.Array, size: tuple[int, int]) -> jax.Array:
    """Nearest-neighbour up-sampling of [b, h, w, c] to a size that is at least as large; the last copy may be cut off.

    Raises:
        ConfigError: for a smaller size.
    """
    for axis, n in enumerate(size, 1):
        if n < x.shape[axis]:
            raise ConfigError(f"a map of {list(x.shape[1:3])} pixels cannot be enlarged to {list(size)}")
        factor = -(-n // x.shape[axis])
        x = jnp.repeat(x, factor, axis) if factor > 1 else x
        x = jax.lax.slice_in_dim(x, 0, n, axis=axis)
    return x
