"""Sequences from a model that gives the scores of the next symbol: the most probable symbol each time, or a beam.

    log p(y) = sum_t log p(y_t | y_1 ... y_{t-1})

`advance(carry, symbols [n]) -> (logits [n, v], carry)` reads one symbol of each of n sequences; every array of the
carry has n rows. A sequence is over with the symbol `end`, which fills the places after it and costs nothing there.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.errors import ConfigError

Carry = Any
Advance = Callable[[Carry, jax.Array], tuple[jax.Array, Carry]]


def greedy(advance: Advance, carry: Carry, rows: int, length: int, begin: int, end: int) -> tuple[jax.Array, jax.Array]:
    """The most probable symbol at each time, fed back; of equal ones the first.

    Args:
        advance: the model.
        carry: its state before `begin`.
        rows: n, sequences.
        length: symbols of a sequence at most, with `end`.
        begin: the symbol that is read first.
        end: the symbol that ends a sequence.

    Returns:
        int32 [n, length], without `begin`; the log probability of each sequence [n].
    """
    if length < 1:
        raise ConfigError(f"a sequence to decode must have a length of at least 1, got {length}")

    def step(state: Any, _: None) -> tuple[Any, jax.Array]:
        carry, symbols, over, total = state
        logits, carry = advance(carry, symbols)
        log_p = jax.nn.log_softmax(logits)
        best = jnp.argmax(logits, -1).astype(jnp.int32)
        gained = jnp.take_along_axis(log_p, best[:, None], 1)[:, 0]
        symbols = jnp.where(over, end, best)
        total = total + jnp.where(over, 0, gained)
        return (carry, symbols, over | (symbols == end), total), symbols

    scores = jax.eval_shape(advance, carry, jnp.zeros(rows, jnp.int32))[0].dtype
    start = (carry, jnp.full(rows, begin, jnp.int32), jnp.zeros(rows, bool), jnp.zeros(rows, scores))
    (_, _, _, total), symbols = lax.scan(step, start, None, length)
    return symbols.T, total


class _Beams(NamedTuple):
    """The n x k sequences that are followed: symbols [n, k, length], the last one, log probability, whether over."""

    carry: Carry
    symbols: jax.Array
    last: jax.Array
    total: jax.Array
    sizes: jax.Array
    over: jax.Array


def beam_search(
    advance: Advance,
    carry: Carry,
    rows: int,
    length: int,
    begin: int,
    end: int,
    beams: int = 4,
    length_penalty: float = 0.0,
) -> tuple[jax.Array, jax.Array]:
    """The k most probable sequences among those that k beams reach.

    Each time, all symbols are tried behind each of the k sequences, and the k best of the k v results are kept; one
    that is over stays as it is and competes with the others. The score of a sequence of m symbols, `end` among them, is

        log p / ((5 + m) / 6)^length_penalty

    Args:
        advance: the model.
        carry: its state before `begin`, of n rows.
        rows: n.
        length: symbols of a sequence at most, with `end`.
        begin: the symbol that is read first.
        end: the symbol that ends a sequence.
        beams: k; with 1 it is `greedy`.
        length_penalty: 0 for the probability itself; larger ones favour longer sequences.

    Returns:
        int32 [n, k, length], best first; scores [n, k], -inf where there are fewer than k sequences.

    Raises:
        ConfigError: for fewer than one beam or symbol.

    Reference: Wu et al. 2016, "Google's Neural Machine Translation System", equation 14, without coverage.
    """
    if beams < 1 or length < 1:
        raise ConfigError(f"beam search takes at least 1 beam and a length of at least 1, got {beams} and {length}")
    n, k = rows, beams

    def rank(total: jax.Array, sizes: jax.Array) -> jax.Array:
        return total / ((5 + sizes) / 6) ** length_penalty

    def of_beams(tree: Carry, chosen: jax.Array) -> Carry:
        """Rows [n k, ...] of the chosen beams [n, k]."""
        at = (chosen + k * jnp.arange(n)[:, None]).reshape(-1)
        return jax.tree.map(lambda x: x[at], tree)

    def step(t: jax.Array, state: _Beams) -> _Beams:
        logits, carry = advance(state.carry, state.last.reshape(-1))
        v = logits.shape[-1]
        log_p = jax.nn.log_softmax(logits).reshape(n, k, v)
        stays = jnp.where(jnp.arange(v) == end, 0, -jnp.inf).astype(log_p.dtype)  # [v]
        log_p = jnp.where(state.over[:, :, None], stays[None, None], log_p)
        sizes = jnp.where(state.over, state.sizes, t + 1)  # [n, k]
        totals = state.total[:, :, None] + log_p  # [n, k, v]
        scores = rank(totals, sizes[:, :, None].astype(log_p.dtype)).reshape(n, k * v)
        _, best = lax.top_k(scores, k)  # [n, k]
        beam, symbol = best // v, (best % v).astype(jnp.int32)
        symbols = jnp.take_along_axis(state.symbols, beam[:, :, None], 1).at[:, :, t].set(symbol)
        total = jnp.take_along_axis(totals.reshape(n, k * v), best, 1)
        sizes, over = (jnp.take_along_axis(x, beam, 1) for x in (sizes, state.over))
        return _Beams(of_beams(carry, beam), symbols, symbol, total, sizes, over | (symbol == end))

    carry = jax.tree.map(lambda x: jnp.repeat(x, k, axis=0), carry)
    scores = jax.eval_shape(advance, carry, jnp.zeros(n * k, jnp.int32))[0].dtype
    first = jnp.where(jnp.arange(k) == 0, 0, -jnp.inf).astype(scores)  # one beam begins: the others would repeat it
    state = _Beams(
        carry,
        jnp.full((n, k, length), end, jnp.int32),
        jnp.full((n, k), begin, jnp.int32),
        jnp.broadcast_to(first, (n, k)),
        jnp.zeros((n, k), jnp.int32),
        jnp.zeros((n, k), bool),
    )
    state = lax.fori_loop(0, length, step, state)  # each step leaves the beams in the order of their scores
    return state.symbols, rank(state.total, state.sizes.astype(scores))
