"""Sequences of symbols in rows of one length: the ids with a meaning, where a row ends, what a decoder reads.

A row is its words, END, then PADDING. A decoder that has read BEGIN and the first words predicts the next one, so it
reads the target moved by one place: BEGIN, then all but the last symbol.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

PADDING, BEGIN, END, UNKNOWN = range(4)


def lengths(symbols: jax.Array) -> jax.Array:
    """How many symbols of each row stand before its padding.

    Args:
        symbols: int [b, t]. Padding between symbols counts as one of them.

    Returns:
        int32 [b]; 0 for a row of padding alone.
    """
    places = jnp.arange(1, symbols.shape[1] + 1, dtype=jnp.int32)[None]
    return jnp.where(symbols == PADDING, 0, places).max(1)


def there(symbols: jax.Array) -> jax.Array:
    """Where there is no padding. Args: symbols int [b, t]. Returns: bool [b, t]."""
    return jnp.arange(symbols.shape[1])[None] < lengths(symbols)[:, None]


def shifted(target: jax.Array) -> jax.Array:
    """What a decoder reads to predict a target: BEGIN, then all but its last. Args: int [b, t]. Returns: likewise."""
    return jnp.pad(target[:, :-1], ((0, 0), (1, 0)), constant_values=BEGIN)


def until_end(symbols: jax.Array) -> jax.Array:
    """Rows with PADDING after the first END, as targets are stored. Args: int [b, t]. Returns: int [b, t]."""
    ends = jnp.cumsum(symbols == END, 1) - (symbols == END)  # of the symbols before
    return jnp.where(ends > 0, PADDING, symbols)


def turned(x: jax.Array, sizes: jax.Array) -> jax.Array:
    """Each row's first symbols in the opposite order, what is behind them in its place; twice gives x back.

    Args:
        x: [b, t, ...].
        sizes: int [b], how many symbols are turned.

    Returns:
        Array like x.
    """
    places = jnp.arange(x.shape[1])[None]  # [1, t]
    places = jnp.where(places < sizes[:, None], sizes[:, None] - 1 - places, places)  # [b, t]
    return jnp.take_along_axis(x, places.reshape(*places.shape, *(1,) * (x.ndim - 2)), 1)


def in_bucket(call: Callable[..., Any], buckets: Sequence[int], longest: jax.Array, *rows: jax.Array) -> Any:
    """`call(*rows)` with as few columns as the longest row needs: those of the shortest bucket that holds it.

    Args:
        call: its result may not depend on columns of padding, and has one shape whatever their number.
        buckets: in ascending order, each below t; () is all columns always.
        longest: int [], the same on every device.
        *rows: [b, t, ...].

    Returns:
        What `call` returns. Each bucket is a branch of the one program.
    """
    if not buckets:
        return call(*rows)

    def cut(size: int, *rows: jax.Array) -> Any:
        return call(*(x[:, :size] for x in rows))

    branches = [partial(cut, size) for size in (*buckets, rows[0].shape[1])]
    return jax.lax.switch(jnp.searchsorted(jnp.asarray(buckets), longest), branches, *rows)
