"""Time of flight, structured light, lasers: by hand, there and back again, and where they are ambiguous."""

import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import active_depth as active


@pytest.mark.curriculum("X4")
def test_a_pulse_by_hand():
    """15 m are 100 ns, nearly."""
    assert float(active.pulse_delay(jnp.asarray(15.0))) == pytest.approx(1.000692e-7, rel=1e-5)
    assert float(active.depth_of_delay(jnp.asarray(2.0) / active.LIGHT)) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.curriculum("X4")
def test_the_phase_comes_back_whatever_the_amplitude_until_it_repeats():
    frequency = active.LIGHT / 2 / 10  # a range of 10 m
    assert active.ambiguity_range(frequency) == pytest.approx(10.0)
    np.testing.assert_allclose(  # a quarter of the range: the phase is pi / 2
        active.phase_samples(jnp.asarray(2.5), frequency, 2.0, 3.0), [3, 1, 3, 5], atol=1e-5
    )
    depth = jnp.asarray([0.5, 2.5, 6.0, 9.5, 12.5])
    amplitude = jnp.asarray([1.0, 0.2, 3.0, 0.5, 1.0])
    samples = active.phase_samples(depth, frequency, amplitude, jnp.asarray(7.0))
    got, strength = active.depth_of_samples(samples, frequency)
    np.testing.assert_allclose(got, [0.5, 2.5, 6.0, 9.5, 2.5], atol=1e-3)  # the last one is beyond the range
    np.testing.assert_allclose(strength, amplitude, rtol=1e-3)


@pytest.mark.curriculum("X4")
def test_gray_code():
    assert active.gray_code(jnp.arange(8)).tolist() == [0b000, 0b001, 0b011, 0b010, 0b110, 0b111, 0b101, 0b100]
    patterns = active.gray_patterns(100, 7)
    assert (jnp.abs(jnp.diff(patterns, axis=1)).sum(0) == 1).all() and len(np.unique(patterns, axis=1)[0]) == 100
    albedo = jnp.linspace(0.05, 1.0, 100)[None]
    got = active.column_of_gray(0.1 + albedo * patterns, 0.1 + albedo * (1 - patterns))
    np.testing.assert_array_equal(got, np.arange(100))
    shade = jnp.full((7, 1, 2), 0.1)
    assert (active.column_of_gray(shade, shade) == -1).all()  # in the shadow there is no column
    assert (active.column_of_gray(shade + 0.01, shade, contrast=0.05) == -1).all()
    with pytest.raises(ConfigError, match="columns=9"):
        active.gray_patterns(9, 3)


@pytest.mark.curriculum("X4")
@pytest.mark.parametrize("steps", [3, 4, 5])
def test_phase_shifts_and_the_gray_code_together(steps):
    patterns = active.sine_patterns(64, 16.0, steps)
    np.testing.assert_allclose(patterns[0, [0, 4, 8]], [1, 0.5, 0], atol=1e-6)
    albedo = jnp.linspace(0.2, 1.0, 64)[None]
    fine = active.column_of_phase(0.3 + albedo * patterns, 16.0)
    wrong = np.abs(fine - np.arange(64) % 16)
    assert np.minimum(wrong, 16 - wrong).max() < 1e-3
    np.testing.assert_allclose(active.unwrapped(jnp.arange(64), fine, 16.0), np.arange(64), atol=1e-3)
    with pytest.raises(ConfigError, match="steps=2 must be at least 3"):
        active.sine_patterns(8, 4.0, 2)


@pytest.mark.curriculum("X4")
def test_a_laser_by_hand():
    """f = 1000, B = 0.1 m and no angle: 2 m are 50 pixels; one that points inwards crosses the axis at B / tan a."""
    assert float(active.laser_column(jnp.asarray(2.0), 1000.0, 0.1, 0.0)) == pytest.approx(50.0)
    angle = float(np.arctan(0.1 / 2.0))
    assert float(active.laser_column(jnp.asarray(2.0), 1000.0, 0.1, angle)) == pytest.approx(0.0, abs=1e-4)
    z, x = 3.0, 0.1 - 3.0 * np.tan(angle)  # where the beam is at 3 m
    assert float(active.laser_column(jnp.asarray(z), 1000.0, 0.1, angle)) == pytest.approx(1000 * x / z, rel=1e-4)
    depth = jnp.linspace(0.5, 8.0, 20)
    np.testing.assert_allclose(
        active.depth_of_laser(active.laser_column(depth, 1000.0, 0.1, angle), 1000.0, 0.1, angle), depth, rtol=1e-4
    )
    nowhere = active.depth_of_laser(jnp.asarray([-51.0, np.nan]), 1000.0, 0.1, angle)  # at -50 it meets at infinity
    assert jnp.isnan(nowhere).all()
