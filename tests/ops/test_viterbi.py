"""Viterbi's algorithm against all paths, the grammar against all strings, and greedy reading by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.ops.viterbi import NOTHING, at_most_one_per_width, collapse, read, viterbi

RNG = np.random.default_rng(0)


def weights(*shape, forbidden=0.3):
    """Small whole numbers, so that equal sums are equal, some of them forbidden."""
    return np.where(RNG.random(shape) < forbidden, -np.inf, RNG.integers(-2, 3, shape)).astype(np.float32)


def of_all_paths(start, step, emissions, end):
    """Of all paths the best one, of equal ones that with the smallest last state, then the last but one ..."""
    t, s = emissions.shape

    def score(path):
        steps = sum(step[a, b] for a, b in itertools.pairwise(path))
        return start[path[0]] + sum(emissions[i, state] for i, state in enumerate(path)) + steps + end[path[-1]]

    paths = list(itertools.product(range(s), repeat=t))
    best = max(map(score, paths))
    return min((path for path in paths if score(path) == best), key=lambda path: path[::-1]), best


@pytest.mark.curriculum("H32")
def test_the_path_is_the_best_of_all():
    solve, forbidden, ties = jax.jit(viterbi), 0, 0
    for trial in range(30):
        start, step, end = weights(3), weights(3, 3), weights(3)
        emissions = weights(2, 2, 4, 3, forbidden=0.9 if trial % 5 == 0 else 0.2)  # a batch of [2, 2]
        states, scores = solve(start, step, emissions, end)
        assert states.dtype == jnp.int32 and scores.shape == (2, 2)
        for where in np.ndindex(2, 2):
            path, best = of_all_paths(start, step, emissions[where], end)
            assert (tuple(np.asarray(states)[where]), float(scores[where])) == (path, best)
            forbidden += best == -np.inf
            ties += best > -np.inf
    assert forbidden > 5 and ties > 50


def test_one_position_and_no_end():
    states, score = viterbi(np.zeros(2), np.full((2, 2), -np.inf), jnp.asarray([[1.0, 3.0]]))
    assert states.tolist() == [1] and float(score) == 3.0


def all_readings(scores, width, longest, length):
    """{string: its best score}, from all places where symbols may begin and all numbers of positions they are seen."""
    t, none = scores.shape[0], scores.shape[1] - 1
    readings = {}
    for n in range(t + 1) if length is None else [length]:
        for begins in itertools.combinations(range(t), n):
            if any(b - a < width for a, b in itertools.pairwise(begins)):
                continue
            room = [min(longest, b - a) for a, b in itertools.pairwise([*begins, t])]
            for runs in itertools.product(*(range(1, r + 1) for r in room)):
                for string in itertools.product(range(none), repeat=n):
                    labels = np.full(t, none)
                    for a, run, symbol in zip(begins, runs, string, strict=True):
                        labels[a : a + run] = symbol
                    total = sum(scores[np.arange(t), labels])
                    readings[string] = max(readings.get(string, -np.inf), total)
    return readings


@pytest.mark.curriculum("H32")
@pytest.mark.parametrize(
    ("width", "longest", "length"), [(1, 1, None), (2, 1, None), (3, 2, None), (2, 3, None), (2, 2, 2), (3, 3, 0)]
)
def test_the_string_is_the_best_of_the_grammar(width, longest, length):
    grammar = at_most_one_per_width(2, width, longest, length)
    many = RNG.normal(size=(12, 5, 3)).astype(np.float32)
    strings, columns, totals = jax.jit(lambda s: read(grammar, s))(many)
    lengths = set()
    for scores, string, labels, total in zip(many, np.asarray(strings), np.asarray(columns), totals, strict=True):
        readings = all_readings(scores, width, longest, length)
        best = max(readings, key=readings.get)
        assert tuple(string[string != NOTHING]) == best and (string[len(best) :] == NOTHING).all()
        np.testing.assert_allclose([total, scores[np.arange(5), labels].sum()], readings[best], rtol=1e-5)
        lengths.add(len(best))
    assert len(lengths) > 1 if length is None else lengths == {length}


def test_a_repeated_symbol_needs_its_width_and_too_few_positions_have_no_string():
    log = jnp.log(jnp.asarray([[0.9, 0.1]] * 4))
    pairs = at_most_one_per_width(1, 2, 2)  # 0 0 0 0 in pairs: two symbols, which greedy reading cannot tell from one
    assert read(pairs, log)[0].tolist() == [0, 0, NOTHING, NOTHING]
    assert collapse(log).tolist() == [0, NOTHING, NOTHING, NOTHING]
    string, _, total = read(at_most_one_per_width(1, 4, 1, length=2), log)
    assert float(total) == -np.inf and string.shape == (4,)
    for wrong in ({"symbols": 0}, {"width": 0}, {"longest": 0}, {"length": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            at_most_one_per_width(**{"symbols": 2, "width": 2, "longest": 2, **wrong})


def test_greedy_reading():
    labels = np.asarray([[2, 2, 2, 2, 2, 2], [0, 0, 2, 0, 1, 1], [1, 0, 0, 2, 2, 1]])
    expected = [[-1] * 6, [0, 0, 1, -1, -1, -1], [1, 0, 1, -1, -1, -1]]
    assert jax.jit(collapse)(np.eye(3, dtype=np.float32)[labels]).tolist() == expected
