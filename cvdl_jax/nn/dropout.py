"""Dropout of elements, channels, connections and whole branches, each row of the batch from its own key.

`rate` is always the probability p of dropping, as in torch; `keep_prob` says the same as 1 - p. In the *inverted*
convention training divides the kept elements by the probability of keeping, and evaluation is the identity. In the
*classic* one training does not divide, and evaluation multiplies by that probability. In both, the output in evaluation
is the mean of the training outputs over all masks; they differ by a factor that the next layer's weights can absorb.
Because the keys belong to the rows, the result does not depend on the layout of devices.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import row_random
from cvdl_jax.errors import ConfigError, nearest

CONVENTIONS = ("inverted", "classic")
KINDS = (*CONVENTIONS, "channels", "connections")  # of `config.model.dropout_kind`


def rate_of(keep_prob: float) -> float:
    """The rate `1 - keep_prob`.

    Raises:
        ConfigError: outside (0, 1].
    """
    if not 0 < keep_prob <= 1:
        raise ConfigError(
            f"keep_prob={keep_prob} is the probability of keeping and must lie in (0, 1]; 1 drops nothing"
        )
    return 1 - keep_prob


def _check_rate(rate: float, what: str) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(f"{what}={rate} is the probability of dropping and must lie in [0, 1); 0 turns it off")


def _kept(module: nn.Module, rate: float, shape: tuple[int, ...]) -> jax.Array:
    """A random mask of what is kept, bool of the shape [rows, ...], drawn from the rng "dropout"."""
    key = module.make_rng("dropout")
    return row_random(lambda k, one: jax.random.bernoulli(k, 1 - rate, one), key, shape)


class Dropout(nn.Module):
    """Sets each element to zero with probability `rate` in training: `y = x m / (1 - rate)`, m ~ Bernoulli(1 - rate).

    Attributes:
        rate: in [0, 1).
        keep_prob: the probability of keeping, in (0, 1], in place of the rate.
        convention: "inverted", or "classic": `y = x m` in training and `y = (1 - rate) x` in evaluation.

    Reference: Srivastava et al. 2014, "Dropout", section 4, in the classic convention; section 10 inverts it.
    """

    rate: float | None = None
    convention: str = "inverted"
    keep_prob: float | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, ...]; train: draw a mask from the rng "dropout". Returns: array like x."""
        if (self.rate is None) == (self.keep_prob is None):
            raise ConfigError(
                f"dropout takes a rate, the probability of dropping, or a keep_prob, that of keeping; got "
                f"rate={self.rate} and keep_prob={self.keep_prob}"
            )
        rate = rate_of(self.keep_prob) if self.rate is None else self.rate
        _check_rate(rate, "dropout")
        if self.convention not in CONVENTIONS:
            raise ConfigError(
                f"dropout convention={self.convention!r} is not known; {nearest(self.convention, CONVENTIONS)}"
            )
        classic = self.convention == "classic"
        if rate == 0 or (not train and not classic):
            return x
        keep = 1 - rate
        if not train:
            return (x * keep).astype(x.dtype)
        return jnp.where(_kept(self, rate, x.shape), x if classic else x / keep, 0).astype(x.dtype)


class ChannelDropout(nn.Module):
    """Sets whole channels of each example to zero with probability `rate`, in the inverted convention.

    Neighbouring pixels of a feature map are similar, so dropping single ones hides little.

    Reference: Tompson et al. 2015, "Efficient Object Localization Using Convolutional Networks", section 3.2
    (SpatialDropout).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, ..., c]; train: draw a mask [b, c] from the rng "dropout". Returns: array like x."""
        _check_rate(self.rate, "dropout")
        if not train or self.rate == 0:
            return x
        kept = _kept(self, self.rate, (x.shape[0], x.shape[-1]))
        kept = kept.reshape(x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1])  # [b, 1, ..., c]
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


class DropConnect(nn.Module):
    """A dense layer that drops each weight with probability `rate`: `y = x (M * W) / (1 - rate) + b`.

    Every example has its own mask M of the size of W, so training needs the memory of b kernels. Biases are kept.
    Evaluation is the dense layer, where the paper samples a Gaussian. Parameters are those of `flax.linen.Dense`.

    Attributes:
        features: units.
        rate: in [0, 1).
        use_bias: whether there is b.
        kernel_init: initialiser of W.
        bias_init: initialiser of b.
        dtype: of the computation.
        param_dtype: of the parameters.

    Reference: Wan et al. 2013, "Regularization of Neural Networks using DropConnect", section 3.
    """

    features: int
    rate: float
    use_bias: bool = True
    kernel_init: Any = nn.initializers.lecun_normal()
    bias_init: Any = nn.initializers.zeros_init()
    dtype: Any = jnp.float32
    param_dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, d]; train: draw masks [b, d, features] from the rng "dropout". Returns: [b, features]."""
        _check_rate(self.rate, "dropout")
        kernel = self.param("kernel", self.kernel_init, (x.shape[-1], self.features), self.param_dtype)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        if train and self.rate:
            kept = _kept(self, self.rate, (x.shape[0], *kernel.shape))
            masked = jnp.where(kept, kernel[None] / (1 - self.rate), 0).astype(self.dtype)  # [b, d, features]
            y = jnp.einsum("bd,bdf->bf", x, masked)
        else:
            y = x @ kernel
        if not self.use_bias:
            return y
        return y + self.param("bias", self.bias_init, (self.features,), self.param_dtype).astype(self.dtype)[None]


class DropPath(nn.Module):
    """Stochastic depth: sets whole rows (the residual branch of one example) to zero with probability `rate`.

    Reference: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3, in its inverted form.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, ...]; train: draw a mask from the rng "dropout". Returns: array like x."""
        _check_rate(self.rate, "drop_path")
        if not train or self.rate == 0:
            return x
        kept = _kept(self, self.rate, (x.shape[0],)).reshape(x.shape[0], *(1,) * (x.ndim - 1))  # [b, 1, ...]
        return jnp.where(kept, x / (1 - self.rate), 0).astype(x.dtype)


def dropout(kind: str, rate: float) -> Callable[[jax.Array, bool], jax.Array]:
    """The layer `(x, train) -> x` of a kind: Dropout in either convention, ChannelDropout; identity for "connections".

    Raises:
        ConfigError: for an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"config.model.dropout_kind={kind!r} is not known; {nearest(kind, KINDS)}")
    if kind == "connections":
        return lambda x, train: x
    return ChannelDropout(rate) if kind == "channels" else Dropout(rate, kind)


def dense(
    kind: str, rate: float, units: int, use_bias: bool = True, **how: Any
) -> Callable[[jax.Array, bool], jax.Array]:
    """The dense layer `(x, train) -> y` in front of `dropout(kind, rate)`: DropConnect for "connections".

    Args:
        kind: of KINDS.
        rate: in [0, 1).
        units: of the layer.
        use_bias: whether it has one.
        **how: name, dtype, param_dtype, kernel_init and bias_init.
    """
    if kind == "connections":
        return DropConnect(units, rate, use_bias, **how)
    layer = nn.Dense(units, use_bias, **how)
    return lambda x, train: layer(x)
