"""Multi-head self-attention.

On GPUs it is cuDNN's fused attention, which never writes the [b, h, n, n] scores to memory, wherever nothing needs
them: in half precision, without returned weights, dropout on them, or a bias (with which cuDNN cannot train an odd
number of tokens, such as the 49 of a window). Everywhere else the scores are written in at least float32.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.core.parallel import backend
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn.common import product_of_rows
from cvdl_jax.nn.dropout import Dropout
from cvdl_jax.ops.precision import at_least_float32

LARGEST_HEAD = 128  # channels of a head that cuDNN takes from compute capability 8.0 on


class SelfAttention(nn.Module):
    """`Concat(head_1 .. head_h) W_o`, `head_i = softmax(Q_i K_i^T / sqrt(d / h) + B_i) V_i`; Q, K, V in one product.

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
    def __call__(self, x: jax.Array, train: bool, bias: jax.Array | None = None) -> tuple[jax.Array, jax.Array | None]:
        """Applies self-attention.

        Args:
            x: tokens [b, n, d].
            train: whether weights are dropped.
            bias: B, added to the scores before the softmax, [k, h or 1, n, n] with k a divisor of b: row i of x gets
                bias i modulo k. What must not be attended has a large negative one.

        Returns:
            tokens [b, n, d]; the weights before dropout [b, h, n, n], rows summing to one, or None if not asked for.

        Raises:
            ConfigError: if h does not divide d.
            ValueError: for a bias of another shape.
        """
        b, n, d = x.shape
        if d % self.heads:
            raise ConfigError(f"config.model.heads={self.heads} must divide the width {d} of the tokens")
        wide = at_least_float32(self.dtype)
        dense = {"kernel_init": self.kernel_init, "dtype": self.dtype, "param_dtype": wide}
        dense["dot_general"] = product_of_rows
        qkv = nn.Dense(3 * d, **dense, name="qkv")(x).reshape(b, n, 3, self.heads, d // self.heads)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]  # [b, n, h, d / h]
        needs_weights = self.return_weights or bias is not None or (train and self.dropout > 0)
        if not needs_weights and fuses(self.dtype, d // self.heads):
            y = jax.nn.dot_product_attention(q, k, v, implementation="cudnn").reshape(b, n, d)
            return nn.Dense(d, **dense, name="proj")(y), None
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=wide)  # [b, h, n, n]
        scores = scores * (d // self.heads) ** -0.5
        weights = jax.nn.softmax(scores if bias is None else _add_bias(scores, bias), axis=-1)
        dropped = Dropout(self.dropout)(weights, train).astype(self.dtype)
        y = jnp.einsum("bhqk,bkhd->bqhd", dropped, v).reshape(b, n, d)
        return nn.Dense(d, **dense, name="proj")(y), weights if self.return_weights else None


def fuses(dtype: Any, channels: int) -> bool:
    """Whether attention is cuDNN's here: on a GPU that has it, in half precision, for heads of a size that it takes.

    Args:
        dtype: of queries, keys and values.
        channels: of one head.
    """
    half = jnp.dtype(dtype) in (jnp.bfloat16, jnp.float16)
    here = backend() == jax.default_backend() == "gpu"  # else it is compiled for another machine than this one
    if not here or not half or channels % 8 or channels > LARGEST_HEAD:
        return False
    capability = getattr(jax.local_devices(backend="gpu")[0], "compute_capability", "0")
    try:
        return float(capability) >= 8.0
    except ValueError:  # AMD's are called "gfx90a"
        return False


def _add_bias(scores: jax.Array, bias: jax.Array) -> jax.Array:
    """Scores [b, h, n, n] plus a bias [k, h or 1, n, n] for row i modulo k."""
    (b, h, n, _), (k, heads, *places) = scores.shape, bias.shape
    if b % k or heads not in (1, h) or places != [n, n]:
        raise ValueError(f"a bias of attention must be [k, {h} or 1, {n}, {n}], k a divisor of {b}; got {bias.shape}")
    grouped = scores.reshape(b // k, k, h, n, n) + bias.astype(scores.dtype)[None]
    return grouped.reshape(b, h, n, n)
