"""Calibration: bins by hand, scikit-learn, temperatures that are known, what has none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn import calibration as oracle_bins
from sklearn import metrics as oracle

from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.metrics import calibration


def drawn(n=400, c=3, temperature=2.5, seed=0):
    """Labels that follow softmax(z), and scores temperature times too sure."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, c)) * 1.5
    p = calibration.softmax(z)
    labels = (rng.random((n, 1)) > np.cumsum(p, 1)).sum(1).clip(max=c - 1)
    return z * temperature, labels


def test_errors_of_a_worked_example():
    """Two bins: three examples at 0.9 of which two are right, one at 0.6 that is wrong."""
    p, labels = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.4, 0.6]]), [0, 1, 1, 0]
    each = calibration.reliability(p, labels, bins=5)
    np.testing.assert_array_equal(each.count, [0, 0, 1, 0, 3])  # (0.4, 0.6] and (0.8, 1]
    np.testing.assert_allclose(each.accuracy, [np.nan, np.nan, 0, np.nan, 2 / 3])
    np.testing.assert_allclose(each.confidence, [np.nan, np.nan, 0.6, np.nan, 0.9])
    gap = 0.9 - 2 / 3
    assert calibration.expected_calibration_error(p, labels, 5) == pytest.approx(0.25 * 0.6 + 0.75 * gap)
    assert calibration.maximum_calibration_error(p, labels, 5) == pytest.approx(0.6)
    assert calibration.brier(p, labels) == pytest.approx(2 * (0.01 + 0.81 + 0.01 + 0.36) / 4)


@given(st.integers(0, 1000), st.integers(1, 20), st.sampled_from(["width", "mass"]))
def test_errors_equal_loops(seed, bins, scheme):
    scores, labels = drawn(30, seed=seed)
    p = np.round(calibration.softmax(scores), 1)  # ties, and confidences on edges
    p[:, 2] = 1 - p[:, 0] - p[:, 1]
    p = np.abs(p)
    confidence, right = p.max(1), p.argmax(1) == labels
    each = calibration.reliability(p, labels, bins, scheme)
    assert each.count.sum() == 30 and (np.diff(each.edges) > 0).all()
    total, worst = 0.0, 0.0
    for k, (low, high) in enumerate(zip(each.edges, each.edges[1:], strict=False)):
        inside = (confidence > low) & (confidence <= high)
        assert inside.sum() == each.count[k]
        if inside.any():
            gap = abs(right[inside].mean() - confidence[inside].mean())
            total, worst = total + inside.mean() * gap, max(worst, gap)
    assert calibration.expected_calibration_error(p, labels, bins, scheme) == pytest.approx(total)
    assert calibration.maximum_calibration_error(p, labels, bins, scheme) == pytest.approx(worst)


def test_bins_of_equal_mass_are_equally_full():
    scores, labels = drawn(300)
    each = calibration.reliability(calibration.softmax(scores), labels, 10, "mass")
    np.testing.assert_array_equal(each.count, [30] * 10)


def test_diagram_equals_scikit_learn():
    scores, labels = drawn(500)
    p = calibration.softmax(scores)
    right, confidence = oracle_bins.calibration_curve(p.argmax(1) == labels, p.max(1), n_bins=10)
    each = calibration.reliability(p, labels, 10)
    full = each.count > 0
    np.testing.assert_allclose(each.accuracy[full], right)
    np.testing.assert_allclose(each.confidence[full], confidence)


@pytest.mark.parametrize("c", [2, 5])
def test_proper_scores_equal_scikit_learn(c):
    scores, labels = drawn(200, c)
    p = calibration.softmax(scores)
    expected = oracle.log_loss(labels, p, labels=range(c))
    assert calibration.negative_log_likelihood(scores, labels) == pytest.approx(expected)
    expected = oracle.brier_score_loss(labels, p, labels=range(c), scale_by_half=False)
    assert calibration.brier(p, labels) == pytest.approx(expected)
    if c == 2:
        assert calibration.brier(p, labels) == pytest.approx(2 * oracle.brier_score_loss(labels, p[:, 1]))


def test_likelihood_of_a_sure_mistake_is_finite():
    assert calibration.negative_log_likelihood([[0.0, 5000.0]], [0]) == 5000  # its probability rounds to 0


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_temperature_is_found_again(temperature):
    scores, labels = drawn(20_000, temperature=temperature)
    found = calibration.fit_temperature(scores, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    best = minimize_scalar(lambda t: calibration.negative_log_likelihood(scores, labels, np.exp(t)), bracket=(-1, 1))
    assert found == pytest.approx(np.exp(best.x), rel=1e-5)
    assert calibration.fit_temperature(100 * scores, labels) == pytest.approx(100 * found)
    assert calibration.fit_temperature(scores + 7.0, labels) == pytest.approx(found)  # softmax does not see it


def test_temperature_of_validation_calibrates_the_test():
    scores, labels = drawn(4000)
    t = calibration.fit_temperature(scores[:2000], labels[:2000])
    before, after = (calibration.softmax(scores[2000:], x) for x in (1.0, t))
    ece = calibration.expected_calibration_error
    assert ece(before, labels[2000:]) > 0.1 and ece(after, labels[2000:]) < 0.03
    nll = calibration.negative_log_likelihood
    assert nll(scores[2000:], labels[2000:], t) < nll(scores[2000:], labels[2000:])
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


@pytest.mark.parametrize(
    ("scores", "labels", "said"),
    [
        ([[2.0, 0.0], [0.0, 1.0]], [0, 1], "every example is right"),
        ([[0.0, 0.0], [0.0, 0.0]], [0, 1], "every example is right"),
        ([[2.0, 0.0], [0.0, 1.0]], [1, 0], "no more of the labels than chance"),
        ([[2.0, 0.0], [2.0, 0.0]], [1, 0], "no more of the labels than chance"),
    ],
)
def test_temperature_that_does_not_exist_is_said(scores, labels, said):
    with pytest.raises(DataError, match=said):
        calibration.fit_temperature(scores, labels)


def test_nonsense_is_refused_by_name():
    good = [[0.5, 0.5]]
    for p, labels, said in [
        ([[0.5, 0.6]], [0], "sum to 1; for logits call softmax"),
        ([[1.5, -0.5]], [0], r"in 0\.\.1"),
        ([[np.nan, 1]], [0], r"probabilities\[0, 0\]=nan"),
        (good, [2], r"labels\[0\]=2"),
        (good, [0, 1], "not of the same examples"),
        (np.zeros((0, 2)), [], r"probabilities has shape \[0, 2\]"),
    ]:
        with pytest.raises(DataError, match=said):
            calibration.expected_calibration_error(p, labels)
    with pytest.raises(DataError, match=r"scores\[0, 1\]=inf is not finite"):
        calibration.negative_log_likelihood([[0.0, np.inf]], [0])
    for call, said in [
        (lambda: calibration.softmax(good, 0.0), "temperature=0.0 must be a positive number"),
        (lambda: calibration.reliability(good, [0], 0), "bins=0 must be a whole number"),
        (lambda: calibration.reliability(good, [0], 5, "size"), "scheme='size' must be width or mass"),
    ]:
        with pytest.raises(ConfigError, match=said):
            call()
