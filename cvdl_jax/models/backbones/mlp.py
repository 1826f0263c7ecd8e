"""Multi-layer perceptron: `a_l = g(norm(a_{l-1} W_l + b_l))`, or `norm(g(...))`, then a linear layer of scores."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.activations import activation
from cvdl_jax.nn.common import check_float, head
from cvdl_jax.nn.dropout import dense, dropout
from cvdl_jax.nn.init import constant, initializer, lecun_normal
from cvdl_jax.nn.norms import keeps_bias, normaliser, with_activation
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    "mlp": {
        "input": (28, 28, 1), "num_classes": 10, "hidden": (300, 100),
        "macs": 266_200, "params": 266_610,  # 784 * 300 + 300 + 300 * 100 + 100 + 100 * 10 + 10
    },  # LeCun et al. 1998, figure 9, "28x28-300-100-10"
    "mlp_tiny": {
        "input": (8, 8, 1), "num_classes": 10, "hidden": (16, 8),
        "macs": 1_232, "params": 1_266,  # 65 * 16 + 17 * 8 + 9 * 10
    },
}  # fmt: skip


class MLP(nn.Module):
    """Dense layers on the flattened input.

    Attributes:
        num_classes: number of logits; 0 for the features, without a head.
        hidden: number of units of every hidden layer; () is a linear classifier.
        activation: name of g.
        norm: normalisation of every hidden layer (`nn/norms.py`): "none", "batch", "layer", "group(groups=8)" ...
        placement: whether the norm stands "before" or "after" g.
        dropout: dropout rate after every g.
        dropout_kind: "inverted", "classic", "channels" or "connections" (`nn/dropout.py`).
        kernel_init: initialiser of every kernel (`nn/init.py`); "" for He's in hidden layers and LeCun's in the last.
        bias_init: initial value of the biases of hidden layers.
        dtype: dtype of the hidden layers; the logits are at least float32.
    """

    num_classes: int
    hidden: tuple[Size, ...] = (300, 100)
    activation: str = "relu"
    norm: str = "none"
    placement: str = "before"
    dropout: Share = 0.0
    dropout_kind: str = "inverted"
    kernel_init: str = ""
    bias_init: float = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies.

        Args:
            x: float [b, ...], images or features; flattened.
            train: dropout on, batch statistics updated.

        Returns:
            logits [b, num_classes]; {"stages": activations [b, units] of every hidden layer, "pre_logits": the last}.
        """
        check_float(x, "mlp")
        if any(units < 1 for units in self.hidden):
            raise ConfigError(f"config.model.hidden={self.hidden} must be numbers of units, each at least 1")
        wide, (kind, norm) = at_least_float32(self.dtype), normaliser(self.norm, self.dtype)
        g, bias = with_activation(activation(self.activation), norm, self.placement), keeps_bias(kind, self.placement)
        x = x.reshape(x.shape[0], -1).astype(self.dtype)  # [b, d]
        first = {"kernel_init": initializer(self.kernel_init, self.activation), "bias_init": constant(self.bias_init)}
        stages, kind_and_rate = [], (self.dropout_kind, self.dropout)
        for i, units in enumerate(self.hidden):
            layer = dense(*kind_and_rate, units, bias, name=f"dense{i}", **first, dtype=self.dtype, param_dtype=wide)
            x = dropout(*kind_and_rate)(g(layer(x, train), train, f"norm{i}"), train)
            stages.append(x)
        last = initializer(self.kernel_init, default=lecun_normal())
        logits = head(x, self.num_classes, self.dtype, last)
        return logits, {"stages": tuple(stages), "pre_logits": x}


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> MLP:
    """A variant of the table with overrides."""
    return from_row(MLP, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)
