"""A network that tells of which domain features are."""

import flax.linen as nn
import jax

from cvdl_jax.config.binding import Size
from cvdl_jax.ops.precision import at_least_float32


class DomainClassifier(nn.Module):
    """Logits of "source": one hidden layer of rectified units, at least in float32.

    Attributes:
        units: of the hidden layer; Ganin et al. 2016, section 5.2.2, take 100 for digits.
    """

    units: Size = 100

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Features [b, ...] to logits [b]."""
        x = features.reshape(len(features), -1)
        x = x.astype(at_least_float32(x.dtype))
        return nn.Dense(1, name="logit")(nn.relu(nn.Dense(self.units, name="hidden")(x)))[:, 0]
