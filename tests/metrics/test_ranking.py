"""ROC, AUC, precision-recall and average precision: worked examples, ties, one class, scikit-learn."""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import confusion, ranking

LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])  # OR21
TIED = st.lists(st.tuples(st.integers(0, 1), st.sampled_from([-1.5, 0.0, 0.25, 0.5, 3.0])), min_size=1, max_size=25)


@pytest.mark.curriculum("N21")
def test_area_of_the_worked_example():
    assert ranking.roc_auc(LABELS, SCORES) == ranking.mann_whitney(LABELS, SCORES) == 0.75


@pytest.mark.curriculum("N20")
def test_roc_of_the_worked_example_goes_from_corner_to_corner():
    found = ranking.roc_curve(LABELS, SCORES)
    np.testing.assert_array_equal(found.fpr, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_array_equal(found.tpr, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_array_equal(found.thresholds, [np.inf, 0.8, 0.4, 0.35, 0.1])


@pytest.mark.curriculum("N20", "N21")
@given(TIED)
def test_roc_equals_scikit_learn_and_counts(examples):
    labels, scores = (np.array(x) for x in zip(*examples, strict=True))
    found = ranking.roc_curve(labels, scores)
    for k, t in enumerate(found.thresholds):
        c = confusion.counts_at(labels, scores, t)
        np.testing.assert_array_equal(
            [found.fpr[k], found.tpr[k]], [confusion.false_positive_rate(c), confusion.recall(c)]
        )
    if 0 < labels.sum() < len(labels):
        assert found.fpr[0] == found.tpr[0] == 0 and found.fpr[-1] == found.tpr[-1] == 1
        for ours, theirs in zip(found, oracle.roc_curve(labels, scores, drop_intermediate=False), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)
        np.testing.assert_allclose(ranking.roc_auc(labels, scores), oracle.roc_auc_score(labels, scores), atol=1e-12)
    else:
        assert math.isnan(ranking.roc_auc(labels, scores)) and math.isnan(ranking.mann_whitney(labels, scores))


@pytest.mark.curriculum("N21")
@given(TIED)
def test_area_is_the_probability_of_the_right_order(examples):
    labels, scores = (np.array(x) for x in zip(*examples, strict=True))
    pairs = [np.sign(p - n) / 2 + 0.5 for p in scores[labels == 1] for n in scores[labels == 0]]
    expected = np.mean(pairs) if pairs else np.nan
    np.testing.assert_allclose(ranking.mann_whitney(labels, scores), expected, atol=1e-12)
    np.testing.assert_allclose(ranking.roc_auc(labels, scores), expected, atol=1e-12)
    np.testing.assert_allclose(ranking.roc_auc(labels, np.exp(scores) * 3), expected, atol=1e-12)  # the order decides
    np.testing.assert_allclose(ranking.roc_auc(1 - labels, -scores), expected, atol=1e-12)


def test_area_equals_scipy():
    from scipy.stats import mannwhitneyu

    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 200), np.round(rng.normal(size=200), 1)
    u = mannwhitneyu(scores[labels == 1], scores[labels == 0]).statistic
    assert ranking.mann_whitney(labels, scores) == pytest.approx(u / labels.sum() / (1 - labels).sum())


def probabilities(seed, n=80, c=4):
    """Labels and probabilities that sum to 1 and have ties."""
    rng = np.random.default_rng(seed)
    p = np.round(rng.dirichlet(np.ones(c), n), 2)
    p[:, -1] = 1 - p[:, :-1].sum(1)
    return np.where(rng.random(n) < 0.5, p.argmax(1), rng.integers(0, c, n)), p


@pytest.mark.curriculum("N21")
@pytest.mark.parametrize("seed", range(3))
def test_areas_of_several_classes_equal_scikit_learn(seed):
    labels, p = probabilities(seed)
    found = ranking.roc_auc_one_vs_rest(labels, p)
    np.testing.assert_allclose(found, oracle.roc_auc_score(labels, p, multi_class="ovr", average=None), atol=1e-12)
    expected = oracle.roc_auc_score(labels, p, multi_class="ovo", average="macro")
    np.testing.assert_allclose(ranking.roc_auc_one_vs_one(labels, p), expected, atol=1e-12)


def test_classes_that_do_not_occur_have_no_area():
    scores = np.eye(4)[[0, 1, 2, 0]]
    np.testing.assert_array_equal(ranking.roc_auc_one_vs_rest([0, 1, 2, 0], scores), [1, 1, 1, np.nan])
    assert ranking.roc_auc_one_vs_one([0, 1, 2, 0], scores) == 1
    assert math.isnan(ranking.roc_auc_one_vs_one([2, 2, 2, 2], scores))


@pytest.mark.curriculum("N22")
def test_precision_recall_of_the_worked_example():
    found = ranking.precision_recall_curve(LABELS, SCORES)
    np.testing.assert_allclose(found.precision, [np.nan, 1, 0.5, 2 / 3, 0.5])
    np.testing.assert_array_equal(found.recall, [0, 0.5, 0.5, 1, 1])


@pytest.mark.curriculum("N22")
@given(TIED)
def test_precision_recall_equals_scikit_learn_and_counts(examples):
    labels, scores = (np.array(x) for x in zip(*examples, strict=True))
    found = ranking.precision_recall_curve(labels, scores)
    assert found.thresholds[0] == np.inf and math.isnan(found.precision[0])  # nothing is called positive
    for k, t in enumerate(found.thresholds):
        c = confusion.counts_at(labels, scores, t)
        np.testing.assert_array_equal(
            [found.precision[k], found.recall[k]], [confusion.precision(c), confusion.recall(c)]
        )
    if labels.any():
        precision, recall, thresholds = oracle.precision_recall_curve(labels, scores)
        np.testing.assert_allclose(found.precision[1:], precision[:-1][::-1], atol=1e-12)
        np.testing.assert_allclose(found.recall[1:], recall[:-1][::-1], atol=1e-12)
        np.testing.assert_array_equal(found.thresholds[1:], thresholds[::-1])


@pytest.mark.curriculum("N23")
def test_trapezoid_of_the_worked_ranking():
    """OR64: precision of 1 at recall 0, straight lines between the points; too high a value for a curve with teeth."""
    precision, recall = ranking.precision_recall(np.array([1, 1, 0, 0, 0, 1, 1, 0, 0, 1]), 5)
    assert ranking.auc(np.append(0, recall), np.append(1, precision)) == pytest.approx(0.691587, abs=5e-7)


@pytest.mark.curriculum("N23")
@given(TIED)
def test_average_precision_of_scores_equals_scikit_learn(examples):
    labels, scores = (np.array(x) for x in zip(*examples, strict=True))
    if not labels.any():
        assert math.isnan(ranking.average_precision_of_scores(labels, scores))
        return
    step = ranking.average_precision_of_scores(labels, scores, "step")
    np.testing.assert_allclose(step, oracle.average_precision_score(labels, scores), atol=1e-12)
    order = np.random.default_rng(0).permutation(len(labels))
    for form in ("all_point", "11_point", "101_point", "step"):
        found = ranking.average_precision_of_scores(labels, scores, form)
        assert found == ranking.average_precision_of_scores(labels[order], scores[order], form)  # ties count together
        if len(set(scores)) == len(scores):
            assert found == ranking.average_precision(labels[np.argsort(-scores)], int(labels.sum()), form)
    assert ranking.average_precision_of_scores(labels, np.zeros(len(labels)), "step") == pytest.approx(labels.mean())


@pytest.mark.curriculum("N24")
def test_mean_over_classes_equals_scikit_learn():
    labels, p = probabilities(1)
    several = np.eye(4, dtype=int)[labels] | (np.random.default_rng(1).random(p.shape) < 0.2)
    for truth in (np.eye(4, dtype=int)[labels], several):
        expected = oracle.average_precision_score(truth, p, average="macro")
        np.testing.assert_allclose(ranking.mean_average_precision(truth, p, "step"), expected, atol=1e-12)
    assert ranking.mean_average_precision(labels, p) == ranking.mean_average_precision(np.eye(4, dtype=int)[labels], p)
    absent = np.where(labels == 3, 2, labels)
    kept = [ranking.average_precision_of_scores(absent == k, p[:, k]) for k in range(3)]
    assert ranking.mean_average_precision(absent, p) == pytest.approx(np.mean(kept))  # the fourth is left out


@pytest.mark.curriculum("N20", "N22", "N23")
def test_nonsense_is_refused_by_name():
    calls = [
        ranking.roc_curve,
        ranking.mann_whitney,
        ranking.precision_recall_curve,
        ranking.average_precision_of_scores,
    ]
    cases = [
        ([], [], r"labels has shape \[0\]"),
        ([0, 1], [0.5, np.nan], r"scores\[1\]=nan is not finite \(1 of 2 values are not\)"),
        ([0, 1], [0.5], "not of the same examples"),
        ([0, 2], [0.5, 0.1], r"labels\[1\]=2 is not one of the 2 classes 0\.\.1"),
        ([0.3, 1], [0.5, 0.1], "labels are float64"),
    ]
    for call, (labels, scores, said) in itertools.product(calls, cases):
        with pytest.raises(DataError, match=said):
            call(labels, scores)
    with pytest.raises(DataError, match=r"scores\[0, 1\]=inf"):
        ranking.roc_auc_one_vs_rest([0], [[1, np.inf]])
    with pytest.raises(DataError, match="x \\[n\\] ascending"):
        ranking.auc([1, 0], [0, 1])
    for positives in (0, 2):  # a wrong form is refused even where there is nothing to find
        with pytest.raises(ConfigError, match="must be all_point, 11_point, 101_point or step"):
            ranking.average_precision(np.array([1, 1]), positives, "area")
    with pytest.raises(DataError, match="must be \\[n\\] or of the shape of scores"):
        ranking.mean_average_precision(np.zeros((2, 3), int), np.zeros((2, 4)))


def test_one_class_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = ranking.roc_curve([1, 1], [0.2, 0.4])
    assert np.isnan(found.fpr).all() and found.tpr.tolist() == [0, 0.5, 1]
