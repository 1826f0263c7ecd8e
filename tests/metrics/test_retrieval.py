"""Retrieval: recall worked by hand, captions of the same words, ties that count against."""

import numpy as np
import pytest

from cvdl_jax.metrics import retrieval


def test_recall_worked_by_hand():
    """Three queries, four candidates of one number each: the order of inner products is that of the candidates."""
    candidates = np.asarray([[4.0], [3.0], [2.0], [1.0]])
    queries = np.asarray([[1.0], [1.0], [-1.0]])
    right = np.asarray([[1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]], bool)
    hits = retrieval.recalls(queries, candidates, right, (1, 2, 3))
    assert hits[1].tolist() == [True, False, False]  # the second finds its own as the third, the last as the second
    assert hits[2].tolist() == [True, False, True] and hits[3].all()
    assert retrieval.chance(right) == 3 / 12
    with pytest.raises(ValueError, match="query 1 has no right candidate"):
        retrieval.recalls(queries[:2], candidates, np.asarray([[1, 0, 0, 0], [0, 0, 0, 0]], bool))


def test_any_right_candidate_counts_and_a_tie_does_not():
    candidates = np.asarray([[1.0], [1.0], [0.5]])
    one = np.ones((1, 1))
    assert retrieval.recalls(one, candidates, np.asarray([[False, True, True]]))[1].tolist() == [False]
    assert retrieval.recalls(one, candidates, np.asarray([[True, True, False]]))[1].tolist() == [True]
    constant = retrieval.recalls(np.zeros((5, 2)), np.zeros((5, 2)), np.eye(5, dtype=bool))
    assert not constant[1].any() and constant[5].all()  # a model that says nothing finds nothing


def test_vectors_that_are_no_numbers_find_nothing():
    nan, right = np.full((4, 3), np.nan), np.eye(4, dtype=bool)
    assert not retrieval.recalls(nan, nan, right)[1].any() and not retrieval.recalls(nan, nan, right)[5].any()
    candidates = np.eye(4)
    broken = candidates.copy()
    broken[1] = np.nan  # the candidate 1 is no number: nobody finds it, and to all others it is ahead
    hits = retrieval.recalls(candidates, broken, right, (1, 2))
    assert hits[1].tolist() == [False] * 4 and hits[2].tolist() == [True, False, True, True]


def test_many_queries_are_those_of_few(monkeypatch):
    rng = np.random.default_rng(0)
    queries, candidates = rng.normal(size=(2, 20, 3))
    whole = retrieval.recalls(queries, candidates, np.eye(20, dtype=bool))
    ranks = (queries @ candidates.T > np.diag(queries @ candidates.T)[:, None]).sum(1)
    monkeypatch.setattr(retrieval, "_ROWS", 7)
    parts = retrieval.recalls(queries, candidates, np.eye(20, dtype=bool))
    for k in (1, 5):
        np.testing.assert_array_equal(whole[k], parts[k])
        np.testing.assert_array_equal(whole[k], ranks < k)


def test_captions_of_the_same_words_are_one():
    captions = np.asarray([[[1, 4], [1, 5]], [[1, 4], [0, 0]], [[1, 6], [1, 6]]])
    places, belongs = retrieval.belonging(captions, captions[..., 0] != 0)
    assert places.tolist() == [0, 1, 4]  # rows of [6, 2]: the padding of the second image is none
    assert belongs.tolist() == [[True, True, False], [True, False, False], [False, False, True]]
