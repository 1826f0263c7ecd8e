"""Multi-head self-attention."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.precision import at_least_float32


class SelfAttention(nn.Module):
    """`Concat(head_1 .. head_h) W_o`, `head_i = softmax(Q_i K_i^T / sqrt(d / h)) V_i`; Q, K, V in one matrix product.

    Attributes:
        heads: h, a divisor of d.
        dropout: rate on the attention weights.
        return_weights: also return the weights; they cost memory of order n^2.
        kernel_init: of both projections; biases start at zero.
        dtype: of the products; the softmax is at least float32.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", equation 1 and section 3.2.2.
    """

    heads: int
    dropout: float = 0.0
    return_weights: bool = False
    kernel_init: Any = nn.initializers.xavier_uniform()
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array | None]:
        """Applies self-attention.

        Args:
            x: tokens [b, n, d].
            train: whether weights are dropped.

        Returns:
            tokens [b, n, d]; the weights before dropout [b, h, n, n], rows summing to one, or None if not asked for.

        Raises:
            ConfigError: if h does not divide d.
        """
        b, n, d = x.shape
        if d % self.heads:
            raise ConfigError(f"config.model.heads={self.heads} must divide the width {d} of the tokens")
        wide = at_least_float32(self.dtype)
        dense = {"kernel_init": self.kernel_init, "dtype": self.dtype, "param_dtype": wide}
        qkv = nn.Dense(3 * d, **dense, name="qkv")(x).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]  # [b, n, h, d / h]
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=wide)  # [b, h, n, n]
        weights = jax.nn.softmax(scores * (d // self.heads) ** -0.5, axis=-1)
        dropped = Dropout(self.dropout)(weights, train).astype(self.dtype)
        y = jnp.einsum("bhqk,bkhd->bqhd", dropped, v).reshape(b, n, d)
        return nn.Dense(d, **dense, name="proj")(y), weights if self.return_weights else None
