"""Verification and identification by hand and against loops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import verification as v

LABELS = np.asarray([0, 0, 1, 1, 2, 2])
# of all pairs of images: 0-1, 2-3 and 4-5 are genuine
SCORES = np.asarray(
    [
        [9, 0.9, 0.2, 0.6, 0.1, 0.3],
        [0.9, 9, 0.3, 0.1, 0.4, 0.1],
        [0.2, 0.3, 9, 0.5, 0.2, 0.7],
        [0.6, 0.1, 0.5, 9, 0.1, 0.2],
        [0.1, 0.4, 0.2, 0.1, 9, 0.8],
        [0.3, 0.1, 0.7, 0.2, 0.8, 9],
    ],
    np.float32,
)


@pytest.mark.curriculum("I13")
def test_pairs_by_hand():
    """Three genuine pairs at 0.9, 0.5, 0.8; twelve impostors, of which 0.7 and 0.6 are above 0.5."""
    same, scores = v.pairs(SCORES, LABELS)
    assert same.sum() == 3 and len(same) == 15 and scores.max() < 9  # no image with itself
    np.testing.assert_allclose(np.sort(scores[same]), [0.5, 0.8, 0.9], rtol=1e-6)
    assert v.accepted(same, scores, 0.65) == pytest.approx((2 / 3, 1 / 12))
    assert v.accepted(same, scores, 0.5) == pytest.approx((1, 2 / 12))  # a score of the threshold itself is accepted
    # the ROC curve goes from (1/12, 2/3) to (2/12, 2/3) to (2/12, 1): 1 - tpr = fpr at 2/12
    assert v.equal_error_rate(same, scores) == pytest.approx(2 / 12)
    assert v.threshold_at(scores[~same], 0.1) == pytest.approx(0.6) and v.threshold_at(scores[~same], 0.1) > 0.6
    assert v.threshold_at(scores[~same], 0.0) > 0.7


@pytest.mark.curriculum("I14")
def test_a_search_by_hand():
    """Enrolled are 0, 2 and 4; probes 1, 3, 5. Image 3 looks more like 0 (0.6) than like 2 (0.5)."""
    search = v.one_shot(SCORES, LABELS, v.classes_of(LABELS))
    np.testing.assert_array_equal(search.right, np.eye(3, dtype=bool))
    np.testing.assert_allclose(search.scores, SCORES[[1, 3, 5]][:, [0, 2, 4]])
    np.testing.assert_allclose(v.cumulative_match(search), [2 / 3, 1, 1])
    some = v.one_shot(SCORES, LABELS, v.classes_of(LABELS, 2))  # classes 0 and 2; images 2 and 3 are of nobody
    assert some.right.tolist() == [[True, False], [False, False], [False, False], [False, True]]
    assert v.open_set(some, 0.55) == pytest.approx((1, 1 / 2))  # image 3 at 0.6 raises an alarm, image 2 at 0.2 none
    assert v.open_set(some, 0.85) == pytest.approx((1 / 2, 0))
    with pytest.raises(DataError, match="scores of a search are no numbers"):
        v.cumulative_match(search._replace(scores=np.full((3, 3), np.nan)))
    verify, identify = v.chosen(SCORES, LABELS, 0.5)
    assert 0.2 < identify < 0.21 and identify == np.nextafter(np.float32(0.2), np.float32(1))
    metrics = v.measured(SCORES, LABELS, verify, 0.55)
    assert metrics["rank1"] == pytest.approx(2 / 3) and metrics["rank5"] == 1 and metrics["chance"] == 1 / 3
    assert (metrics["identification_rate"], metrics["false_alarm_rate"]) == (1, 0.5)
    assert metrics["false_accept_rate"] <= 0.5 and metrics["true_accept_rate"] == 1 and metrics["examples"] == 6


few = st.integers(2, 12)


@pytest.mark.curriculum("I13")
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=2, max_size=30))
def test_the_equal_error_rate_lies_between_the_errors_of_the_nearest_thresholds(pairs):
    """By brute force: at every threshold both errors; the lines between these points cross the diagonal once."""
    labels, scores = np.asarray([a for a, _ in pairs]), np.asarray([b for _, b in pairs], float)
    value = v.equal_error_rate(labels, scores)
    if labels.all() or not labels.any():
        assert np.isnan(value)
        return
    points = [(np.mean(scores[~labels] >= t), np.mean(scores[labels] < t)) for t in (*range(7), 7)]
    crossings = []
    for (far1, frr1), (far0, frr0) in zip(points[:-1], points[1:], strict=True):  # the threshold rises
        g1, g0 = far1 - frr1, far0 - frr0
        if g1 >= 0 >= g0:
            share = 0.0 if g1 == g0 else g1 / (g1 - g0)
            crossings.append(far1 + share * (far0 - far1))
    assert any(abs(value - x) < 1e-9 for x in crossings) and 0 <= value <= 1


@pytest.mark.curriculum("I13")
@given(arrays.arrays(np.float32, few, elements=st.integers(-3, 3).map(float)), st.floats(0, 0.99))
def test_a_threshold_is_the_lowest_that_accepts_no_more_than_the_share(scores, rate):
    t = np.float32(v.threshold_at(scores, rate))
    assert (scores >= t).mean() <= rate + 1e-9
    lower = scores[scores < t]
    assert len(lower) and (scores >= lower.max()).mean() > rate - 1e-9
    assert np.nextafter(lower.max(), np.float32(9)) == t


@pytest.mark.curriculum("I14")
@pytest.mark.parametrize("seed", range(3))
def test_rates_of_a_search_are_those_of_loops(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(5), 4))
    scores = rng.integers(0, 8, (20, 20)).astype(np.float32)  # with ties
    enrolled, t = [0, 2, 4], 4
    gallery = [labels.tolist().index(c) for c in enrolled]
    hits, alarms, known, unknown, ahead = 0, 0, 0, 0, []
    for i in (i for i in range(20) if i not in gallery):
        row = {c: scores[i, g] for c, g in zip(enrolled, gallery, strict=True)}
        if labels[i] in enrolled:
            known += 1
            own, others = row[labels[i]], [s for c, s in row.items() if c != labels[i]]
            hits += own >= t and all(own > s for s in others)
            ahead.append(sum(s >= own for s in others))
        else:
            unknown += 1
            alarms += max(row.values()) >= t
    search = v.one_shot(scores, labels, np.asarray(enrolled))
    assert v.open_set(search, t) == pytest.approx((hits / known, alarms / unknown))
    kept = search.right.any(1)
    match = v.cumulative_match(v.Search(search.scores[kept], search.right[kept]))
    np.testing.assert_allclose(match, [np.mean([a < k for a in ahead]) for k in (1, 2, 3)])
    with pytest.raises(DataError, match="needs probes, all of enrolled identities"):
        v.cumulative_match(search)


def test_similarities_of_both_kinds(monkeypatch):
    monkeypatch.setattr(v, "_ROWS", 2)
    x = np.asarray([[0, 0], [3, 4], [0, 1]], np.float32)
    np.testing.assert_allclose(v.similarities(x), [[0, -5, -1], [-5, 0, -(18**0.5)], [-1, -(18**0.5), 0]], rtol=1e-6)
    learned = v.similarities(x, np.asarray([1, -2]), 0.5)
    np.testing.assert_allclose(learned, [[0.5, -4.5, -1.5], [-4.5, 0.5, -2.5], [-1.5, -2.5, 0.5]])
    with pytest.raises(DataError, match=r"rate=1 must lie in \[0, 1\)"):
        v.threshold_at([1.0], 1)
