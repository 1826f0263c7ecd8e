"""Autoencoders: an image through a few numbers and back, or through a distribution of them.

    code = encode(x)   or   mean, log variance = encode(x),  z = mean + exp(log variance / 2) noise;  logits = decode(z)

The result is a logit for every pixel, whose sigmoid is the image in 0..1. Besides `(x, train)`, an autoencoder has
`encode` and `decode`. With classes it is conditional: both halves are told the label.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Counted, Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_images
from cvdl_jax.nn.conv import Conv, ConvTranspose
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Srivastava et al. 2014, "Dropout", section 7.1 and figure 7: one layer of 256 ReLU units on MNIST
    "autoencoder_256": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "latent": 256, "code": "relu",
        "params": 402_448,  # 784 * 256 + 256 + 256 * 784 + 784
    },
    # Hinton and Salakhutdinov 2006, "Reducing the Dimensionality of Data with Neural Networks", figure 2A:
    # 784-1000-500-250-30, with ReLU in place of sigmoids
    "autoencoder_784_30": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "latent": 30, "hidden": (1000, 500, 250),
        # 785 * 1000 + 1001 * 500 + 501 * 250 + 251 * 30, and back 31 * 250 + 251 * 500 + 501 * 1000 + 1001 * 784
        "params": 2_837_314,
    },
    "autoencoder_conv_28": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "latent": 32, "channels": (32, 64),
        # 3x3 kernels 320 + 18,496; code 3,137 * 32 and 33 * 3,136; 4x4 kernels 32,800 + 513
        "params": 256_001,
    },
    # Kingma and Welling 2014, "Auto-Encoding Variational Bayes", section 5: 500 hidden units for MNIST
    "vae_500": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "latent": 20, "hidden": (500,), "variational": True,
        "params": 815_824,  # 785 * 500 + 501 * 40 + 21 * 500 + 501 * 784
    },
    "vae_conv_28": {
        "input": (28, 28, 1), "image_shape": (28, 28, 1), "latent": 20, "channels": (32, 64), "hidden": (256,),
        "variational": True,
        # 3x3 kernels 18,816; 3,137 * 256 + 257 * 40; 21 * 256 + 257 * 3,136; 4x4 kernels 33,313
        "params": 1_676_809,
    },
    "autoencoder_tiny": {
        "input": (8, 8, 1), "image_shape": (8, 8, 1), "latent": 3, "channels": (4, 8), "hidden": (6,),
        "variational": True,
        "params": 1_405,  # 40 + 296; 33 * 6 + 7 * 6; 4 * 6 + 7 * 32; 16 * 32 + 4 + 16 * 4 + 1
    },
}  # fmt: skip


class Autoencoder(nn.Module):
    """Convolutions of stride 2 and dense layers to the code, and the same the other way round.

    Attributes:
        image_shape: (h, w, c); 2^len(channels) must divide h and w.
        latent: d, numbers of the code.
        hidden: units of the dense layers between the maps, or the pixels, and the code.
        channels: of the convolutions, 3x3 with stride 2; () for dense layers alone.
        variational: the encoder says a mean and a log variance for each number.
        code: activation of the code of one that is not variational.
        activation: of all other layers but the last.
        dropout: rate on the units in front of the decoder, or on the code where there are none.
        num_classes: of the label that both halves are told; 0 for none.
        dtype: of the products; the code and the logits are at least float32.

    Reference: Kingma and Welling 2014, "Auto-Encoding Variational Bayes", appendix C; Sohn et al. 2015, "Learning
        Structured Output Representation using Deep Conditional Generative Models", for the label.
    """

    image_shape: tuple[int, int, int]
    latent: Size = 20
    hidden: tuple[Size, ...] = ()
    channels: tuple[Size, ...] = ()
    variational: bool = False
    code: str = "identity"
    activation: str = "relu"
    dropout: Share = 0.0
    num_classes: Counted = 0
    dtype: Any = jnp.float32

    def setup(self):
        """The layers of both halves. Raises ConfigError for fields that do not fit each other."""
        (h, w, c), scale = self.image_shape, 2 ** len(self.channels)
        if h % scale or w % scale:
            raise ConfigError(
                f"config.model.channels={self.channels} halves the image {len(self.channels)} times; images of "
                f"{h}x{w} pixels must divide by {scale}"
            )
        if self.variational and self.code != "identity":
            raise ConfigError("config.model.code is of an autoencoder that is not variational; remove it")
        types = {"dtype": self.dtype, "param_dtype": at_least_float32(self.dtype)}
        self.small = (h // scale, w // scale, self.channels[-1] if self.channels else c)
        self.down = [Conv(n, (3, 3), (2, 2), **types, name=f"down{i}") for i, n in enumerate(self.channels)]
        up = (*self.channels[-2::-1], c) if self.channels else ()
        self.up = [ConvTranspose(n, (4, 4), (2, 2), **types, name=f"up{i}") for i, n in enumerate(up)]
        self.inner = [nn.Dense(n, **types, name=f"encoder{i}") for i, n in enumerate(self.hidden)]
        self.outer = [nn.Dense(n, **types, name=f"decoder{i}") for i, n in enumerate(self.hidden[::-1])]
        wide = {"dtype": types["param_dtype"], "param_dtype": types["param_dtype"]}
        self.to_code = nn.Dense(self.latent * (1 + self.variational), **wide, name="code_layer")
        last = types if self.channels else wide
        self.from_code = nn.Dense(math.prod(self.small), **last, name="image_layer")
        self.drop = Dropout(self.dropout)

    def encode(self, x: jax.Array, label: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """The code of images, or the mean and the log variance of its distribution.

        Args:
            x: float [b, h, w, c].
            label: int [b], of a conditional autoencoder.

        Returns:
            [b, latent]; [b, latent], or None of one that is not variational.
        """
        check_images(x, self, "autoencoder", first="down0" if self.channels else "")
        if x.shape[1:] != self.image_shape:
            raise ConfigError(f"this autoencoder is for images of shape {self.image_shape}, got {x.shape[1:]}")
        g = activation(self.activation)
        y = x.astype(self.dtype)
        for layer in self.down:
            y = g(layer(y))
        y = self._told(y.reshape(len(y), -1), label)
        for layer in self.inner:
            y = g(layer(y))
        y = self.to_code(y)
        if not self.variational:
            return activation(self.code)(y), None
        mean, log_variance = jnp.split(y, 2, -1)
        return mean, log_variance

    def decode(self, z: jax.Array, train: bool, label: jax.Array | None = None) -> jax.Array:
        """Logits of pixels [b, h, w, c].

        Args:
            z: codes [b, latent].
            train: whether units are dropped.
            label: int [b], of a conditional autoencoder.

        Raises:
            ConfigError: for codes of another size, or a label that is missing or not asked for.
        """
        if z.shape[1:] != (self.latent,):
            raise ConfigError(f"this autoencoder takes codes [b, {self.latent}], got {z.shape}")
        g = activation(self.activation)
        y = self._told(z.astype(self.dtype), label)
        for layer in self.outer:
            y = g(layer(y))
        y = self.from_code(self.drop(y, train))
        y = y.reshape(len(y), *self.small)
        for layer in self.up:
            y = layer(g(y))
        return y.astype(at_least_float32(self.dtype))

    def __call__(
        self, x: jax.Array, train: bool, noise: jax.Array | None = None, label: jax.Array | None = None
    ) -> tuple[jax.Array, dict[str, Any]]:
        """Images there and back.

        Args:
            x: float [b, h, w, c].
            train: whether units are dropped.
            noise: standard normal [b, latent], of a variational one; None for the mean.
            label: int [b], of a conditional one.

        Returns:
            Logits of pixels [b, h, w, c]; {"code": z [b, latent], and of a variational one "mean" and "log_variance"}.
        """
        mean, log_variance = self.encode(x, label)
        if log_variance is None:
            return self.decode(mean, train, label), {"code": mean}
        z = mean if noise is None else reparameterised(mean, log_variance, noise)
        return self.decode(z, train, label), {"code": z, "mean": mean, "log_variance": log_variance}

    def _told(self, y: jax.Array, label: jax.Array | None) -> jax.Array:
        """Units [b, n] with the label as [b, num_classes] behind them."""
        if (label is None) != (self.num_classes == 0):
            raise ConfigError("a label is for an autoencoder with config.model.num_classes above 0, and for no other")
        if label is None:
            return y
        return jnp.concatenate([y, jax.nn.one_hot(label, self.num_classes, dtype=y.dtype)], -1)


def reparameterised(mean: jax.Array, log_variance: jax.Array, noise: jax.Array) -> jax.Array:
    """`z = mean + sigma noise`: a sample of N(mean, sigma^2) with gradients to both.

    Args:
        mean: [..., d].
        log_variance: log sigma^2 [..., d].
        noise: of N(0, 1) [..., d].

    Reference: Kingma and Welling 2014, section 2.4.
    """
    return mean + jnp.exp(0.5 * log_variance) * noise


def build(variant: str, image_shape: tuple[int, int, int], dtype: Any = jnp.float32, **overrides: Any) -> Autoencoder:
    """A variant of the table with overrides, for images of `image_shape`."""
    return from_row(Autoencoder, VARIANTS[variant], overrides, image_shape=image_shape, dtype=dtype)
