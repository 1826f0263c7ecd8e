"""Classification metrics and intervals against scikit-learn and statsmodels, ties, masks and NaN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics.classification import confusion_matrix, correct, macro_f1, top_k_correct
from cvdl_jax.metrics.stats.intervals import format_percent, wilson

top_k = jax.jit(top_k_correct, static_argnums=2)


@pytest.mark.curriculum("N2", "N3")
@pytest.mark.parametrize("k", [1, 2, 5, 7])
def test_top_k_equals_scikit_learn(k):
    from sklearn.metrics import top_k_accuracy_score

    rng = np.random.default_rng(k)
    scores, labels = rng.normal(size=(200, 8)).astype(np.float32), rng.integers(0, 8, 200)
    expected = top_k_accuracy_score(labels, scores, k=k, labels=range(8))
    np.testing.assert_allclose(top_k(scores, labels, k).mean(), expected, rtol=1e-6)


@pytest.mark.curriculum("N3")
def test_ties_go_to_the_smaller_class():
    scores = np.float32([[1, 3, 3, 0]] * 4)
    labels = np.arange(4)
    np.testing.assert_array_equal(top_k(scores, labels, 1), [0, 1, 0, 0])
    np.testing.assert_array_equal(top_k(scores, labels, 2), [0, 1, 1, 0])
    np.testing.assert_array_equal(top_k(np.zeros((4, 4), np.float32), labels, 3), [1, 1, 1, 0])


@given(
    scores=hnp.arrays(np.float32, (6, 4), elements=st.sampled_from([-1.0, 0.0, 0.5, np.inf, -np.inf])),
    labels=hnp.arrays(np.int32, 6, elements=st.integers(0, 3)),
)
def test_top_k_follows_a_stable_sort(scores, labels):
    """Among equals the first counts, as in argmax, and exactly k classes of a row are among its k best."""
    np.testing.assert_array_equal(top_k(scores, labels, 1), scores.argmax(1) == labels)
    order = np.argsort(-scores, axis=1, kind="stable")
    for k in (2, 4):
        np.testing.assert_array_equal(top_k(scores, labels, k), (order[:, :k] == labels[:, None]).any(1))


def test_nan_scores_and_foreign_labels_are_never_right():
    scores = np.float32([[np.nan, 1], [np.nan, np.nan], [0, np.nan], [0, 1], [0, 1], [0, 1]])
    np.testing.assert_array_equal(top_k(scores, np.array([0, 1, 1, 1, -1, 2]), 2), [0, 0, 0, 1, 0, 0])
    np.testing.assert_array_equal(correct(scores, np.array([0, 1, 1, 1, -1, 2])), [0, 0, 0, 1, 0, 0])


def test_soft_labels_count_by_their_largest_entry():
    scores, soft = np.float32([[1, 2, 0], [1, 2, 0]]), np.float32([[0.4, 0.6, 0], [0.5, 0.5, 0]])
    np.testing.assert_array_equal(correct(scores, soft), [1, 0])


def test_top_k_refuses_impossible_k():
    for k in (0, 4):
        with pytest.raises(ConfigError, match=f"top-{k} accuracy needs 1 <= k <= the number of classes, 3"):
            top_k_correct(np.zeros((2, 3), np.float32), np.zeros(2, np.int32), k)


def test_right_answers_of_narrow_scores_are_float32():
    hits = correct(jnp.zeros((300, 2), jnp.bfloat16), jnp.zeros(300, jnp.int32))
    assert hits.dtype == jnp.float32 and hits.sum() == 300  # bfloat16 cannot count beyond 256


@pytest.mark.curriculum("N1")
@pytest.mark.parametrize("classes", [2, 5])
def test_confusion_matrix_equals_scikit_learn(classes):
    from sklearn import metrics

    rng = np.random.default_rng(classes)
    labels, predictions = rng.integers(0, classes, (2, 100))
    counts = confusion_matrix(labels, predictions, classes)
    np.testing.assert_array_equal(counts, metrics.confusion_matrix(labels, predictions))
    assert counts.dtype == np.int64
    for ours, theirs in (("true", "true"), ("predicted", "pred"), ("all", "all")):
        expected = metrics.confusion_matrix(labels, predictions, normalize=theirs)
        np.testing.assert_allclose(confusion_matrix(labels, predictions, classes, ours), expected)


def test_confusion_matrix_of_a_worked_example():
    """Rows are the truth: one positive found, eight missed, one false alarm, ninety right rejections."""
    labels = np.array([1] * 9 + [0] * 91)
    predictions = np.array([1] + [0] * 8 + [1] + [0] * 90)
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 2), [[90, 1], [8, 1]])
    np.testing.assert_array_equal(confusion_matrix(labels, predictions, 3, "true")[2], [0, 0, 0])  # a class never seen


def test_confusion_matrix_refuses_what_is_no_class():
    with pytest.raises(DataError, match=r"prediction 3 is not one of the 3 classes 0\.\.2"):
        confusion_matrix([0, 1], [0, 3], 3)
    with pytest.raises(DataError, match="label -1"):
        confusion_matrix([-1, 1], [0, 1], 3)
    with pytest.raises(DataError, match=r"both be \[n\]"):
        confusion_matrix([0, 1], [0], 3)
    with pytest.raises(ConfigError, match="normalise='rows'"):
        confusion_matrix([0], [0], 2, "rows")


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_wilson_equals_statsmodels(confidence):
    from statsmodels.stats.proportion import proportion_confint

    for successes, n in [(91, 100), (0, 10), (10, 10), (1, 3), (353, 360), (9_912, 10_000)]:
        expected = proportion_confint(successes, n, alpha=1 - confidence, method="wilson")
        np.testing.assert_allclose(wilson(successes, n, confidence), expected, atol=1e-12)


def test_wilson_worked_example():
    np.testing.assert_allclose(wilson(91, 100), (0.837738, 0.951927), atol=1e-6)


@given(n=st.integers(1, 2000), data=st.data())
def test_wilson_contains_the_estimate_and_stays_inside(n, data):
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n)
    assert 0 <= low <= k / n <= high <= 1 and low < high
    np.testing.assert_allclose(wilson(n - k, n), (1 - high, 1 - low), atol=1e-12)


def test_intervals_are_formatted_for_people():
    assert format_percent(354, 360) == "98.3 % [96.4, 99.2]"
    assert format_percent(360, 360) == "100.0 % [98.9, 100.0]"


def test_intervals_refuse_nonsense():
    for successes, n in ((0, 0), (-1, 10), (11, 10)):
        with pytest.raises(DataError, match="0 <= successes <= n"):
            wilson(successes, n)
    with pytest.raises(ConfigError, match=r"confidence=95 must lie in \(0, 1\)"):
        wilson(1, 2, 95)


def test_macro_f1_equals_scikit_learn_and_takes_many_samples_at_once():
    from sklearn.metrics import f1_score

    random = np.random.default_rng(0)
    truth, guess = random.integers(0, 5, (2, 4, 30))
    truth[truth == 3] = 2  # class 3 is only ever predicted, class 5 never seen
    expected = [f1_score(t, g, average="macro", zero_division=0) for t, g in zip(truth, guess, strict=True)]
    np.testing.assert_allclose(macro_f1(truth, guess, 6), expected)
    assert macro_f1(truth[0], guess[0], 6) == pytest.approx(expected[0])
    assert macro_f1(np.array([0, 1]), np.array([0, -1]), 2) == 0.5
