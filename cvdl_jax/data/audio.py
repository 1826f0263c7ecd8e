"""One-dimensional signals: periodic waveforms, and changes of speed and pitch for augmentation.

`speed` plays a signal faster, so that it gets shorter and higher. `pitch_shift` makes it higher and keeps its length.
Signals are float [..., n], time last. Lengths are static, so that both compile.
"""

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.ops.precision import wide

WAVEFORMS = ("sine", "sawtooth", "square")


def waveform(kind: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """A periodic function of each kind in -1..1, of period 1.

    Args:
        kind: int [n, 1], places in WAVEFORMS.
        phase: float [n, t], in periods.

    Returns:
        float [n, t]. A sawtooth rises from -1 to 1 over each period, a square is 1 over its first half.
    """
    turn = phase % 1
    values = [np.sin(2 * np.pi * phase), 2 * turn - 1, np.where(turn < 0.5, 1.0, -1.0)]
    return np.choose(np.broadcast_to(kind, phase.shape), values)


def resample(x: jax.Array, length: int) -> jax.Array:
    """Resamples the periodic, band-limited function through the samples of a signal.

    The spectrum is cut or zero-padded at the lower of the two Nyquist frequencies, which avoids aliasing.

    Args:
        x: float [..., n].
        length: number of samples over the same time, at least 1.

    Returns:
        float [..., length].
    """
    _check_signal(x)
    n = x.shape[-1]
    if length < 1:
        raise ValueError(f"length={length} must be at least 1")
    if length == n:
        return x
    kept = min(n, length)
    spectrum = jnp.fft.rfft(wide(x))[..., : kept // 2 + 1]
    if kept % 2 == 0:  # the Nyquist bin stands for both signs of its frequency, or becomes two bins
        spectrum = spectrum.at[..., -1].multiply(2.0 if length < n else 0.5)
    return (jnp.fft.irfft(spectrum, length) * (length / n)).astype(x.dtype)


def speed(x: jax.Array, factor: float) -> jax.Array:
    """Plays a signal faster: `y(t) = x(factor t)`; a tone of frequency f becomes one of `factor f`.

    Args:
        x: float [..., n].
        factor: above 1 for faster, shorter and higher. A number, not a traced array: it decides the length.

    Returns:
        float [..., round(n / factor)].

    Raises:
        ValueError: unless factor is positive and leaves at least one sample, or for a signal of whole numbers.

    Reference: Ko et al. 2015, "Audio Augmentation for Speech Recognition", section 2.
    """
    _check_signal(x)
    if not 0 < factor < 2 * x.shape[-1]:
        raise ValueError(f"factor={factor} must be positive and leave a sample of {x.shape[-1]}; try 0.9 or 1.1")
    return resample(x, max(1, round(x.shape[-1] / factor)))


def pitch_shift(x: jax.Array, semitones: float, window: int = 64) -> jax.Array:
    """Raises all frequencies of a signal by the factor `2^(semitones / 12)`; its length and its tempo stay.

    The signal is stretched in time by that factor with a phase vocoder, then played faster by it.

    Args:
        x: float [..., n].
        semitones: above 0 for higher; 12 is an octave. A number, not a traced array.
        window: samples of a frame, a multiple of 4; a frame should hold a few periods of the lowest tone.

    Returns:
        float [..., n].

    Raises:
        ValueError: for a window that is no multiple of 4 or too long for the signal, an interval of more than 120
            semitones, or a signal of whole numbers.

    Reference: Laroche and Dolson 1999, "Improved Phase Vocoder Time-Scale Modification of Audio", section II.
    """
    if not abs(semitones) <= 120:
        raise ValueError(f"semitones={semitones} must be within -120 ... 120, ten octaves; 12 is one")
    stretched = stretch(x, 2 ** (semitones / 12), window)
    return x if semitones == 0 else resample(stretched, x.shape[-1])  # after the checks, which hold for 0 too


def stretch(x: jax.Array, factor: float, window: int = 64) -> jax.Array:
    """Makes a signal longer without changing its pitch, by a phase vocoder.

    Frames are read at a step of `hop / factor` and written at a step of `hop`. The phase of each bin advances at the
    frequency that its change between two frames implies.

    Args:
        x: float [..., n].
        factor: the new length over the old one.
        window: see `pitch_shift`; hop is a quarter of it.

    Returns:
        float [..., round(n factor)].

    Raises:
        ValueError: see `pitch_shift`.
    """
    _check_signal(x)
    dtype, x = x.dtype, wide(x)
    n, hop = x.shape[-1], window // 4
    if window < 4 or window % 4 or window + hop > n:
        raise ValueError(f"window={window} must be a multiple of 4, and 5/4 of it at most the signal's {n} samples")
    if not 0 < factor < float("inf"):
        raise ValueError(f"factor={factor} must be positive and finite; try 0.9 or 1.1")
    length = max(1, round(n * factor))
    hann = jnp.asarray(np.hanning(window + 1)[:-1], x.dtype)  # periodic
    written = np.arange(-3, -(-length // hop))  # starts of the frames in hops, so that four of them cover every sample
    count = (n - window) // hop + 1  # whole frames only: phases of partial ones would mislead all later ones
    read = np.clip((written + 2) / factor - 2, 0, count - 1)  # by the centres of the frames, not their starts
    frames = x[..., np.arange(count)[:, None] * hop + np.arange(window)[None]]  # [..., count, window]
    spectrum = jnp.fft.rfft(frames * hann.reshape((1,) * x.ndim + (-1,)))  # [..., count, bins]
    low = np.minimum(read.astype(int), count - 2)
    before, after = spectrum[..., low, :], spectrum[..., low + 1, :]  # [..., written, bins]
    part = jnp.asarray(read - low, x.dtype).reshape((1,) * (x.ndim - 1) + (-1, 1))
    size = (1 - part) * jnp.abs(before) + part * jnp.abs(after)
    carrier = 2 * np.pi * hop / window * np.arange(window // 2 + 1)  # radians that a bin turns in a hop
    carrier = jnp.asarray(carrier, x.dtype).reshape((1,) * x.ndim + (-1,))
    drift = jnp.angle(after) - jnp.angle(before) - carrier
    turn = carrier + drift - 2 * np.pi * jnp.round(drift / (2 * np.pi))
    turned = jnp.cumsum(turn, -2) - turn  # [..., written, bins]
    first = np.flatnonzero(read == 0)[-1]  # the frame that begins with the phase of the signal's first one
    phase = jnp.angle(spectrum[..., :1, :]) + turned - turned[..., first : first + 1, :]
    pieces = jnp.fft.irfft(size * jnp.exp(1j * phase), window) * hann.reshape((1,) * x.ndim + (-1,))
    return _overlap_add(pieces.astype(x.dtype), hann**2, hop)[..., 3 * hop :][..., :length].astype(dtype)


def _check_signal(x: jax.Array) -> None:
    """Raises ValueError unless x is float [..., n]."""
    if x.ndim < 1 or not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(
            f"a signal is float [..., n], time last, and this is {x.dtype} {list(x.shape)}; convert samples of 16 bits "
            "by x / 32768.0"
        )


def _overlap_add(pieces: jax.Array, weight: jax.Array, hop: int) -> jax.Array:
    """Sums windowed frames [..., t, window] at steps of hop and divides by the sum of their squared windows."""
    count, window = pieces.shape[-2:]
    where = np.arange(count)[:, None] * hop + np.arange(window)[None]
    total = jnp.zeros((*pieces.shape[:-2], (count - 1) * hop + window), pieces.dtype).at[..., where].add(pieces)
    cover = jnp.zeros(total.shape[-1:], pieces.dtype).at[where].add(jnp.broadcast_to(weight[None], (count, window)))
    return total / jnp.maximum(cover, 1e-3).reshape((1,) * (total.ndim - 1) + (-1,))
