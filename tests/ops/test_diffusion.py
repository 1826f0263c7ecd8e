"""Diffusion: schedules, the forward process, what a network may predict, the way back with a perfect one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops import diffusion

LINEAR = diffusion.linear()


@pytest.mark.curriculum("S2")
@pytest.mark.parametrize(
    "schedule", [LINEAR, diffusion.cosine(), diffusion.cosine(50), diffusion.linear(100, 1e-3, 0.2)]
)
def test_schedules_go_from_the_image_to_noise(schedule):
    ratio = np.asarray(diffusion.signal_to_noise(schedule))
    assert (np.diff(ratio) < 0).all() and ratio[0] > 50 and ratio[-1] < 1e-3
    np.testing.assert_allclose(schedule.signal**2 + schedule.noise**2, 1, atol=1e-6)
    kept = 1.0
    for t, beta in enumerate(np.asarray(schedule.beta, np.float64)):
        kept *= 1 - beta
        if t % 17 == 0:
            np.testing.assert_allclose(schedule.signal[t] ** 2, kept, rtol=1e-3)


def test_the_schedules_are_those_of_the_papers():
    np.testing.assert_allclose(LINEAR.beta[jnp.array([0, -1])], [1e-4, 0.02], rtol=1e-6)
    np.testing.assert_allclose(np.diff(LINEAR.beta), (0.02 - 1e-4) / 999, atol=1e-7)
    t, offset = 500, 0.008  # of 1,000, after step 499
    f = [np.cos((u / 1000 + offset) / (1 + offset) * np.pi / 2) ** 2 for u in (t, 0)]
    np.testing.assert_allclose(diffusion.cosine().signal[t - 1] ** 2, f[0] / f[1], rtol=1e-4)
    with pytest.raises(ConfigError, match=r"needs first=0\.1 <= last=0\.02 < 1"):
        diffusion.linear(first=0.1)


@pytest.mark.curriculum("S1")
def test_the_forward_process_is_many_small_steps_in_one():
    """Moments of x_t after t + 1 steps of `x <- sqrt(1 - b) x + sqrt(b) e` are those of `a_t x_0 + s_t e`."""
    schedule, rng = diffusion.linear(20, 0.01, 0.3), np.random.default_rng(0)
    x = np.full(200_000, 2.0)
    for beta in np.asarray(schedule.beta[:8], np.float64):
        x = np.sqrt(1 - beta) * x + np.sqrt(beta) * rng.normal(size=x.shape)
    np.testing.assert_allclose(x.mean(), 2 * schedule.signal[7], rtol=1e-2)
    np.testing.assert_allclose(x.std(), schedule.noise[7], rtol=1e-2)
    image, noise = jnp.ones((2, 3, 1)), jnp.full((2, 3, 1), 2.0)
    noised = diffusion.add_noise(schedule, image, noise, jnp.array([0, 19]))
    for row, t in enumerate((0, 19)):
        np.testing.assert_allclose(noised[row], schedule.signal[t] + 2 * schedule.noise[t], rtol=1e-6)


@pytest.mark.parametrize("predicts", ["noise", "image", "v"])
def test_every_prediction_says_the_image_and_the_noise(predicts):
    image, noise = jax.random.normal(jax.random.key(0), (2, 4, 5))
    t = jnp.array([0, 10, 500, 900])
    x = diffusion.add_noise(LINEAR, image, noise, t)
    wanted = diffusion.target(LINEAR, image, noise, t, predicts)
    found = diffusion.image_and_noise(LINEAR, x, wanted, t, predicts)
    np.testing.assert_allclose(found[0], image, atol=1e-3)
    np.testing.assert_allclose(found[1], noise, atol=1e-3)


def test_v_turns_the_plane_of_image_and_noise():
    t = jnp.array([700])
    v = diffusion.target(LINEAR, jnp.array([[3.0]]), jnp.array([[2.0]]), t, "v")
    np.testing.assert_allclose(v[0, 0], 2 * LINEAR.signal[700] - 3 * LINEAR.noise[700], rtol=1e-6)


@pytest.mark.curriculum("S4")
def test_the_ancestral_step_has_the_posteriors_mean_and_variance():
    """With eta = 1 and neighbouring times: equations 6 and 7 of Ho et al. 2020."""
    t, x, image = 300, 0.7, -0.2
    kept, before, beta = (float(v) for v in (LINEAR.signal[t] ** 2, LINEAR.signal[t - 1] ** 2, LINEAR.beta[t]))
    mean = np.sqrt(before) * beta / (1 - kept) * image + np.sqrt(1 - beta) * (1 - before) / (1 - kept) * x
    deviation = {"fixed_small": np.sqrt((1 - before) / (1 - kept) * beta), "fixed_large": np.sqrt(beta)}
    noise = (x - float(LINEAR.signal[t]) * image) / float(LINEAR.noise[t])
    one = lambda v: jnp.array([[v]])  # noqa: E731
    times = jnp.array([t]), jnp.array([t - 1])
    for fresh, variance in ((0.0, "fixed_small"), (1.0, "fixed_small"), (0.0, "fixed_large"), (1.0, "fixed_large")):
        back = diffusion.step_back(LINEAR, one(x), one(image), one(noise), *times, one(fresh), variance=variance)
        np.testing.assert_allclose(back[0, 0], mean + deviation[variance] * fresh, rtol=2e-3)


@pytest.mark.curriculum("S4")
def test_the_larger_variance_is_right_for_unit_normal_images():
    """Of x_0 ~ N(0, 1) the best guess is a_t x_t, and what a step makes of a unit normal x_t is unit normal again."""
    for t in (1, 20, 300, 999):
        x, times = jnp.array([[1.0]]), (jnp.array([t]), jnp.array([t - 1]))
        image, noise = LINEAR.signal[t] * x, LINEAR.noise[t] * x
        kept = diffusion.step_back(LINEAR, x, image, noise, *times, 0 * x, variance="fixed_large")[0, 0]
        added = diffusion.step_back(LINEAR, x, image, noise, *times, x, variance="fixed_large")[0, 0] - kept
        np.testing.assert_allclose(kept**2 + added**2, 1, atol=2e-4)
        small = diffusion.step_back(LINEAR, x, image, noise, *times, x)[0, 0] - kept
        assert small < (0.8 if t == 1 else 1) * added


@pytest.mark.curriculum("S4")
def test_without_new_noise_a_perfect_network_comes_home_in_any_number_of_steps():
    image, noise = jax.random.normal(jax.random.key(0), (2, 3, 4))
    for steps in (1, 4, 30):
        at = diffusion.times(1000, steps)
        assert at[0] == 999 and (steps == 1 or at[-1] == 0) and len(set(at.tolist())) == steps
        x = diffusion.add_noise(LINEAR, image, noise, jnp.full(3, 999))
        for t, r in zip(at, [*at[1:], -1], strict=True):
            times = jnp.full(3, t), jnp.full(3, r)
            if r >= 0:
                expected = diffusion.add_noise(LINEAR, image, noise, times[1])
            x = diffusion.step_back(LINEAR, x, image, noise, *times, jnp.ones_like(x), eta=0.0)
            np.testing.assert_allclose(x, expected if r >= 0 else image, atol=1e-5)
    with pytest.raises(ConfigError, match="a sampler of 1001 steps"):
        diffusion.times(1000, 1001)


def test_guidance_goes_beyond_the_condition():
    np.testing.assert_allclose(diffusion.guided(jnp.array(3.0), jnp.array(1.0), 0.0), 1)
    np.testing.assert_allclose(diffusion.guided(jnp.array(3.0), jnp.array(1.0), 1.0), 3)
    np.testing.assert_allclose(diffusion.guided(jnp.array(3.0), jnp.array(1.0), 2.5), 6)
