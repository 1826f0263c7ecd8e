"""Feedback from evaluations: the learning rate falls when a metric stalls, training stops when it should.

`build` gives the function that `task.Task.on_eval` holds. It runs once an evaluation, is pure and compiles; what it
remembers lies in `state.extra["feedback"]`, so a resumed run decides as the uninterrupted one would. A metric that is
not a number never counts as an improvement, a reached target or a small update.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Count, Counted, Inside, NotNegative, Positive, bind, check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim.optimizer import map_rates

Mode = Literal["min", "max"]
Memory = dict[str, jax.Array]
Metrics = Mapping[str, jax.Array]


def _number(value: float) -> jax.Array:
    return jnp.asarray(value, jnp.float32)


def _read(metrics: Metrics, name: str, path: str) -> jax.Array:
    check_name(name, metrics, f"{path}.metric={name!r} is not reported by the evaluation")
    return _number(metrics[name])


def _sign(mode: str) -> float:
    """So that smaller is better: 1 for "min", -1 for "max"."""
    return 1.0 if mode == "min" else -1.0


def _improve(memory: Memory, value: jax.Array, min_delta: float) -> tuple[jax.Array, Memory]:
    """Whether a value (smaller is better) beats the best by more than `min_delta`, and the memory that counts since."""
    better = value < memory["best"] - min_delta  # False for NaN
    since = jnp.where(better, 0, memory["since"] + 1)
    return better, {**memory, "best": jnp.where(better, value, memory["best"]), "since": since}


def _fresh() -> Memory:
    return {"best": _number(jnp.inf), "since": jnp.zeros((), jnp.int32)}  # best: in the sign where smaller is better


def plateau(
    *,
    metric: str,
    mode: Mode = "min",
    factor: Inside = 0.1,
    patience: Count = 10,
    min_delta: NotNegative = 0.0,
    cooldown: Counted = 0,
    min_scale: NotNegative = 0.0,
) -> tuple[Memory, Callable]:
    """Multiplies the learning rate by `factor` after `patience` evaluations in a row without improvement.

    Args:
        metric: name as reported, for example "validation/loss".
        mode: whether small or large values are good.
        factor: in (0, 1).
        patience: evaluations without improvement, the last of which reduces the rate.
        min_delta: an improvement must be larger than this, in the units of the metric.
        cooldown: evaluations after a reduction during which none is counted.
        min_scale: the rate never falls below this part of the schedule.

    Returns:
        The memory at the start, and `(memory, opt, metrics) -> (memory, opt)`.

    Raises:
        ConfigError: for an impossible number; while tracing, for a metric that is not reported.
    """
    start = _fresh() | {"cooldown": jnp.zeros((), jnp.int32)}

    def update(memory: Memory, opt: Any, metrics: Metrics) -> tuple[Memory, Any]:
        value = _sign(mode) * _read(metrics, metric, "config.plateau")
        _, memory = _improve(memory, value, min_delta)
        resting = memory["cooldown"] > 0
        since = jnp.where(resting, 0, memory["since"])
        reduce = since >= patience
        memory = {
            "best": memory["best"],
            "since": jnp.where(reduce, 0, since),
            "cooldown": jnp.where(reduce, cooldown, jnp.maximum(memory["cooldown"] - 1, 0)),
        }

        def scaled(scale: jax.Array) -> jax.Array:
            lower = jnp.minimum(scale, jnp.maximum(scale * factor, min_scale))
            return jnp.where(reduce, lower, scale).astype(scale.dtype)

        return memory, map_rates(lambda rate: rate._replace(scale=scaled(rate.scale)), opt)

    return start, update


def no_improvement(metric: str, mode: Mode, patience: int, min_delta: float) -> tuple[Memory, Callable]:
    """Stops after `patience` evaluations in a row that did not beat the best by more than `min_delta`.

    Args:
        metric: name as reported.
        mode: whether small or large values are good.
        patience: at least 1.
        min_delta: in the units of the metric.

    Returns:
        The memory at the start, and `(memory, metrics) -> (memory, stop bool [])`.

    Raises:
        ConfigError: for an impossible number.
    """

    def update(memory: Memory, metrics: Metrics) -> tuple[Memory, jax.Array]:
        value = _sign(mode) * _read(metrics, metric, "config.early_stopping")
        _, memory = _improve(memory, value, min_delta)
        return memory, memory["since"] >= patience

    return _fresh(), update


def small_update(metric: str, delta: float, evaluations: int) -> tuple[Memory, Callable]:
    """Stops when the metric has changed by less than `delta` in each of the last `evaluations` evaluations.

    Args:
        metric: name as reported.
        delta: above 0, in the units of the metric.
        evaluations: at least 1.

    Returns:
        The memory at the start, and `(memory, metrics) -> (memory, stop bool [])`.

    Raises:
        ConfigError: for an impossible number.
    """

    def update(memory: Memory, metrics: Metrics) -> tuple[Memory, jax.Array]:
        value = _read(metrics, metric, "config.early_stopping.update")
        small = jnp.abs(value - memory["last"]) < delta  # False for NaN, and at first
        since = jnp.where(small, memory["since"] + 1, 0)
        return {"last": value, "since": since}, since >= evaluations

    return {"last": _number(jnp.nan), "since": jnp.zeros((), jnp.int32)}, update


def reached(metric: str, mode: Mode, target: float) -> tuple[Memory, Callable]:
    """Stops when the metric is at the target or better.

    Args:
        metric: name as reported.
        mode: whether small or large values are good.
        target: in the units of the metric.

    Returns:
        The memory at the start, which is empty, and `(memory, metrics) -> (memory, stop bool [])`.
    """

    def update(memory: Memory, metrics: Metrics) -> tuple[Memory, jax.Array]:
        sign = _sign(mode)
        return memory, sign * _read(metrics, metric, "config.early_stopping") <= sign * target

    return {}, update


def early_stopping(
    *,
    metric: str = "",
    mode: Mode = "min",
    patience: Count | None = None,
    min_delta: NotNegative = 0.0,
    target: float | None = None,
    update_delta: Positive | None = None,
    update_metric: str = "train/loss",
    update_evaluations: Count = 1,
    combine: Literal["either", "all"] = "either",
) -> tuple[Memory, Callable]:
    """When to stop before the preset length of the run; several criteria together are the hybrid form.

    Args:
        metric: name as reported, for `patience` and `target`.
        mode: whether small or large values of it are good.
        patience: stop after so many evaluations in a row without improvement.
        min_delta: an improvement must be larger than this.
        target: stop when the metric is there.
        update_delta: stop when `update_metric` changes by less than this between evaluations ...
        update_metric: ... usually the training loss ...
        update_evaluations: ... so many times in a row.
        combine: stop when either criterion says so, or only when all say so at the same evaluation.

    Returns:
        The memory at the start, and `(memory, metrics) -> (memory, stop bool [])`.

    Raises:
        ConfigError: for no criterion or an impossible number; while tracing, for a metric that is not reported.

    Reference: Prechelt 1998, "Early Stopping - But When?", for the patience form.
    """
    criteria: dict[str, tuple[Memory, Callable]] = {}
    if (patience is not None or target is not None) and not metric:
        raise ConfigError("config.early_stopping.metric is missing; patience and target need it")
    if patience is not None:
        criteria["patience"] = no_improvement(metric, mode, patience, min_delta)
    if target is not None:
        if not abs(target) < float("inf"):
            raise ConfigError(f"config.early_stopping.target={target} must be finite")
        criteria["target"] = reached(metric, mode, target)
    if update_delta is not None:
        criteria["update"] = small_update(update_metric, update_delta, update_evaluations)
    if not criteria:
        raise ConfigError("config.early_stopping has no criterion; set patience, target or update_delta, or clear it")

    def update(memory: Memory, metrics: Metrics) -> tuple[Memory, jax.Array]:
        results = {name: criterion(memory[name], metrics) for name, (_, criterion) in criteria.items()}
        stops = jnp.stack([stop for _, stop in results.values()])
        memory = {name: new for name, (new, _) in results.items()}
        return memory, jnp.any(stops) if combine == "either" else jnp.all(stops)

    return {name: start for name, (start, _) in criteria.items()}, update


def build(
    plateau_section: Mapping[str, Any], early_stopping_section: Mapping[str, Any]
) -> tuple[dict, Callable] | None:
    """Feedback from the config sections `plateau` and `early_stopping`; an empty one is off.

    Args:
        plateau_section: keyword arguments of `plateau`.
        early_stopping_section: keyword arguments of `early_stopping`.

    Returns:
        None when both are off, else the memory for `state.extra["feedback"]` and
        `on_eval(state, metrics) -> (state, stop bool [])`.

    Raises:
        ConfigError: for an unknown key or an impossible value.
    """
    parts = {}
    for name, fn, section in (
        ("plateau", plateau, plateau_section),
        ("early_stopping", early_stopping, early_stopping_section),
    ):
        if section:
            parts[name] = fn(**bind(fn, section, f"config.{name}"))
    if not parts:
        return None
    return {name: start for name, (start, _) in parts.items()}, partial(_on_eval, {n: u for n, (_, u) in parts.items()})


def _on_eval(updates: dict[str, Callable], state: Any, metrics: Metrics) -> tuple[Any, jax.Array]:
    memory, opt, stop = dict(state.extra["feedback"]), state.opt, jnp.zeros((), bool)
    if "plateau" in updates:
        memory["plateau"], opt = updates["plateau"](memory["plateau"], opt, metrics)
    if "early_stopping" in updates:
        memory["early_stopping"], stop = updates["early_stopping"](memory["early_stopping"], metrics)
    return state._replace(opt=opt, extra={**state.extra, "feedback": memory}), stop
