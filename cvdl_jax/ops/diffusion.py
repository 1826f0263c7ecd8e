"""The algebra of denoising diffusion: noise schedules, the forward process, what a network predicts, the way back.

    x_t = a_t x_0 + s_t e,   a_t^2 + s_t^2 = 1,   e ~ N(0, 1),   t = 0 ... T - 1 from little to much noise

with a_t^2 = prod_{i <= t} (1 - b_i). A network may predict the noise e, the image x_0, or v = a_t e - s_t x_0; each
follows from another with x_t. All functions take times as whole numbers [b].
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import Positive, Size
from cvdl_jax.errors import ConfigError

Prediction = Literal["noise", "image", "v"]
Variance = Literal["fixed_small", "fixed_large"]


class Schedule(NamedTuple):
    """A noise schedule of T steps.

    Attributes:
        signal: a_t, falling, float32 [T].
        noise: s_t, rising, float32 [T].
        beta: variance that step t adds, b_t [T].
    """

    signal: jax.Array
    noise: jax.Array
    beta: jax.Array


def linear(steps: Size = 1000, first: Positive = 1e-4, last: Positive = 0.02) -> Schedule:
    """Variances b_t that rise in a straight line.

    Args:
        steps: T.
        first: b_0; with fewer than 1,000 steps both are to be larger, or noise is left over.
        last: b_{T - 1}, below 1.

    Raises:
        ConfigError: unless 0 < first <= last < 1.

    Reference: Ho et al. 2020, "Denoising Diffusion Probabilistic Models", section 4.
    """
    if not first <= last < 1:
        raise ConfigError(f"a linear schedule needs first={first} <= last={last} < 1")
    return _schedule(np.linspace(first, last, steps))


def cosine(steps: Size = 1000, offset: Positive = 0.008, largest: Positive = 0.999) -> Schedule:
    """`a_t^2 = f(t + 1) / f(0)`, `f(t) = cos^2((t / T + offset) / (1 + offset) pi / 2)`, of variances up to `largest`.

    Args:
        steps: T.
        offset: keeps the first variances from being too small.
        largest: of the variances, below 1.

    Reference: Nichol and Dhariwal 2021, "Improved Denoising Diffusion Probabilistic Models", equation 17.
    """
    if not largest < 1:
        raise ConfigError(f"a cosine schedule needs variances below 1, got largest={largest}")
    f = np.cos((np.arange(steps + 1) / steps + offset) / (1 + offset) * np.pi / 2) ** 2
    return _schedule(np.minimum(1 - f[1:] / f[:-1], largest))


def _schedule(beta: np.ndarray) -> Schedule:
    kept = np.cumprod(1 - beta)  # float64
    return Schedule(*(jnp.asarray(x, jnp.float32) for x in (np.sqrt(kept), np.sqrt(1 - kept), beta)))


def signal_to_noise(schedule: Schedule) -> jax.Array:
    """`a_t^2 / s_t^2`, falling, [T]."""
    return (schedule.signal / schedule.noise) ** 2


def _at(values: jax.Array, t: jax.Array, x: jax.Array) -> jax.Array:
    """Entries [b] for arrays like x [b, ...]."""
    return values[t].astype(jnp.promote_types(x.dtype, jnp.float32)).reshape(-1, *(1,) * (x.ndim - 1))


def add_noise(schedule: Schedule, image: jax.Array, noise: jax.Array, t: jax.Array) -> jax.Array:
    """The forward process in one step, `x_t = a_t x_0 + s_t e`.

    Args:
        schedule: of T steps.
        image: x_0 [b, ...], of about unit variance.
        noise: e, like it.
        t: int [b], in 0 .. T - 1.

    Reference: Ho et al. 2020, equation 4.
    """
    return _at(schedule.signal, t, image) * image + _at(schedule.noise, t, image) * noise


def target(schedule: Schedule, image: jax.Array, noise: jax.Array, t: jax.Array, predicts: Prediction) -> jax.Array:
    """What a network that predicts the noise, the image, or v is to say. Args as for `add_noise`.

    Reference: Salimans and Ho 2022, "Progressive Distillation for Fast Sampling of Diffusion Models", section 4, for v.
    """
    if predicts == "noise":
        return noise
    if predicts == "image":
        return image
    return _at(schedule.signal, t, image) * noise - _at(schedule.noise, t, image) * image


def image_and_noise(
    schedule: Schedule, x: jax.Array, predicted: jax.Array, t: jax.Array, predicts: Prediction
) -> tuple[jax.Array, jax.Array]:
    """The x_0 and the e that a prediction says, `x_t = a_t x_0 + s_t e` with both.

    Args:
        schedule: of T steps.
        x: x_t [b, ...].
        predicted: like it.
        t: int [b].
        predicts: what it is.
    """
    a, s = _at(schedule.signal, t, x), _at(schedule.noise, t, x)
    if predicts == "noise":
        return (x - s * predicted) / a, predicted
    if predicts == "image":
        return predicted, (x - a * predicted) / s
    return a * x - s * predicted, s * x + a * predicted


def step_back(
    schedule: Schedule,
    x: jax.Array,
    image: jax.Array,
    noise: jax.Array,
    t: jax.Array,
    earlier: jax.Array,
    fresh: jax.Array,
    eta: float = 1.0,
    variance: Variance = "fixed_small",
) -> jax.Array:
    """One step of the way back, from time t to an earlier one; -1 is the image itself.

        x_r = a_r x_0 + sqrt(s_r^2 - d^2) e + d fresh,   d = eta s_r / s_t sqrt(1 - a_t^2 / a_r^2)

    With eta = 1 and r = t - 1 it is the ancestral step of DDPM, with eta = 0 that of DDIM, which adds no noise. There d
    is the deviation of x_r when x_0 is known, the smaller of the two that DDPM allows; the larger one,
    `sqrt(1 - a_t^2 / a_r^2)`, which is sqrt(b_t) for neighbours, is right for an x_0 of unit normal numbers. It takes
    the place of d before `fresh` alone.

    Args:
        schedule: of T steps.
        x: x_t [b, ...]; only its shape counts.
        image: the x_0 that is predicted at t.
        noise: the e that is predicted at t, or that follows from a clipped x_0.
        t: int [b].
        earlier: r, int [b], from -1 to t - 1.
        fresh: standard normal noise, like x.
        eta: in 0..1.
        variance: fixed_small for d, fixed_large for the larger deviation.

    Returns:
        x_r, like x; x_0 itself where r is -1.

    Reference: Song et al. 2021, "Denoising Diffusion Implicit Models", equations 12 and 16, and section 5
        for the larger deviation; Ho et al. 2020, section 3.2.
    """
    done = (earlier < 0).reshape(-1, *(1,) * (x.ndim - 1))
    r = jnp.maximum(earlier, 0)
    a, s, a_r, s_r = (_at(v, k, x) for k in (t, r) for v in (schedule.signal, schedule.noise))
    large = jnp.sqrt(jnp.maximum(1 - (a / a_r) ** 2, 0))
    d = eta * s_r / s * large
    added = (large if variance == "fixed_large" else d) * fresh
    back = a_r * image + jnp.sqrt(jnp.maximum(s_r**2 - d**2, 0)) * noise + added
    return jnp.where(done, image, back).astype(x.dtype)


def times(schedule_steps: int, steps: int) -> np.ndarray:
    """The times that a sampler of fewer steps visits, evenly spread, the last first: int [steps], from T - 1 to 0.

    Args:
        schedule_steps: T.
        steps: from 1 to T.

    Raises:
        ConfigError: for a number out of this range.
    """
    if not 1 <= steps <= schedule_steps:
        raise ConfigError(
            f"a sampler of {steps} steps does not fit a schedule of {schedule_steps}; take 1 to that many"
        )
    return np.round(np.linspace(schedule_steps - 1, 0, steps)).astype(np.int32)


def guided(conditional: jax.Array, unconditional: jax.Array, scale: float) -> jax.Array:
    """Classifier-free guidance, `e_u + scale (e_c - e_u)`: 0 ignores the condition, 1 is the condition alone.

    Args:
        conditional: predicted with the condition.
        unconditional: predicted without.
        scale: above 1 exaggerates the condition. Ho and Salimans' w is scale - 1.

    Reference: Ho and Salimans 2022, "Classifier-Free Diffusion Guidance", equation 6.
    """
    return unconditional + scale * (conditional - unconditional)
