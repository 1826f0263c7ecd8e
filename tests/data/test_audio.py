"""Signals: resampling against SciPy, where the peak of a spectrum goes, tones, and a network that tells them apart."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from models_for_tests import make_model

from cvdl_jax.data import audio
from cvdl_jax.data.catalogue import open_source
from cvdl_jax.data.load import load
from cvdl_jax.errors import ConfigError

N = 512
# Compilation is most of the time here, and these tests do not ask for fast code.
quick_jit = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
RNG = np.random.default_rng(0)


def peak(x):
    """The frequency of the highest peak of a signal's spectrum, in periods per sample."""
    frequency, power = scipy.signal.periodogram(x * np.hanning(len(x)), nfft=16 * N)
    return frequency[power.argmax()]


def tone(frequency, n=N):
    return np.sin(2 * np.pi * frequency * np.arange(n) + 0.4).astype(np.float32)


@pytest.mark.curriculum("F31")
@pytest.mark.parametrize(("n", "length"), [(100, 50), (100, 51), (100, 80), (101, 50), (101, 150), (100, 200), (9, 9)])
def test_resampling_is_that_of_scipy(n, length):
    x = RNG.normal(size=(2, n)).astype(np.float32)
    np.testing.assert_allclose(
        audio.resample(jnp.asarray(x), length), scipy.signal.resample(x, length, axis=-1), atol=2e-5
    )


@pytest.mark.curriculum("F31")
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.25, 2.0])
def test_speed_divides_the_length_and_multiplies_the_frequency(factor):
    x = tone(0.08)
    y = np.asarray(audio.speed(jnp.asarray(x), factor))
    assert y.shape == (round(N / factor),)
    assert peak(y) == pytest.approx(factor * peak(x), rel=0.01)
    np.testing.assert_allclose(y, scipy.signal.resample(x, len(y)), atol=2e-5)
    assert y[20:-20].std() == pytest.approx(x.std(), rel=0.05)


@pytest.mark.curriculum("F31")
def test_speed_by_hand():
    """One period on 8 samples, played twice as fast, is one period on 4; and nothing aliases."""
    x = np.sin(2 * np.pi * np.arange(8) / 8).astype(np.float32)
    np.testing.assert_allclose(audio.speed(jnp.asarray(x), 2.0), [0, 1, 0, -1], atol=1e-6)
    fast = np.sin(2 * np.pi * 3 * np.arange(8) / 8).astype(np.float32)  # above the new Nyquist frequency: silence
    np.testing.assert_allclose(audio.speed(jnp.asarray(fast), 2.0), np.zeros(4), atol=1e-6)
    np.testing.assert_array_equal(audio.speed(jnp.asarray(x), 1.0), x)


@pytest.mark.curriculum("F32")
@pytest.mark.parametrize("semitones", [-12, -5, 3, 12])
def test_a_shift_of_pitch_keeps_length_and_loudness(semitones):
    x = np.stack([tone(0.03), tone(0.08)])
    y = np.asarray(quick_jit(lambda x: audio.pitch_shift(x, semitones))(x))
    assert y.shape == x.shape
    for before, after in zip(x, y, strict=True):
        assert peak(after) == pytest.approx(2 ** (semitones / 12) * peak(before), rel=0.01)
        assert after.std() == pytest.approx(before.std(), rel=0.03)
        assert peak(after[: N // 2]) == pytest.approx(peak(after[N // 2 :]), rel=0.02)  # one tone at all times


@pytest.mark.curriculum("F32")
def test_a_stretch_keeps_the_pitch():
    x = tone(0.08)
    for factor in (0.7, 1.6):
        y = np.asarray(quick_jit(lambda x, f=factor: audio.stretch(x, f))(x))
        assert y.shape == (round(N * factor),)
        assert peak(y) == pytest.approx(0.08, rel=0.01)
    np.testing.assert_array_equal(quick_jit(lambda x: audio.pitch_shift(x, 0))(x), x)
    y = np.asarray(quick_jit(lambda x: audio.stretch(x, 1.0))(x))
    np.testing.assert_allclose(y[64:-64], x[64:-64], atol=1e-4)  # frames written where they were read


def test_changes_compile_and_have_gradients():
    x = jnp.asarray(tone(0.05, 128))
    grad = jax.jit(jax.grad(lambda x: (audio.speed(x, 1.1) ** 2).sum() + (audio.stretch(x, 1.1) ** 2).sum()))(x)
    assert np.isfinite(grad).all() and np.abs(grad).max() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: audio.speed(x, 0.0), "factor=0.0 must be positive"),
        (lambda x: audio.speed(x, 300.0), "factor=300.0"),
        (lambda x: audio.pitch_shift(x, 2, window=30), "window=30 must be a multiple of 4"),
        (lambda x: audio.pitch_shift(x, 2, window=128), "at most the signal's 128 samples"),
        (lambda x: audio.stretch(x, -1.0), "factor=-1.0 must be positive"),
        (lambda x: audio.stretch(x, float("inf")), "factor=inf must be positive and finite"),
        (lambda x: audio.pitch_shift(x, float("inf")), "semitones=inf must be within -120 ... 120"),
        (lambda x: audio.resample(x, 0), "length=0"),
        (lambda x: audio.speed(x[0], 1.1), r"a signal is float \[..., n\], time last, and this is float32 \[\]"),
        (lambda x: audio.speed(x.astype(jnp.int16), 1.1), r"this is int16 \[128\]; .* by x / 32768.0"),
        (lambda x: audio.pitch_shift(x.astype(jnp.int16), 1), r"this is int16 \[128\]"),
    ],
)
def test_impossible_changes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        change(jnp.zeros(128))


@pytest.mark.curriculum("F31", "F32")
@pytest.mark.parametrize("change", [lambda x: audio.speed(x, 1.1), lambda x: audio.pitch_shift(x, 4)])
def test_half_precision_is_computed_in_float32(change):
    x = jnp.sin(0.3 * jnp.arange(512)).astype(jnp.bfloat16)
    y = change(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), change(x.astype(jnp.float32)), atol=1e-2)


@pytest.mark.curriculum("F32")
def test_waveforms_by_hand():
    phase = np.asarray([[0.0, 0.25, 0.5, 0.75, 1.25]] * 3)
    expected = [[0, 1, 0, -1, 1], [-1, -0.5, 0, 0.5, -0.5], [1, 1, -1, -1, 1]]
    np.testing.assert_allclose(audio.waveform(np.arange(3)[:, None], phase), expected, atol=1e-12)


def test_tones_are_balanced_and_have_the_pitch_of_their_class():
    data = load("tones", validation="validation", test="test")
    arrays = data.splits["train"].arrays
    assert arrays["features"].shape == (1000, 128) and data.num_classes == 3
    assert np.ptp(np.bincount(arrays["label"])) <= 1
    fundamental = 128 * np.asarray([peak(x) for x in arrays["features"][:60]])
    assert fundamental.min() > 3.5 and fundamental.max() < 16.5
    pure = load("tones(noise=0.0, num_classes=8, of='pitch', samples=101)").splits["train"].arrays
    for x, label in zip(pure["features"][:16], pure["label"][:16], strict=True):
        assert 101 * peak(x) == pytest.approx(4 * 2 ** (label / 4), rel=0.05)


@pytest.mark.parametrize("arguments", ["num_classes=4", "of='pitch', num_classes=25", "samples=7"])
def test_impossible_tones_are_refused(arguments):
    with pytest.raises(ConfigError, match=r"config.data.name: tones\(num_classes=.* 1 to 3 waveforms"):
        open_source(f"tones({arguments})", "train")


@pytest.mark.curriculum("F31", "F32")
def test_a_one_dimensional_network_learns_waveforms_and_knows_them_at_another_speed():
    """Trained on tones at one speed; its answers hold for recordings that were changed, which is why this augments."""
    import optax

    arrays = load("tones(noise=0.1)").splits["train"].arrays
    x, y = jnp.asarray(arrays["features"][:300]), jnp.asarray(arrays["label"][:300])
    model = make_model("conv1d", 3, "float32", channels=(16, 32))
    optimizer = optax.adam(2e-2)

    @jax.jit
    def step(params, opt):
        score = lambda p: model.apply({"params": p}, x, True)[0]  # noqa: E731
        loss = lambda p: optax.softmax_cross_entropy_with_integer_labels(score(p), y).mean()  # noqa: E731
        updates, opt = optimizer.update(jax.grad(loss)(params), opt)
        return optax.apply_updates(params, updates), opt

    params = quick_jit(lambda k: model.init(k, x[:1], True)["params"])(jax.random.key(0))
    opt = optimizer.init(params)
    for _ in range(60):
        params, opt = step(params, opt)
    fresh = load("tones(noise=0.1)", validation="validation").splits["validation"].arrays
    accuracy = jax.jit(lambda z: (model.apply({"params": params}, z, False)[0].argmax(-1) == fresh["label"]).mean())
    signals = jnp.asarray(fresh["features"])
    assert accuracy(signals) > 0.9
    assert accuracy(audio.speed(signals, 0.9)) > 0.8
    assert accuracy(quick_jit(lambda z: audio.pitch_shift(z, -2))(signals)) > 0.8


@pytest.mark.parametrize(
    ("shape", "overrides", "message"),
    [
        ((1, 8, 8, 1), {}, r"takes signals \[b, t\]"),
        ((1, 64), {"channels": ()}, "channels"),
        ((1, 64), {"stride": 0}, "stride=0"),
    ],
)
def test_impossible_signals_are_refused(shape, overrides, message):
    with pytest.raises(ConfigError, match=message):
        model = make_model("conv1d", 3, "float32", **overrides)
        jax.eval_shape(lambda k: model.init(k, jnp.zeros(shape), False), jax.random.key(0))


def test_a_network_takes_several_recordings_at_once():
    model = make_model("conv1d_tiny", 3, "float32")
    params = jax.eval_shape(lambda k: model.init(k, jnp.zeros((1, 64, 2)), False), jax.random.key(0))["params"]
    assert params["conv0"]["kernel"].shape == (5, 2, 4)
