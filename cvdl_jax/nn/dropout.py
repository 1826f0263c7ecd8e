"""Dropout and stochastic depth, each row of the batch from its own key, so that every layout of devices agrees.

Both follow the inverted convention: what is kept is divided by the probability of keeping it while training, and
evaluation is the identity. `rate` is always the probability of dropping.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.parallel import row_random


def _check_rate(rate: float, what: str) -> None:
    if not 0 <= rate < 1:
        raise ConfigError(f"{what}={rate} is the probability of dropping and must lie in [0, 1); 0 turns it off")


class Dropout(nn.Module):
    """Sets each element to zero with probability `rate` in training: `y = x m / (1 - rate)`, m ~ Bernoulli(1 - rate).

    Reference: Srivastava et al. 2014, "Dropout", section 4 (there the weights are scaled at test time instead).
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Args: x [b, ...]; train: draw a mask from the rng "dropout". Returns: array like x."""
        _check_rate(self.rate, "dropout")
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = row_random(lambda k, shape: jax.random.bernoulli(k, keep, shape), self.make_rng("dropout"), x.shape)
        return jnp.where(mask, x / keep, 0).astype(x.dtype)


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
        keep = 1 - self.rate
        rows = (x.shape[0],)
        mask = row_random(lambda k, shape: jax.random.bernoulli(k, keep, shape), self.make_rng("dropout"), rows)  # [b]
        mask = mask.reshape(rows + (1,) * (x.ndim - 1))  # [b, 1, ...]
        return jnp.where(mask, x / keep, 0).astype(x.dtype)
