"""Covered modes of a mixture by hand."""

import numpy as np
import pytest

from cvdl_jax.errors import DataError
from cvdl_jax.metrics import mode_coverage


def test_centres_of_a_ring_and_a_grid():
    np.testing.assert_allclose(mode_coverage.ring(4, 2.0), [[2, 0], [0, 2], [-2, 0], [0, -2]], atol=1e-12)
    centres = mode_coverage.grid(3, 2.0)
    assert centres.shape == (9, 2) and np.allclose(centres.mean(0), 0) and np.abs(centres).max() == 2


@pytest.mark.curriculum("R8")
def test_a_collapsed_generator_covers_one_mode():
    """P_GAN(A) is far below P_test(A) for the neighbourhoods A of all modes but one."""
    centres = mode_coverage.ring(8)
    values = mode_coverage.coverage(np.tile(centres[3], (100, 1)), centres, 0.1)
    assert values == {"modes": 1, "high_quality": 1, "divergence": pytest.approx(np.log(8))}


@pytest.mark.curriculum("R8")
def test_coverage_by_hand():
    """Of 80 samples of four modes: 40, 20 and 19 near three of them, one far from all; a stray one covers nothing."""
    centres = mode_coverage.ring(4)
    samples = np.repeat(centres, [40, 20, 19, 1], axis=0)
    values = mode_coverage.coverage(samples, centres, 0.1)
    assert values["modes"] == 3 and values["high_quality"] == 1
    samples[-1] = [0.31, 0] + centres[3]  # beyond three standard deviations
    values = mode_coverage.coverage(samples, centres, 0.1)
    q = np.array([40, 20, 19]) / 79
    assert values["high_quality"] == pytest.approx(79 / 80)
    assert values["divergence"] == pytest.approx((q * np.log(4 * q)).sum())
    nothing = mode_coverage.coverage(np.zeros((5, 2)), centres, 0.1)
    assert nothing["modes"] == nothing["high_quality"] == 0 and np.isnan(nothing["divergence"])
    with pytest.raises(DataError, match=r"\(4, 2\), got shape \(3, 3\)"):
        mode_coverage.coverage(np.zeros((3, 3)), centres, 0.1)
