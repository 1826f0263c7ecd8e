"""The U-Net of diffusion: it sees a noisy image and how noisy it is, and says the noise, the image, or both in one.

    e(x_t, t):  t -> sines and cosines -> two dense layers -> added in every block;  attention at chosen resolutions

A denoiser is called as `(x [b, h, w, c], t [b], train, label?) -> (prediction [b, h, w, c], out)`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import Attention
from cvdl_jax.nn.common import check_float, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.norms import group_norm
from cvdl_jax.ops.positions import waves
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Ho et al. 2020, "Denoising Diffusion Probabilistic Models", appendix B, for CIFAR-10: 35.7 M parameters
    "ddpm_cifar10": {
        "input": (32, 32, 3), "channels": 3, "width": 128, "factors": (1, 2, 2, 2), "blocks": 2, "attention": (1,),
        "dropout": 0.1,
        # first 3,584; time 66,048 + 262,656; down 722,688 + 147,584, 2,890,240 + 590,080, 2,625,024 + 590,080,
        # 2,625,024; middle 2,888,704; up 6,102,528 + 590,080, again, 6,565,632 + 590,080, 1,789,952; last 256 + 3,459
        "params": 35_746_307,
    },
    # for images of 28 or 32 pixels on small machines
    "ddpm_small": {
        "input": (28, 28, 1), "channels": 1, "width": 32, "factors": (1, 2, 2), "blocks": 1, "attention": (2,),
        "groups": 8,
        # a block from c to d maps has 2 c + 9 c d + 128 d + 4 d + 9 d^2 + d, and (c + 1) d where they differ; attention
        # 2 d + 4 (d + 1) d: first 320; time 20,736; down 22,752 + 9,248, 65,984 + 36,928, 99,136; middle 99,136 +
        # 82,368; up 2 * 144,384 + 36,928, 127,616 + 107,072 + 36,928, 44,416 + 34,112; last 353
        "params": 1_112_801,
    },
    "ddpm_tiny": {
        "input": (8, 8, 1), "channels": 1, "width": 8, "factors": (1, 2), "blocks": 1, "attention": (1,),
        "groups": 4,
        # first 80; time 288 + 1,056; down 1,464 + 584, 5,328; middle 6,352 + 5,232; up 9,216 + 7,920 + 2,320, 2,848 +
        # 2,192; last 16 + 73
        "params": 44_969,
    },
}  # fmt: skip
ZERO = nn.initializers.zeros_init()
EPSILON = 1e-6


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a group norm and SiLU, the time added in between; a 1x1 one beside a new width."""

    width: int
    groups: int
    dropout: float
    attend: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, time: jax.Array) -> jax.Array:
        """Args: x [b, h, w, c]; train: dropout; time [b, d], behind its SiLU. Returns: [b, h, w, width]."""
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        y = activation("silu")(group_norm(self.dtype, self.groups, EPSILON, "norm0")(x))
        y = Conv(self.width, (3, 3), **types, name="conv0")(y)
        y = y + nn.Dense(self.width, **types, name="time")(time)[:, None, None]
        y = activation("silu")(group_norm(self.dtype, self.groups, EPSILON, "norm1")(y))
        y = Conv(self.width, (3, 3), **types, kernel_init=ZERO, name="conv1")(Dropout(self.dropout)(y, train))
        if x.shape[-1] != self.width:
            x = Conv(self.width, (1, 1), **types, name="project")(x)
        x = x + y
        if not self.attend:
            return x
        b, h, w, d = x.shape
        y = group_norm(self.dtype, self.groups, EPSILON, "attention_norm")(x).reshape(b, h * w, d)
        y, _ = Attention(1, dtype=self.dtype, name="attention")(y, train)
        return x + y.reshape(x.shape)


class DiffusionUNet(nn.Module):
    """Residual blocks on the way down and up again, with connections between equal sizes.

    Attributes:
        channels: of the images.
        width: of the first maps, a multiple of `groups` and of 2.
        factors: of the width, at each size of image; each but the last is halved.
        blocks: at each size on the way down; one more on the way up.
        attention: places in `factors` where blocks end in attention of all pixels.
        groups: of the group norms.
        dropout: rate in the blocks.
        num_classes: of the label that the network is told; 0 for none. There is one more, "no label".
        remat: recompute blocks in the backward pass.
        dtype: of the products; the prediction is at least float32.

    Reference: Ho et al. 2020, appendix B; Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", for "no label".
    """

    channels: int
    width: Size = 128
    factors: tuple[Size, ...] = (1, 2, 2, 2)
    blocks: Size = 2
    attention: tuple[Counted, ...] = (1,)
    groups: Size = 32
    dropout: Share = 0.0
    num_classes: Counted = 0
    remat: bool = False
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, t: jax.Array, train: bool, label: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts.

        Args:
            x: noisy images [b, h, w, channels], of about unit variance.
            t: how noisy, int [b].
            train: dropout on.
            label: int [b], `num_classes` for no label; of a network that is told one.

        Returns:
            [b, h, w, channels]; {"stages": the maps on the way up, from coarse to fine}.

        Raises:
            ConfigError: for images whose sides cannot be halved often enough, or have other channels; for a label that
                is missing or not asked for.
        """
        self._check(x, label)
        wide = at_least_float32(self.dtype)
        types = {"dtype": self.dtype, "param_dtype": wide}
        time = nn.Dense(4 * self.width, **types, name="time0")(waves(t, self.width, wide).astype(self.dtype))
        time = nn.Dense(4 * self.width, **types, name="time1")(activation("silu")(time))
        if label is not None:
            time = time + nn.Embed(self.num_classes + 1, 4 * self.width, **types, name="label")(label)
        time = activation("silu")(time)
        block = remat_block(ResidualBlock, self.remat)

        def residual(x: jax.Array, level: int, name: str) -> jax.Array:
            fields = (self.width * self.factors[level], self.groups, self.dropout, level in self.attention, self.dtype)
            return block(*fields, name=name)(x, train, time)

        x = Conv(self.width, (3, 3), **types, name="first")(x.astype(self.dtype))
        kept, last = [x], len(self.factors) - 1
        for level in range(len(self.factors)):
            for i in range(self.blocks):
                x = residual(x, level, f"down{level}_{i}")
                kept.append(x)
            if level < last:
                x = Conv(x.shape[-1], (3, 3), (2, 2), **types, name=f"halve{level}")(x)
                kept.append(x)
        fields = (self.width * self.factors[-1], self.groups, self.dropout)
        x = block(*fields, True, self.dtype, name="middle0")(x, train, time)
        x = block(*fields, False, self.dtype, name="middle1")(x, train, time)
        stages = []
        for level in range(last, -1, -1):
            for i in range(self.blocks + 1):
                x = residual(jnp.concatenate([x, kept.pop()], -1), level, f"up{level}_{i}")
            stages.append(x)
            if level:
                x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)
                x = Conv(x.shape[-1], (3, 3), **types, name=f"double{level}")(x)
        x = activation("silu")(group_norm(wide, self.groups, EPSILON, "last_norm")(x))
        x = Conv(self.channels, (3, 3), dtype=wide, param_dtype=wide, kernel_init=ZERO, name="last")(x)
        return x, {"stages": tuple(stages)}

    def _check(self, x: jax.Array, label: jax.Array | None) -> None:
        check_float(x, "ddpm")
        scale = 2 ** (len(self.factors) - 1)
        if x.ndim != 4 or x.shape[1] % scale or x.shape[2] % scale or x.shape[3] != self.channels:
            raise ConfigError(
                f"this denoiser takes images [b, h, w, {self.channels}] whose sides divide by {scale}, got {x.shape}; "
                f"set config.data.image_size or config.model.factors"
            )
        if (label is None) != (self.num_classes == 0):
            raise ConfigError("a label is for a denoiser with config.model.num_classes above 0, and for no other")


def build(
    variant: str, channels: int, dtype: Any = jnp.float32, remat: bool = False, **overrides: Any
) -> DiffusionUNet:
    """A variant of the table with overrides, for images of so many channels."""
    return from_row(DiffusionUNet, VARIANTS[variant], overrides, channels=channels, dtype=dtype, remat=remat)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """One noisy image and its time."""
    return jnp.zeros((1, *row["input"])), jnp.zeros(1, jnp.int32)
