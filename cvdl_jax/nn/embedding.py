"""Vectors of symbols, and the scores of symbols by the same vectors."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cvdl_jax.ops.precision import at_least_float32
from cvdl_jax.ops.value_checks import between, or_nan


class Embedding(nn.Module):
    """A learned vector for each symbol.

    Attributes:
        symbols: v, how many there are.
        width: d, size of a vector.
        init: initialiser of the table.
        dtype: of the vectors; the table and the scores are at least float32.
    """

    symbols: int
    width: int
    init: Any = nn.initializers.normal(0.02)
    dtype: Any = jnp.float32

    def setup(self) -> None:
        """The table [v, d]."""
        shape = (self.symbols, self.width)
        self.table = self.param("table", self.init, shape, at_least_float32(self.dtype))

    def __call__(self, symbols: jax.Array) -> jax.Array:
        """The vectors of symbols.

        Args:
            symbols: int [b, t]; -1 is "no symbol", a vector of zeros.

        Returns:
            [b, t, d]; NaN for what is no symbol, which stops a run.

        Raises:
            ValueError: instead of NaN, naming the symbol, where values are known.
        """
        known = between("symbols", symbols, -1, self.symbols - 1)
        vectors = jnp.take(self.table, jnp.clip(symbols, 0, self.symbols - 1), axis=0).astype(self.dtype)
        return or_nan(known[..., None], jnp.where(symbols[..., None] < 0, 0, vectors))

    def scores(self, x: jax.Array) -> jax.Array:
        """The dot products with every vector. Args: x [b, t, d]. Returns: [b, t, v], at least float32."""
        wide = at_least_float32(self.dtype)
        b, t, d = x.shape
        return (x.reshape(b * t, d).astype(wide) @ self.table.T).reshape(b, t, -1)  # one product: see product_of_rows
