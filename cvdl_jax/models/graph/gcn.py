"""Graph convolutional network: every layer mixes the features of a node with those of its neighbours.

`H' = relu(D^-1/2 (A + I) D^-1/2 H W + b)`; the last layer gives the logits of every node. After k layers a node has
seen all that are at most k edges away. With A = 0 it is a perceptron that sees each node by itself.

Reference: Kipf and Welling 2017, "Semi-Supervised Classification with Graph Convolutional Networks", equations 2 and 9.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share, Size
from cvdl_jax.errors import ConfigError
from cvdl_jax.models.registry import from_row
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.graphs import propagation
from cvdl_jax.ops.precision import at_least_float32

VARIANTS = {
    # Kipf and Welling 2017, section 5.2, on the 2708 papers of Cora with 1433 words and 7 classes:
    # 1433 * 16 + 16 + 16 * 7 + 7
    "gcn": {"input": (2708, 1433), "num_classes": 7, "params": 23_063},
    "gcn_tiny": {"input": (6, 5), "num_classes": 3, "hidden": (4,), "params": 39},  # 5 * 4 + 4 + 4 * 3 + 3
}


class GCN(nn.Module):
    """A graph convolutional network.

    Attributes:
        num_classes: number of logits of a node.
        hidden: features of a node after each layer but the last.
        dropout: rate of the input of every layer; 0.5 in the paper.
        dtype: of the hidden layers; the last one is at least float32.
    """

    num_classes: int
    hidden: tuple[Size, ...] = (16,)
    dropout: Share = 0.0
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, adjacency: jax.Array, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Classifies nodes.

        Args:
            x: features, float [b, n, d].
            adjacency: symmetric, without loops, [b, n, n].
            train: dropout on.

        Returns:
            logits [b, n, num_classes]; {"nodes": features before the last layer}.

        Raises:
            ConfigError: for features and edges of different graphs.
        """
        if x.ndim != 3 or adjacency.shape != (*x.shape[:2], x.shape[1]):
            raise ConfigError(f"gcn takes features [b, n, d] and edges [b, n, n], got {x.shape} and {adjacency.shape}")
        matrix = propagation(adjacency)  # [b, n, n]
        x = x.astype(self.dtype)
        for i, width in enumerate(self.hidden):
            x = nn.relu(self._layer(x, matrix, width, self.dtype, train, f"layer{i}"))
        wide = at_least_float32(self.dtype)
        return self._layer(x, matrix, self.num_classes, wide, train, "head"), {"nodes": x}

    def _layer(self, x: jax.Array, matrix: jax.Array, width: int, dtype: Any, train: bool, name: str) -> jax.Array:
        x = Dropout(self.dropout)(x, train)
        wide = {"dtype": dtype, "param_dtype": at_least_float32(dtype)}
        x = nn.Dense(width, use_bias=False, kernel_init=nn.initializers.glorot_uniform(), **wide, name=name)(x)
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (width,), at_least_float32(dtype))
        return matrix.astype(dtype) @ x + bias.astype(dtype)[None, None]


def build(variant: str, num_classes: int, dtype: Any = jnp.float32, **overrides: Any) -> GCN:
    """A variant of the table with overrides."""
    return from_row(GCN, VARIANTS[variant], overrides, num_classes=num_classes, dtype=dtype)


def example(row: dict[str, Any]) -> tuple[jax.Array, jax.Array]:
    """The features and the edges of one graph: zeros [1, n, d] and [1, n, n]."""
    n, _ = row["input"]
    return jnp.zeros((1, *row["input"])), jnp.zeros((1, n, n))
