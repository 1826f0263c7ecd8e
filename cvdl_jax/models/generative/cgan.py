"""The conditional GAN of its paper: perceptrons that are told the class of the image which is made, or judged.

A generator is called as `(z [b, latent], train, label [b]) -> (images, out)`, a discriminator as a backbone with
`label`, and scores the pair.
"""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images, head
from cvdl_jax.nn.conditions import one_hot
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", section 4.1
    "cgan_generator": {
        "input": (100,), "shape": (28, 28, 1), "latent": 100, "labels": 10, "of_latent": 200, "of_label": 1000,
        "joint": 1200, "prior": "uniform",
        "params": 2_413_984,  # 100 * 200 + 200 + 10 * 1000 + 1000 + 1200 * 1200 + 1200 + 1200 * 784 + 784
    },
    "cgan_generator_tiny": {
        "input": (6,), "shape": (8, 8, 1), "latent": 6, "labels": 10, "of_latent": 8, "of_label": 4, "joint": 12,
        "prior": "uniform",
        "params": 1_088,  # 6 * 8 + 8 + 10 * 4 + 4 + 12 * 12 + 12 + 12 * 64 + 64
    },
    # Mirza and Osindero 2014, section 4.1: maxout layers of 240 units and 5 pieces, 50 and 5, and 240 and 4 on both
    "cgan_discriminator": {
        "kind": "backbones", "input": (28, 28, 1), "num_classes": 1, "labels": 10, "of_image": 240, "of_label": 50,
        "joint": 240, "pieces": (5, 4),
        "params": 1_224_351,  # 785 * 1200 + 11 * 250 + 291 * 960 + 241
    },
    "cgan_discriminator_tiny": {
        "kind": "backbones", "input": (8, 8, 1), "num_classes": 1, "of_image": 6, "of_label": 4, "joint": 6,
        "pieces": (2, 2),
        "params": 871,  # 65 * 12 + 7 * 12 + 7, without labels
    },
}  # fmt: skip
UNIFORM_005 = nn.initializers.uniform(0.1)


def _centred(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """U(-0.05, 0.05)."""
    return UNIFORM_005(key, shape, dtype) - jnp.asarray(0.05, dtype)


class Maxout(nn.Module):
    """`max_j (x W_j + b_j)` for each unit, over its pieces j.

    Attributes:
        features: units.
        pieces: linear functions of a unit.
        dtype: of the product.

    Reference: Goodfellow et al. 2013, "Maxout Networks", equation 2.
    """

    features: int
    pieces: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Args: x float [b, d]. Returns: [b, features]."""
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        y = nn.Dense(self.features * self.pieces, **types, kernel_init=_centred, name="pieces")(x)
        return y.reshape(len(x), self.features, self.pieces).max(-1)


class Generator(nn.Module):
    """ReLU layers of z and of the label, one of both together, and a sigmoid for each pixel.

    Attributes:
        shape: (h, w, c) of the images.
        latent: d, the length of z.
        labels: classes of the label.
        of_latent: units that see z.
        of_label: units that see the label.
        joint: units that see both.
        dropout: rate on all three layers.
        prior: of z; uniform in the unit hypercube in the paper.
        dtype: of all layers; the images are at least float32.

    Reference: Mirza and Osindero 2014, section 4.1.
    """

    shape: tuple[int, int, int]
    latent: Size = 100
    labels: Size = 10
    of_latent: Size = 200
    of_label: Size = 1000
    joint: Size = 1200
    dropout: Share = 0.0
    prior: Literal["normal", "uniform"] = "uniform"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, z: jax.Array, train: bool, label: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Makes images.

        Args:
            z: float [b, latent].
            train: units are dropped.
            label: int [b].

        Returns:
            images [b, h, w, c] in -1..1, of which the sigmoid is (images + 1) / 2; {"joint": [b, joint]}.

        Raises:
            ConfigError: for z of another length, or without a label.
        """
        if z.shape[1:] != (self.latent,):
            raise ConfigError(f"this generator takes z of shape [b, {self.latent}], got {z.shape}")
        told = one_hot(label, self.labels, len(z), self)
        wide, g = at_least_float32(self.dtype), activation("relu")
        types = {"dtype": self.dtype, "param_dtype": wide}
        parts = [nn.Dense(self.of_latent, **types, name="of_latent")(z.astype(self.dtype))]
        parts.append(nn.Dense(self.of_label, **types, name="of_label")(told.astype(self.dtype)))
        y = Dropout(self.dropout)(g(jnp.concatenate(parts, -1)), train)
        y = Dropout(self.dropout)(g(nn.Dense(self.joint, **types, name="joint")(y)), train)
        logits = nn.Dense(math.prod(self.shape), dtype=wide, param_dtype=wide, name="pixels")(y)
        return 2 * activation("sigmoid")(logits).reshape(-1, *self.shape) - 1, {"joint": y}


class Discriminator(nn.Module):
    """Maxout layers of the image and of the label, one of both together, and a linear score.

    Attributes:
        num_classes: number of scores, 1 for a discriminator; 0 for the features, without a head.
        labels: classes of the label that it is told; 0 for none.
        of_image: units that see the image.
        of_label: units that see the label.
        joint: units that see both.
        pieces: of the units in the first layers, and in the joint one.
        dropout: rate on all three layers.
        dtype: of all layers but the last, which is at least float32.

    Reference: Mirza and Osindero 2014, section 4.1.
    """

    num_classes: int
    labels: Counted = 0
    of_image: Size = 240
    of_label: Size = 50
    joint: Size = 240
    pieces: tuple[Size, Size] = (5, 4)
    dropout: Share = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, label: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Scores images.

        Args:
            x: float [b, h, w, c], in -1..1 by convention.
            train: units are dropped.
            label: int [b], of one that is told it.

        Returns:
            logits [b, num_classes]; {"pre_logits": [b, joint]}.

        Raises:
            ConfigError: for something that is no image, or without a label.
        """
        check_images(x, self, "cgan discriminator")
        parts = [Maxout(self.of_image, self.pieces[0], self.dtype, name="of_image")(x.reshape(len(x), -1))]
        if self.labels:
            told = one_hot(label, self.labels, len(x), self)
            parts.append(Maxout(self.of_label, self.pieces[0], self.dtype, name="of_label")(told.astype(self.dtype)))
        y = Dropout(self.dropout)(jnp.concatenate(parts, -1), train)
        y = Maxout(self.joint, self.pieces[1], self.dtype, name="joint")(y)
        y = Dropout(self.dropout)(y, train).astype(at_least_float32(self.dtype))
        return head(y, self.num_classes, self.dtype, _centred), {"pre_logits": y}


def build(
    variant: str,
    num_classes: int | None = None,
    shape: tuple[int, int, int] | None = None,
    dtype: Any = jnp.float32,
    **overrides: Any,
) -> Generator | Discriminator:
    """A variant of the table with overrides: a generator of images of `shape`, or a critic of `num_classes` scores."""
    row = VARIANTS[variant]
    if "shape" in row:
        return from_row(Generator, row, overrides, shape=shape, dtype=dtype)
    return from_row(Discriminator, row, overrides, num_classes=num_classes, dtype=dtype)
