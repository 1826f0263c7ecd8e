"""The U-Net of diffusion: it sees a noisy image and how noisy it is, and says the noise, the image, or both in one.

    e(x_t, t):  t -> sines and cosines -> two dense layers -> added in every block;  attention at chosen resolutions

A denoiser is called as `(x [b, h, w, c], t [b], train, label?) -> (prediction [b, h, w, c], out)`. One with a
vocabulary takes a caption in the place of the label: a small Transformer reads it, and wherever pixels attend to one
another they attend to its words, too.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Layers, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.models.sequence.text_transformer import TextTransformer
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.attention import Attention
from cvdl_jax.nn.common import check_float, remat_block
from cvdl_jax.nn.conv import Conv
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.nn.norms import group_norm
from cvdl_jax.ops import tokens
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
    # captions of 24 words at most, for codes of 16x16 or images of 32 pixels on small machines
    "text_unet_small": {
        "input": (16, 16, 4), "channels": 4, "vocabulary": 40, "width": 64, "factors": (1, 2), "blocks": 1,
        "attention": (0, 1), "groups": 8, "text_width": 64, "text_depth": 2, "positions": 24,
        # blocks as above with 256 d for the time; beside attention 2 d + 2 (d + 1) d + 2 (e + 1) d for words: first
        # 2,368; time 82,432; text 64 e + 2 (12 e^2 + 13 e) + 2 e = 104,192; down 124,096 + 36,928, 379,264; middle
        # 444,800 + 328,576; up 625,408 + 543,360 + 147,584, 210,432 + 169,344; last 128 + 2,308
        "params": 3_201_220,
    },
    "text_unet_tiny": {
        "input": (8, 8, 1), "channels": 1, "vocabulary": 40, "width": 8, "factors": (1, 2), "blocks": 1,
        "attention": (1,), "groups": 4, "text_width": 8, "text_depth": 1, "positions": 16,
        # ddpm_tiny; text 56 e + 12 e^2 + 13 e + 2 e = 1,336; words 4 * (2 d + 2 (d + 1) d + 2 (e + 1) d), d = 16
        "params": 49_761,
    },
}  # fmt: skip
ZERO = nn.initializers.zeros_init()
EPSILON = 1e-6


class ResidualBlock(nn.Module):
    """Two convolutions, each behind a group norm and SiLU, the time added in between; a 1x1 one beside a new width.

    Where pixels attend to one another, they then attend to the words of a text, if there is one.
    """

    width: int
    groups: int
    dropout: float
    attend: bool
    dtype: Any

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, time: jax.Array, text: tuple[jax.Array, jax.Array] | None = None
    ) -> jax.Array:
        """Args: x [b, h, w, c]; train: dropout; time [b, d], behind its SiLU; text of `read`. Returns: [b, h, w, d]."""
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
        x = x + y.reshape(x.shape)
        if text is None:
            return x
        words, lengths = text
        y = group_norm(self.dtype, self.groups, EPSILON, "words_norm")(x).reshape(b, h * w, d)
        y, _ = Attention(1, dtype=self.dtype, name="words")(y, train, context=words.astype(self.dtype), lengths=lengths)
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
        vocabulary: words of the captions that the network is told; 0 for none.
        text_width: e, of the Transformer that reads captions.
        text_depth: its blocks.
        text_heads: of its attention.
        positions: the longest caption, with its begin and end.
        remat: recompute blocks in the backward pass.
        dtype: of the products; the prediction is at least float32.

    Reference: Ho et al. 2020, appendix B; Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", for "no label";
        Rombach et al. 2022, "High-Resolution Image Synthesis with Latent Diffusion Models", section 3.3, for captions.
    """

    channels: int
    width: Size = 128
    factors: tuple[Size, ...] = (1, 2, 2, 2)
    blocks: Size = 2
    attention: tuple[Counted, ...] = (1,)
    groups: Size = 32
    dropout: Share = 0.0
    num_classes: Counted = 0
    vocabulary: int = 0
    text_width: Size = 64
    text_depth: Layers = 2
    text_heads: Size = 4
    positions: Size = 24
    remat: bool = False
    dtype: Any = jnp.float32

    def setup(self):
        """The Transformer that reads captions, of a network with a vocabulary."""
        if self.vocabulary:
            size = {"width": self.text_width, "depth": self.text_depth, "heads": self.text_heads, "dropout": 0.0}
            self.text = TextTransformer(
                self.vocabulary, **size, hidden=4 * self.text_width, positions=self.positions, dtype=self.dtype
            )

    def read(self, caption: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """The words of captions as the network attends to them.

        Args:
            caption: int [b, t], BEGIN, words, END, then padding.
            train: no dropout here.

        Returns:
            [b, t, e]; how many of each row are there, int [b].
        """
        lengths = tokens.lengths(caption)
        return self.text(caption, jnp.zeros_like(caption), lengths, train)[1]["tokens"], lengths

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        t: jax.Array,
        train: bool,
        label: jax.Array | None = None,
        caption: jax.Array | None = None,
        text: tuple[jax.Array, jax.Array] | None = None,
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts.

        Args:
            x: noisy images [b, h, w, channels], of about unit variance.
            t: how noisy, int [b].
            train: dropout on.
            label: int [b], `num_classes` for no label; of a network that is told one.
            caption: int [b, t]; of a network with a vocabulary, None for the caption without words.
            text: of `read`, in the place of a caption.

        Returns:
            [b, h, w, channels]; {"stages": the maps on the way up, from coarse to fine}.

        Raises:
            ConfigError: for images whose sides cannot be halved often enough, or have other channels; for a label that
                or a caption that is not.
        """
        self._check(x, label, caption if text is None else text[0])
        if self.vocabulary and text is None:
            text = self.read(no_words(len(x), 2) if caption is None else caption, train)
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
            return block(*fields, name=name)(x, train, time, text)

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
        x = block(*fields, True, self.dtype, name="middle0")(x, train, time, text)
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

    def _check(self, x: jax.Array, label: jax.Array | None, words: jax.Array | None) -> None:
        check_float(x, "ddpm")
        scale = 2 ** (len(self.factors) - 1)
        if x.ndim != 4 or x.shape[1] % scale or x.shape[2] % scale or x.shape[3] != self.channels:
            raise ConfigError(
                f"this denoiser takes images [b, h, w, {self.channels}] whose sides divide by {scale}, got {x.shape}; "
                f"set config.data.image_size or config.model.factors"
            )
        if (label is None) != (self.num_classes == 0):
            raise ConfigError("a label is for a denoiser with config.model.num_classes above 0, and for no other")
        if words is not None and not self.vocabulary:
            raise ConfigError(
                "a caption is for a denoiser with a vocabulary, such as text_unet_small, and for no other"
            )


def no_words(rows: int, length: int) -> jax.Array:
    """The caption without words, BEGIN and END: int [rows, length]."""
    empty = jnp.full((1, length), tokens.PADDING).at[0, :2].set(jnp.array([tokens.BEGIN, tokens.END]))
    return jnp.broadcast_to(empty, (rows, length))


def build(
    variant: str,
    channels: int,
    dtype: Any = jnp.float32,
    remat: bool = False,
    vocabulary: int = 0,
    **overrides: Any,
) -> DiffusionUNet:
    """A variant of the table with overrides, for images of so many channels and captions of so many words."""
    made = {"channels": channels, "dtype": dtype, "remat": remat}
    return from_row(DiffusionUNet, VARIANTS[variant], overrides, **made, vocabulary=vocabulary)


def example(row: dict[str, Any]) -> tuple[jax.Array, ...]:
    """One noisy image and its time."""
    return jnp.zeros((1, *row["input"])), jnp.zeros(1, jnp.int32)
