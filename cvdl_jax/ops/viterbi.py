"""The best path through a graph of states, and the reading of strings by a grammar of them.

With log weights of starting in a state, of stepping from one to another, of what each position says for each state,
and of ending in one, the score of a path s_1 ... s_T is

    start(s_1) + sum_t emission_t(s_t) + sum_{t > 1} step(s_{t-1}, s_t) + end(s_T),

and the best score of all paths that are in s at position t follows from those at t - 1:

    best_t(s) = emission_t(s) + max_r (best_{t-1}(r) + step(r, s)),

so that T S^2 additions decide between S^T paths. A weight of minus infinity forbids.

Reference: Viterbi 1967, "Error Bounds for Convolutional Codes and an Asymptotically Optimum Decoding Algorithm"; LeCun
et al. 1998, "Gradient-Based Learning Applied to Document Recognition", sections IV and VII (a grammar composed with the
scores of a network along a string).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

NOTHING = -1  # fills up strings that are shorter than the array they stand in


class Grammar(NamedTuple):
    """Which strings there are, as a graph of states.

    Attributes:
        start: float32 [s], 0 where a path may begin, else -inf.
        step: float32 [s, s], from the row's state to the column's, likewise.
        end: float32 [s], likewise.
        column: int32 [s], which of a position's scores a state takes.
        begins: bool [s], whether a symbol begins in a state.
    """

    start: np.ndarray
    step: np.ndarray
    end: np.ndarray
    column: np.ndarray
    begins: np.ndarray


def viterbi(start: Any, step: Any, emissions: jax.Array, end: Any = 0.0) -> tuple[jax.Array, jax.Array]:
    """The path with the highest score.

    Args:
        start: log weights [s]; -inf forbids, +inf and NaN have no meaning, here and below.
        step: log weights [s, s], from the row's state to the column's.
        emissions: log weights [..., t, s], t at least 1.
        end: log weights [s], or one for all.

    Returns:
        (states int32 [..., t], scores [...]). Of equal paths the one whose last state is smallest, then the last but
        one, and so on. Where no path is allowed the score is -inf, and all states are 0. Sums are float32 at least.
    """
    dtype = jnp.promote_types(emissions.dtype, jnp.float32)
    start, step, emissions, end = (jnp.asarray(x, dtype) for x in (start, step, emissions, end))

    def one(emissions: jax.Array) -> tuple[jax.Array, jax.Array]:
        def forward(best: jax.Array, emission: jax.Array) -> tuple[jax.Array, jax.Array]:
            ways = best[:, None] + step  # [from, to]
            return ways.max(0) + emission, ways.argmax(0)

        best, came_from = lax.scan(forward, start + emissions[0], emissions[1:])
        best = best + end
        last = best.argmax()

        def backward(state: jax.Array, came_from: jax.Array) -> tuple[jax.Array, jax.Array]:
            return came_from[state], state

        first, rest = lax.scan(backward, last, came_from, reverse=True)
        states = jnp.concatenate([first[None], rest]).astype(jnp.int32)
        return jnp.where(jnp.isneginf(best.max()), 0, states), best.max()

    shape = emissions.shape
    states, scores = jax.vmap(one)(emissions.reshape(-1, *shape[-2:]))
    return states.reshape(shape[:-1]), scores.reshape(shape[:-2])


def at_most_one_per_width(symbols: int, width: int, longest: int, length: int | None = None) -> Grammar:
    """Strings in which a symbol is seen at 1 to `longest` positions in a row, and no other begins within its width.

    Args:
        symbols: kinds of symbols; column number `symbols` is that of no symbol.
        width: positions from the first of a symbol to the first of the next one, at least.
        longest: positions that one symbol is seen at, at most.
        length: of the strings; None for any, the empty one included.

    Raises:
        ValueError: for a number that is too small.
    """
    for name, value in {"symbols": symbols, "width": width, "longest": longest}.items():
        if value < 1:
            raise ValueError(f"{name}={value} must be at least 1")
    if length is not None and length < 0:
        raise ValueError(f"length={length} must not be negative; None is for strings of any length")
    counts = range(1 if length is None else length + 1)  # symbols so far
    # (symbols so far, the symbol here or none, positions since it began; of none: those to pass before the next begins)
    states = [(n, symbols, wait) for n in counts for wait in range(width)]
    states += [(n, s, k) for n in counts if n or length is None for s in range(symbols) for k in range(longest)]
    place = {state: i for i, state in enumerate(states)}

    def next_symbols(n: int) -> list[tuple[int, int, int]]:
        more = n if length is None else n + 1
        return [(more, s, 0) for s in range(symbols) if more in counts]

    def following(n: int, symbol: int, k: int) -> list[tuple[int, int, int]]:
        if symbol == symbols:
            return [(n, symbols, max(k - 1, 0)), *(next_symbols(n) if k == 0 else ())]
        left = width - k - 1  # positions of the symbol's width after this one
        others = [(n, symbol, k + 1)] if k + 1 < longest else []
        return [*others, (n, symbols, max(left - 1, 0)), *(next_symbols(n) if left <= 0 else ())]

    start, step = (np.full((len(states),) * n, -np.inf, np.float32) for n in (1, 2))
    end = np.asarray([0.0 if length in (None, n) else -np.inf for n, _, _ in states], np.float32)
    for state in [(0, symbols, 0), *next_symbols(0)]:
        start[place[state]] = 0.0
    for i, state in enumerate(states):
        step[i, [place[other] for other in following(*state)]] = 0.0
    begins = [symbol != symbols and k == 0 for _, symbol, k in states]
    return Grammar(start, step, end, np.asarray([s for _, s, _ in states], np.int32), np.asarray(begins))


def read(grammar: Grammar, scores: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The string of a grammar that the scores of its positions speak for most.

    Args:
        grammar: see there.
        scores: log probabilities [..., t, symbols + 1], the last that there is no symbol.

    Returns:
        (string int32 [..., t], filled up with NOTHING; the scores' column at each position, int32 [..., t]; the score
        of the path [...], -inf with an empty string where the grammar has none for so few positions).
    """
    states, total = viterbi(grammar.start, grammar.step, scores[..., grammar.column], grammar.end)
    columns, begins = jnp.asarray(grammar.column)[states], jnp.asarray(grammar.begins)[states]
    return packed(columns, begins), columns, total


def collapse(scores: jax.Array) -> jax.Array:
    """Reads a string greedily: the best column at each position, equal neighbours as one, without the last column.

    Args:
        scores: [..., t, symbols + 1], the last that there is no symbol.

    Returns:
        int32 [..., t], filled up with NOTHING.
    """
    best = scores.argmax(-1).astype(jnp.int32)
    none = jnp.full_like(best[..., :1], scores.shape[-1] - 1)
    before = jnp.concatenate([none, best[..., :-1]], -1)
    return packed(best, (best != before) & (best != none))


def packed(values: jax.Array, kept: jax.Array) -> jax.Array:
    """The values that are kept, moved to the front: int32 [..., t] and bool [..., t] -> int32 [..., t] with NOTHING."""
    order = jnp.argsort(~kept, axis=-1, stable=True)
    return jnp.take_along_axis(jnp.where(kept, values, NOTHING), order, -1)
