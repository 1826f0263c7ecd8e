"""Linear classifier: one score per class, `s = x W + b`.

With softmax cross-entropy it is multinomial logistic regression, with the hinge loss a support vector machine.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.common import check_float, head
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # LeCun et al. 1998, figure 9, "Linear"
    "linear": {"input": (28, 28, 1), "num_classes": 10, "macs": 7_840, "params": 7_850},
    "linear_tiny": {"input": (8, 8, 1), "num_classes": 10, "macs": 640, "params": 650},
}


class Linear(nn.Module):
    """A linear map of the flattened input.

    Attributes:
        num_classes: number of scores; 0 for the flattened input itself.
        bias: whether b is there.
        dtype: ignored beyond float32: one product is not worth rounding.
    """

    num_classes: int
    bias: bool = True
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Args: x float [b, ...]; train: no effect. Returns: scores [b, num_classes], {"pre_logits": [b, d]}."""
        check_float(x, "linear")
        wide = at_least_float32(self.dtype)
        x = x.reshape(x.shape[0], -1).astype(wide)  # [b, d]
        logits = head(x, self.num_classes, self.dtype, use_bias=self.bias)
        return logits, {"pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> Linear:
    """A variant of the table with overrides."""
    return from_row(Linear, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
