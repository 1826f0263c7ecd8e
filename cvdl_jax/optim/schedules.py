"""Learning-rate schedules: factors of the peak rate as functions of the step, with durations in units.

    schedule = dict(name="cosine", warmup_epochs=5)
    schedule = dict(name="step", factor=0.1, milestones_epochs=(82, 123))

The first step has t = 0 and a run of T steps ends at t = T - 1; cosine, linear and polynomial reach their final value
at t = T, so that no step is spent at a rate of zero. A warm-up of K steps takes rates 1/K, 2/K, ... 1 of the peak and
delays the schedule behind it: that one then sees t - K of T - K steps. (Textbooks that count steps from 1 write the
warm-up `t / K`: the same rates.) A falling rate helps near a minimum and where the loss is steep, in which a large step
overshoots; flat regions want larger steps.
"""

import math
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config.binding import (
    NOT_NEGATIVE,
    POSITIVE,
    UNITS,
    Count,
    NotNegative,
    Positive,
    call,
    check_name,
    duration,
    functions,
)
from cvdl_jax.errors import ConfigError

Factor = Callable[[jax.Array], jax.Array]  # float32 [] steps since the warm-up -> float32 [] factor of the peak rate
_IN_UNITS = ("milestones", "every", "timescale")  # keyword arguments that configs give as milestones_epochs and so on


def constant(steps: int) -> Factor:
    """The peak rate throughout. Args: steps, not used."""
    return lambda t: jnp.ones_like(t)


def cosine(steps: int, *, final: NotNegative = 0.0) -> Factor:
    """`final + (1 - final) (1 + cos(pi t / T)) / 2`.

    Args:
        steps: T, the length of the schedule.
        final: factor at its end.

    Reference: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.
    """
    return lambda t: final + (1 - final) * 0.5 * (1 + jnp.cos(jnp.pi * jnp.clip(t / steps, 0, 1)))


def polynomial(steps: int, *, power: Positive = 1.0, final: NotNegative = 0.0) -> Factor:
    """`final + (1 - final) (1 - t / T)^power`.

    Args:
        steps: T, the length of the schedule.
        power: exponent, positive.
        final: factor at its end.
    """
    return lambda t: final + (1 - final) * (1 - jnp.clip(t / steps, 0, 1)) ** power


def linear(steps: int, *, final: NotNegative = 0.0) -> Factor:
    """A straight line from 1 to `final`.

    Args:
        steps: T, the length of the schedule.
        final: factor at its end.
    """
    return polynomial(steps, power=1.0, final=final)


def step(steps: int, *, factor: Positive = 0.1, milestones: tuple | None = None, every: Count | None = None) -> Factor:
    """`factor^k`, where k counts the milestones that have been reached, or the periods of `every` steps.

    Args:
        steps: not used.
        factor: gamma, by which the rate is multiplied.
        milestones: in steps since the warm-up; in a config `milestones_epochs=(82, 123)` and the like.
        every: in steps; in a config `every_epochs=30` and the like.

    Raises:
        ConfigError: unless exactly one of `milestones` and `every` is given.
    """
    if (milestones is None) == (every is None):
        raise ConfigError("the schedule 'step' needs one of milestones_epochs=(30, 60) and every_epochs=30")
    if every is not None:
        return lambda t: jnp.float32(factor) ** jnp.floor(t / every)
    edges = np.asarray(milestones, np.float32)
    return lambda t: jnp.float32(factor) ** jnp.sum(t >= edges).astype(jnp.float32)


def exponential(
    steps: int,
    *,
    factor: Annotated[float | None, POSITIVE] = None,
    rate: Annotated[float | None, NOT_NEGATIVE] = None,
    every: Count = 1,
    staircase: bool = False,
) -> Factor:
    """`factor^(t / every)`, or the same written `exp(-rate t / every)`.

    Args:
        steps: not used.
        factor: gamma, by which the rate is multiplied once in every `every` steps; above 1, the rate grows.
        rate: k, the other way to write it: factor = exp(-k).
        every: in steps; in a config `every_epochs=1` and the like.
        staircase: changes only at multiples of `every`.

    Raises:
        ConfigError: unless exactly one of `factor` and `rate` is given.
    """
    if (factor is None) == (rate is None):
        raise ConfigError("the schedule 'exponential' needs one of factor=0.9 and rate=0.1 (factor = exp(-rate))")
    decay = rate if rate is not None else -math.log(factor)

    def at(t: jax.Array) -> jax.Array:
        periods = t / every
        return jnp.exp(-decay * (jnp.floor(periods) if staircase else periods))

    return at


def inverse_time(steps: int, *, rate: NotNegative, every: Count = 1) -> Factor:
    """1/t decay, `1 / (1 + rate t / every)`.

    Args:
        steps: not used.
        rate: k, zero or more.
        every: in steps; in a config `every_epochs=1` makes `rate` one per epoch.
    """
    return lambda t: 1 / (1 + rate * t / every)


def power(steps: int, *, exponent: Positive = 0.5, every: Count = 1) -> Factor:
    """`n^-exponent` in the n-th step, counted from 1; also called polynomial decay.

    Args:
        steps: not used.
        exponent: alpha, positive.
        every: in steps; in a config `every_epochs=1` makes n the number of the epoch.
    """
    return lambda t: (jnp.floor(t / every) + 1) ** -exponent


def inverse_sqrt(steps: int, *, timescale: Count) -> Factor:
    """`1 / sqrt(1 + t / timescale)`: with a warm-up of `timescale` steps, the schedule of the first Transformer.

    Args:
        steps: not used.
        timescale: in steps; in a config `timescale_steps=4000` and the like. The warm-up where none is given.

    Reference: Vaswani et al. 2017, "Attention Is All You Need", equation 3.
    """
    return lambda t: jax.lax.rsqrt(1 + t / timescale)


def known() -> dict[str, Callable[..., Factor]]:
    """All schedules, by the names that `schedule.name` may have: the public functions here that return a Factor."""
    return functions(sys.modules[__name__], Factor)


def _in_steps(section: Mapping[str, Any], path: str, units: Mapping[str, Any]) -> dict[str, Any]:
    """The section with `every_epochs=30` and the like replaced by `every=<steps>`."""
    section = dict(section)
    for name in _IN_UNITS:
        if name in section:
            raise ConfigError(f"{path}.{name} has no unit; write {path}.{name}_epochs or {name}_steps")
        given = {key: section.pop(key) for key in [f"{name}_{unit}" for unit in UNITS] if key in section}
        for key, value in given.items():
            if isinstance(value, tuple | list):
                steps = tuple(duration({**given, key: v}, name, path=path, **units) for v in value)
            else:
                steps = duration(given, name, path=path, **units)
            if name != "milestones" and not (isinstance(steps, int) and steps > 0):
                raise ConfigError(f"{path}.{key}={value} must be at least one step")
            section[name] = steps if name != "milestones" or isinstance(steps, tuple) else (steps,)
    return section


def build(
    schedule: Mapping[str, Any],
    lr: float,
    *,
    total_steps: int | None,
    steps_per_epoch: float | None = None,
    batch_size: int | None = None,
    path: str = "config.optim.schedule",
) -> Callable[[jax.Array], jax.Array]:
    """The learning rate as a function of the step.

    Args:
        schedule: a section: `name` (constant by default), `warmup_steps` or another unit, and the schedule's own keys.
        lr: the peak rate.
        total_steps: steps of the run.
        steps_per_epoch: for durations in epochs.
        batch_size: for durations in examples.
        path: the section's name for messages.

    Returns:
        A function from int32 [] steps done to float32 [] rate.

    Raises:
        ConfigError: for an unknown schedule or key, or a warm-up that leaves nothing of the run.
    """
    units = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch, "batch_size": batch_size}
    section = dict(schedule)
    name = section.pop("name", "constant")
    schedules = known()
    check_name(name, schedules, f"{path}.name: there is no schedule {name!r}")
    warmup = duration(section, "warmup", path=path, required=False, **units) or 0
    if total_steps is not None and warmup > total_steps:
        raise ConfigError(f"{path}: a warm-up of {warmup} steps is longer than the run of {total_steps}; shorten it")
    section = {key: value for key, value in section.items() if key not in {f"warmup_{unit}" for unit in UNITS}}
    section = _in_steps(section, path, units)
    if name == "inverse_sqrt" and warmup:
        section.setdefault("timescale", warmup)
    steps = max(1, (total_steps if total_steps is not None else 1) - warmup)
    if total_steps is None and name in ("cosine", "linear", "polynomial"):
        raise ConfigError(f"{path}.name={name!r} needs to know the length of the run; use total_steps or total_epochs")
    factor = call(schedules[name], section, path, steps=steps)

    def rate(count: jax.Array) -> jax.Array:
        count = jnp.asarray(count, jnp.float32)
        after = factor(jnp.maximum(count - warmup, 0.0))
        ramp = (count + 1) / max(warmup, 1)
        return jnp.asarray(lr * jnp.where(count < warmup, ramp, after), jnp.float32)

    return rate
