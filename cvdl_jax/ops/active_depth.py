"""Active depth: what a time-of-flight camera, a projector of patterns and a laser measure, and depths from that.

- A pulse comes back after `2 Z / c`. Modulated light comes back with the phase `4 pi F Z / c`, which repeats every
  `c / (2 F)` metres: beyond this range of ambiguity a depth is taken for a smaller one.
- A projector that writes the number of its column into every pixel, in Gray code or as the phase of a sine, makes each
  pixel of a camera half of a stereo pair: `Z = f B / (x_camera - x_projector)`.
- A laser that stands B to the right and points to the left by the angle a draws its spot at `x = f B / Z - f tan a`.

Reference: Hansard et al. 2013, "Time-of-Flight Cameras", section 1.2 (four samples of a period); Inokuchi et al. 1984
    (Gray code); Srinivasan et al. 1984 (phase shift).
"""

import jax
import jax.numpy as jnp

from cvdl_jax.errors import ConfigError
from cvdl_jax.ops.stereo import depth_from_disparity

LIGHT = 299_792_458.0  # metres per second


def pulse_delay(depth: jax.Array) -> jax.Array:
    """Seconds until a pulse is back from a depth in metres, `2 Z / c`."""
    return 2 * depth / LIGHT


def depth_of_delay(delay: jax.Array) -> jax.Array:
    """Metres from the seconds of a pulse's way, `c t / 2`."""
    return LIGHT * delay / 2


def ambiguity_range(frequency: float) -> float:
    """Metres after which the phase of light that is modulated with so many hertz repeats, `c / (2 F)`."""
    return LIGHT / (2 * frequency)


def phase_samples(depth: jax.Array, frequency: float, amplitude: jax.Array = 1.0, offset: jax.Array = 1.0) -> jax.Array:
    """What a time-of-flight pixel measures: four samples of a period, `offset + amplitude cos(phase + k pi / 2)`.

    Args:
        depth: Z in metres, float [...].
        frequency: F, of the modulation in hertz.
        amplitude: of the light that comes back, [...] or one number.
        offset: light of the surroundings, likewise.

    Returns:
        float [..., 4].
    """
    phase = 2 * jnp.pi * (depth / ambiguity_range(frequency) % 1.0)
    shifts = jnp.arange(4) * (jnp.pi / 2)
    shifts = shifts.reshape((1,) * phase.ndim + (4,))
    offset, amplitude = (jnp.broadcast_to(x, phase.shape)[..., None] for x in (offset, amplitude))
    return offset + amplitude * jnp.cos(phase[..., None] + shifts)


def depth_of_samples(samples: jax.Array, frequency: float) -> tuple[jax.Array, jax.Array]:
    """Depth modulo the range of ambiguity, whatever amplitude and offset: `phase = atan2(s3 - s1, s0 - s2)`.

    Args:
        samples: float [..., 4], from `phase_samples`.
        frequency: F in hertz.

    Returns:
        (depth [...] in 0 ... c / (2 F); the amplitude [...], by which its noise falls).
    """
    s0, s1, s2, s3 = (samples[..., k] for k in range(4))
    share = jnp.arctan2(s3 - s1, s0 - s2) / (2 * jnp.pi) % 1.0
    return share * ambiguity_range(frequency), jnp.hypot(s3 - s1, s0 - s2) / 2


def gray_code(n: jax.Array) -> jax.Array:
    """The Gray code of whole numbers, `n xor (n >> 1)`: neighbours differ in one bit."""
    return n ^ (n >> 1)


def gray_patterns(columns: int, bits: int) -> jax.Array:
    """Patterns that write the Gray code of its number into every column, the highest bit first: float [bits, columns].

    Raises:
        ConfigError: for more columns than there are codes.
    """
    if not 1 <= columns <= 2**bits or bits > 16:
        raise ConfigError(f"columns={columns} need between 1 and 2^bits codes, bits={bits} at most 16")
    codes = gray_code(jnp.arange(columns))
    return ((codes[None] >> jnp.arange(bits - 1, -1, -1)[:, None]) & 1).astype(jnp.float32)


def column_of_gray(patterns: jax.Array, inverses: jax.Array, contrast: float = 0.0) -> jax.Array:
    """The columns that pixels were lit by; a bit is 1 where its pattern is brighter than the inverse one.

    Args:
        patterns: images under the patterns, float [bits, ...], the highest bit first.
        inverses: images under 1 - pattern, which make thresholds unnecessary.
        contrast: a pixel whose largest difference between a pattern and its inverse is not above it is in the shadow.

    Returns:
        int32 [...]; -1 for pixels that no pattern lights.
    """
    ones = (patterns > inverses).astype(jnp.int32)  # [bits, ...]
    binary = jnp.cumsum(ones, 0) % 2  # bit i of n is the parity of the bits of its code down to i
    weights = 2 ** jnp.arange(len(ones) - 1, -1, -1)
    columns = (binary * weights.reshape(-1, *(1,) * (binary.ndim - 1))).sum(0)
    return jnp.where(jnp.abs(patterns - inverses).max(0) > contrast, columns, -1)


def sine_patterns(columns: int, period: float, steps: int = 3) -> jax.Array:
    """Sines of a period in columns, moved by a `steps`-th of it each time, in 0..1: float [steps, columns]."""
    if steps < 3:
        raise ConfigError(f"steps={steps} must be at least 3: brightness, contrast and phase are unknown")
    phase = 2 * jnp.pi * jnp.arange(columns) / period
    return 0.5 + 0.5 * jnp.cos(phase[None] + 2 * jnp.pi * jnp.arange(steps)[:, None] / steps)


def column_of_phase(images: jax.Array, period: float) -> jax.Array:
    """The columns modulo the period, in fractions too: `phase = atan2(- sum I_k sin s_k, sum I_k cos s_k)`.

    Args:
        images: under the patterns of `sine_patterns`, float [steps, ...].
        period: in columns.

    Returns:
        float [...] in 0 ... period.
    """
    shifts = 2 * jnp.pi * jnp.arange(len(images)) / len(images)
    shifts = shifts.reshape(-1, *(1,) * (images.ndim - 1))
    phase = jnp.arctan2(-(images * jnp.sin(shifts)).sum(0), (images * jnp.cos(shifts)).sum(0))
    return phase / (2 * jnp.pi) % 1.0 * period


def unwrapped(coarse: jax.Array, fine: jax.Array, period: float) -> jax.Array:
    """The column with the fraction of the phase, nearest to that of the Gray code: `fine + period round(...)`."""
    return fine + period * jnp.round((coarse - fine) / period)


def laser_column(depth: jax.Array, focal: float, baseline: float, angle: float) -> jax.Array:
    """Where a camera sees the spot of a laser, `f B / Z - f tan a`, in pixels from the middle.

    Args:
        depth: Z in metres, float [...].
        focal: f in pixels.
        baseline: B, metres from the camera to the laser on its right.
        angle: a in radians, by which the laser points to the left.
    """
    return focal * baseline / depth - focal * jnp.tan(angle)


def depth_of_laser(column: jax.Array, focal: float, baseline: float, angle: float) -> jax.Array:
    """`Z = f B / (x + f tan a)`; NaN where the laser never draws a spot, see `laser_column`."""
    return depth_from_disparity(column + focal * jnp.tan(angle), focal, baseline)
