"""Exponentially weighted averages: worked numbers, a NumPy loop, properties."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvdl_jax.ops.textbook import averages

BETAS = st.floats(0, 0.99)


@pytest.mark.curriculum("D5")
@pytest.mark.parametrize(("t", "total"), [(1, 0.1), (10, 0.6513216), (22, 0.9015229), (50, 0.9948462)])
def test_weights_sum_to_one_minus_beta_to_the_t(t, total):
    w = averages.weights(0.9, t)
    assert float(w.sum()) == pytest.approx(total, abs=1e-6)
    assert float(w[-1]) == pytest.approx(0.1) and float(w[0]) == pytest.approx(0.1 * 0.9 ** (t - 1), rel=1e-5)
    assert float(averages.weights(0.9, t, bias_correction=True).sum()) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.curriculum("D5")
def test_the_window():
    assert averages.window(0.9) == pytest.approx(10) and averages.window(0.98) == pytest.approx(50)
    for beta, share in ((0.9, 0.348678), (0.98, 0.364170), (1 - 1e-5, np.exp(-1))):  # 1 / e only in the limit
        assert beta ** averages.window(beta) == pytest.approx(share, abs=3e-6)
    w = averages.weights(0.9, 30)
    assert float(w[-11] / w[-1]) == pytest.approx(0.348678, abs=1e-6)


@pytest.mark.curriculum("D5")
@settings(max_examples=10)  # each beta is compiled anew
@given(BETAS, st.lists(st.floats(-100, 100, width=32), min_size=12, max_size=12))
def test_the_average_equals_a_loop_and_its_weights(beta, values):
    series, v, expected = np.asarray(values, np.float32).reshape(6, 2), np.zeros(2), []
    for s in series:
        v = beta * v + (1 - beta) * s
        expected.append(v)
    ours = averages.exponential(series, beta)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(averages.weights(beta, 6) @ series, ours[-1], rtol=1e-4, atol=1e-3)


@pytest.mark.curriculum("D6")
@settings(max_examples=10)  # each beta is compiled anew
@given(BETAS, st.floats(-100, 100, width=32))
def test_the_corrected_average_of_a_constant_is_the_constant(beta, constant):
    series = np.full((50, 1), constant, np.float32)
    corrected = averages.exponential(series, beta, bias_correction=True)
    np.testing.assert_allclose(corrected, series, rtol=1e-4, atol=1e-6)


@pytest.mark.curriculum("D6")
def test_without_correction_the_start_is_too_small():
    ones = np.ones(50, np.float32)
    raw = averages.exponential(ones, 0.9)
    np.testing.assert_allclose(raw[np.array([0, 9, 49])], [0.1, 0.6513216, 0.9948462], rtol=1e-5)
    ramp = averages.exponential(np.array([1.0, 3.0], np.float32), 0.5, bias_correction=True)
    np.testing.assert_allclose(ramp, [1.0, (0.25 * 1 + 0.5 * 3) / 0.75], rtol=1e-6)


@pytest.mark.parametrize("beta", [1.0, -0.1, float("nan")])
def test_betas_outside_the_range_are_refused(beta):
    for call in (averages.window, lambda b: averages.weights(b, 3), lambda b: averages.exponential(np.ones(3), b)):
        with pytest.raises(ValueError, match=r"beta=.* must be in \[0, 1\)"):
            call(beta)
    with pytest.raises(ValueError, match="n=0"):
        averages.weights(0.5, 0)
