"""Decoding against an enumeration of all sequences of a small Markov chain of second order."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import decoding

V, LENGTH, BEGIN, END = 4, 3, 0, 2
TABLE = np.random.default_rng(3).normal(size=(2, V, V, V)).astype(np.float32) * 1.5  # of two rows


def advance(carry, symbols):
    """The scores depend on the last two symbols, of which the carry keeps one, and on the row."""
    table, before = carry["table"], carry["before"]
    logits = table[jnp.arange(len(symbols)), before, symbols]
    return logits, {"table": table, "before": symbols}


def carry_of():
    return {"table": jnp.asarray(TABLE), "before": jnp.full(2, BEGIN, jnp.int32)}


def log_probability(row, sequence):
    """Of a sequence that is filled up behind its end, and how many symbols it has."""
    before, last, total, size = BEGIN, BEGIN, 0.0, 0
    for symbol in sequence:
        size += 1
        logits = TABLE[row, before, last].astype(np.float64)
        total += logits[symbol] - np.log(np.exp(logits).sum())
        before, last = last, symbol
        if symbol == END:
            break
    return total, size


def everything(row, penalty=0.0):
    """All sequences and their scores, best first."""
    ranked = []
    for sequence in itertools.product(range(V), repeat=LENGTH):
        over = sequence.index(END) if END in sequence else LENGTH
        if any(s != END for s in sequence[over:]):
            continue
        total, size = log_probability(row, sequence)
        ranked.append((total / ((5 + size) / 6) ** penalty, sequence))
    return sorted(ranked, reverse=True)


@pytest.mark.parametrize("penalty", [0.0, 2.0])
def test_a_beam_that_is_wide_enough_finds_the_best_sequences(penalty):
    search = partial(decoding.beam_search, advance, length=LENGTH, begin=BEGIN, end=END, length_penalty=penalty)
    symbols, scores = jax.jit(lambda carry: search(carry, 2, beams=40))(carry_of())
    for row in range(2):
        ranked = everything(row, penalty)
        np.testing.assert_allclose(scores[row, : len(ranked)], [score for score, _ in ranked], rtol=1e-4)
        assert [tuple(s) for s in symbols[row, :5].tolist()] == [sequence for _, sequence in ranked[:5]]
        np.testing.assert_array_equal(
            scores[row, len(ranked) :], -np.inf
        )  # there are no more than 1 + 3 (1 + 3 (1 + 3))
    assert len(ranked) == 40


def test_one_beam_is_greedy_and_what_is_over_stays_so():
    symbols, total = decoding.greedy(advance, carry_of(), 2, 6, BEGIN, END)
    beam, scores = decoding.beam_search(advance, carry_of(), 2, 6, BEGIN, END, beams=1)
    np.testing.assert_array_equal(beam[:, 0], symbols)
    np.testing.assert_allclose(scores[:, 0], total, rtol=1e-5)
    for row, sequence in enumerate(symbols.tolist()):
        before, last = BEGIN, BEGIN
        for i, symbol in enumerate(sequence):
            assert symbol == TABLE[row, before, last].argmax()
            before, last = last, symbol
            if symbol == END:
                assert sequence[i:] == [END] * (6 - i)
                break
        np.testing.assert_allclose(total[row], log_probability(row, sequence)[0], rtol=1e-5)


def test_beams_are_followed_with_their_own_carry():
    """Three beams against the same search by hand, with the carry of the beam that each came from."""
    symbols, scores = decoding.beam_search(advance, carry_of(), 2, 5, BEGIN, END, beams=3)
    for row in range(2):
        beams = [(0.0, ())]
        for _ in range(5):
            tried = []
            for total, sequence in beams:
                if sequence and sequence[-1] == END:
                    tried.append((total, (*sequence, END)))
                    continue
                tried += [(log_probability(row, (*sequence, s))[0], (*sequence, s)) for s in range(V)]
            beams = sorted(tried, reverse=True)[:3]
        assert [tuple(s) for s in symbols[row].tolist()] == [sequence for _, sequence in beams]
        np.testing.assert_allclose(scores[row], [total for total, _ in beams], rtol=1e-4)


def test_no_beam_is_refused():
    with pytest.raises(ConfigError, match="at least 1 beam and a length of at least 1, got 0 and 3"):
        decoding.beam_search(advance, carry_of(), 2, 3, BEGIN, END, beams=0)
    with pytest.raises(ConfigError, match="at least 1, got 0"):
        decoding.greedy(advance, carry_of(), 2, 0, BEGIN, END)
