"""AttGAN: an encoder of images, a decoder that is told attributes, and a critic that also says attributes.

    z = G_enc(x);   x^b = G_dec(z, b): the image with the attributes b;   x^a, with its own, is the image itself

The generator is called as `(x [b, h, w, c], attributes [b, k, n], train) -> (images [b, k, h, w, c], out)`: one code
for each image, decoded with k lists of attributes. The critic is called as `(x, train) -> (score [b, 1], out)`.

Reference: He et al. 2019, "AttGAN: Facial Attribute Editing by Only Changing What You Want", table I and figure 2.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.norms import keeps_bias, normaliser
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # He et al. 2019, for images of 128 pixels and 13 attributes: 5 convolutions, one way around the code
    "attgan_generator": {
        "input": (128, 128, 3), "attributes": 13, "widths": (64, 128, 256, 512, 1024),
        # 4x4 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512 * 1024), up 16 * (1037 * 512 + 1037 * 256 + 256 *
        # 128 + 128 * 64 + 64 * 3) + 3; norms 2 * (1984 + 960)
        "params": 24_551_171,
    },
    "attgan_critic": {
        "input": (128, 128, 3), "attributes": 13, "widths": (64, 128, 256, 512, 1024), "hidden": 1024,
        # 4x4 as the generator's, norms 2 * 1984; heads 2 * (16 * 1024 + 1) * 1024, 1025 and 1025 * 13
        "params": 44_718_990,
    },
    # for images of 64 pixels on small machines, and no paper
    "attgan_generator_64": {
        "input": (64, 64, 3), "attributes": 7, "widths": (32, 64, 128, 256),
        # 4x4 16 * (96 + 2048 + 8192 + 32768), up 16 * (263 * 128 + 263 * 64 + 64 * 32 + 32 * 3) + 3; norms 2 * 704
        "params": 1_533_315,
    },
    "attgan_critic_64": {
        "input": (64, 64, 3), "attributes": 7, "widths": (32, 64, 128, 256), "hidden": 128,
        # 4x4 as the generator's, norms 2 * 480; heads 2 * (16 * 256 + 1) * 128, 129 and 129 * 7
        "params": 1_740_488,
    },
    "attgan_generator_tiny": {
        "input": (8, 8, 3), "attributes": 2, "widths": (4, 8),
        # 4x4 16 * (3 * 4 + 4 * 8), up 16 * ((8 + 2) * 4 + (4 + 4 + 2) * 3) + 3; norms 2 * (4 + 8 + 4)
        "params": 1_859,
    },
    "attgan_critic_tiny": {
        "input": (8, 8, 3), "attributes": 2, "widths": (4, 8), "hidden": 6,
        # 4x4 16 * (3 * 4 + 4 * 8), norms 2 * 12; heads 2 * (32 + 1) * 6, 7 and 7 * 2
        "params": 1_145,
    },
}  # fmt: skip


class AttGenerator(nn.Module):
    """Strided convolutions to the code, transposed ones from it.

    The attributes stand beside the code as maps that are the same everywhere, and beside the inputs of the first
    `injected` layers behind it, whose other neighbours are maps of the encoder (`shortcuts`).

    Attributes:
        attributes: n.
        widths: of the encoder's convolutions; the decoder has them the other way round.
        shortcuts: layers of the decoder, from the code on, that see the encoder's map of the same size as well.
        injected: layers of the decoder behind the first that are told the attributes again.
        norm: normalisation (`nn/norms.py`).
        dtype: of all layers but the last, which is at least float32.
    """

    attributes: int
    widths: tuple[Size, ...]
    shortcuts: Counted = 1
    injected: Counted = 1
    norm: str = "batch"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, attributes: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Decodes images with attributes.

        Args:
            x: float [b, h, w, c] in -1..1, sides divisible by 2^len(widths).
            attributes: [b, k, n], 0 or 1.
            train: batch statistics used and updated.

        Returns:
            [b, k, h, w, c] in -1..1; {"code": [b, h', w', widths[-1]]}.

        Raises:
            ConfigError: for sides that cannot be halved so often, or other attributes.
        """
        check_images(x, self, "attgan", first="down0")
        scale = 2 ** len(self.widths)
        if x.shape[1] % scale or x.shape[2] % scale:
            raise ConfigError(
                f"config.model.generator.widths={self.widths} halves the image {len(self.widths)} times; images of "
                f"{x.shape[1]}x{x.shape[2]} pixels must divide by {scale}"
            )
        if attributes.ndim != 3 or attributes.shape[::2] != (len(x), self.attributes):
            raise ConfigError(f"attributes must be [{len(x)}, k, {self.attributes}], got {attributes.shape}")
        wide = at_least_float32(self.dtype)
        kind, norm = normaliser(self.norm, self.dtype)
        types, bias = {"dtype": self.dtype, "param_dtype": wide}, keeps_bias(kind, "before")
        maps, y = [], x.astype(self.dtype)
        for i, width in enumerate(self.widths):
            y = Conv(width, (4, 4), (2, 2), ((1, 1), (1, 1)), use_bias=bias, **types, name=f"down{i}")(y)
            y = activation("leaky_relu(slope=0.2)")(norm(y, train, f"down{i}_norm"))
            maps.append(y)
        code, k = y, attributes.shape[1]
        told = attributes.reshape(-1, 1, 1, self.attributes).astype(self.dtype)  # [b k, 1, 1, n]
        y, last = jnp.repeat(code, k, 0), len(self.widths) - 1
        for i, width in enumerate((*self.widths[-2::-1], x.shape[-1])):
            beside = [jnp.repeat(maps[last - i], k, 0)] if 0 < i <= self.shortcuts else []
            beside += [jnp.broadcast_to(told, (*y.shape[:3], self.attributes))] if i <= self.injected else []
            y = jnp.concatenate([y, *beside], -1)
            if i == last:
                y = ConvTranspose(width, (4, 4), (2, 2), dtype=wide, param_dtype=wide, name=f"up{i}")(y)
                break
            y = ConvTranspose(width, (4, 4), (2, 2), use_bias=bias, **types, name=f"up{i}")(y)
            y = activation("relu")(norm(y, train, f"up{i}_norm"))
        y = activation("tanh")(y)
        return y.reshape(len(x), k, *y.shape[1:]), {"code": code}


class AttCritic(nn.Module):
    """Strided convolutions, and two heads: a score, and a logit for each attribute.

    Attributes:
        attributes: n.
        widths: of the convolutions.
        hidden: units of each head.
        norm: normalisation (`nn/norms.py`); not one that mixes rows, where there is a gradient penalty.
        dtype: of all layers but the last, which are at least float32.
    """

    attributes: int
    widths: tuple[Size, ...]
    hidden: Size = 1024
    norm: str = "instance"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c].
            train: batch statistics, for a norm that has them.

        Returns:
            score [b, 1]; {"attributes": logits [b, n]}.
        """
        check_images(x, self, "attgan", 2 ** (len(self.widths) + 1), "conv0")
        wide = at_least_float32(self.dtype)
        kind, norm = normaliser(self.norm, self.dtype)
        types, g = {"dtype": self.dtype, "param_dtype": wide}, activation("leaky_relu(slope=0.2)")
        y = x.astype(self.dtype)
        for i, width in enumerate(self.widths):
            bias = keeps_bias(kind, "before")
            y = Conv(width, (4, 4), (2, 2), ((1, 1), (1, 1)), use_bias=bias, **types, name=f"conv{i}")(y)
            y = g(norm(y, train, f"norm{i}"))
        y = y.reshape(len(y), -1)
        heads = {}
        for name, count in (("score", 1), ("attributes", self.attributes)):
            hidden = g(nn.Dense(self.hidden, **types, name=f"{name}_hidden")(y))
            heads[name] = nn.Dense(count, dtype=wide, param_dtype=wide, name=name)(hidden)
        return heads["score"], {"attributes": heads["attributes"]}


def build(variant: str, attributes: int, dtype: Any = jnp.float32, **overrides: Any) -> AttGenerator | AttCritic:
    """A variant of the table with overrides, for so many attributes."""
    row = VARIANTS[variant]
    kind = AttCritic if "hidden" in row else AttGenerator
    return from_row(kind, row, overrides, attributes=attributes, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array, ...]:
    """One image, and for a generator one list of attributes."""
    x = jnp.zeros((1, *row["input"]))
    return (x,) if "hidden" in row else (x, jnp.zeros((1, 1, row["attributes"])))
