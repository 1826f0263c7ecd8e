"""From a config section to an Optax chain: rule, weight decay, clipping, groups of parameters, and the rate last.

    clip -> coupled decay -> rule -> decoupled decay -> learning-rate factors -> learning rate

The learning rate is a transformation of its own whose state, `LearningRateState`, says which rate was used and holds
the scale that feedback from evaluation changes (`feedback.py`). There is one of it in an optimizer.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax import param_groups, schedules
from cvdl_jax.config_calls import bind, check_name
from cvdl_jax.errors import ConfigError
from cvdl_jax.update_rules import DECOUPLED, RULES


class LearningRateState(NamedTuple):
    """What the learning rate remembers."""

    count: jax.Array  # int32 [], updates done
    scale: jax.Array  # float32 [], multiplies the schedule
    learning_rate: jax.Array  # float32 [], what the last update used; before the first, what it will use


def scale_by_rate(schedule: Callable[[jax.Array], jax.Array]) -> optax.GradientTransformation:
    """Multiplies updates by `-schedule(count) * scale`.

    Args:
        schedule: int32 [] -> float32 [].
    """

    def init(params: Any) -> LearningRateState:
        del params
        count = jnp.zeros((), jnp.int32)
        return LearningRateState(count, jnp.ones((), jnp.float32), schedule(count))

    def update(updates: Any, state: LearningRateState, params: Any = None):
        del params
        rate = schedule(state.count) * state.scale
        updates = jax.tree.map(lambda u: (-rate).astype(u.dtype) * u, updates)
        return updates, LearningRateState(optax.safe_increment(state.count), state.scale, rate)

    return optax.GradientTransformation(init, update)


def map_rates(fn: Callable[[LearningRateState], LearningRateState], opt: Any) -> Any:
    """Changes every LearningRateState in a tree of optimizer states, and nothing else.

    By type, not by field: a norm's moments have a leaf called "scale" too.
    """

    def is_rate(node: Any) -> bool:
        return isinstance(node, LearningRateState)

    return jax.tree.map(lambda node: fn(node) if is_rate(node) else node, opt, is_leaf=is_rate)


def _add_decay(weight_decay: float, decay: str) -> optax.GradientTransformation:
    def update(updates: Any, params: Any) -> Any:
        def one(name: str, u: jax.Array, p: jax.Array) -> jax.Array:
            return u + (weight_decay * p).astype(u.dtype) if param_groups.matches(decay, name) else u

        return param_groups.map_named(one, updates, params)

    return optax.stateless(update)


def _scale_groups(factors: list[tuple[str, float]]) -> optax.GradientTransformation:
    def update(updates: Any, params: Any) -> Any:
        del params
        return param_groups.map_named(lambda name, u: u * param_groups.factor_of(name, factors), updates)

    return optax.stateless(update)


def _clips(clip_norm: float | None, clip_value: float | None, clip_adaptive: float | None) -> list:
    for key, value in (("clip_norm", clip_norm), ("clip_value", clip_value), ("clip_adaptive", clip_adaptive)):
        if value is not None and not value > 0:
            raise ConfigError(f"config.optim.{key}={value} must be positive, or None for off")
    clips = [optax.adaptive_grad_clip(clip_adaptive)] if clip_adaptive is not None else []
    clips += [optax.clip(clip_value)] if clip_value is not None else []
    return clips + ([optax.clip_by_global_norm(clip_norm)] if clip_norm is not None else [])


def _rule(name: str, hyper: Mapping[str, Any], path: str) -> tuple[optax.GradientTransformation, ...]:
    """The named rule as (direction, what comes after decoupled decay)."""
    check_name(name, RULES, f"{path}.name: there is no optimizer {name!r}")
    own = {k for k, p in inspect.signature(optimizer).parameters.items() if p.kind is not p.VAR_KEYWORD}
    given = {"total_steps", "steps_per_epoch", "batch_size", "path"}  # by the program
    known = inspect.signature(RULES[name]).parameters.keys() | own - given
    for key in hyper:
        check_name(key, known, f"{path}.{key} is not a key of the optimizer {name!r}")
    rule = RULES[name](**bind(RULES[name], hyper, path))
    return rule if type(rule) is tuple else (rule, optax.identity())


def optimizer(
    name: str,
    lr: float,
    *,
    total_steps: int | None,
    steps_per_epoch: float | None = None,
    batch_size: int | None = None,
    schedule: Mapping = {},
    weight_decay: float = 0.0,
    decoupled: bool | None = None,
    decay: str = param_groups.DECAY,
    freeze: str = "",
    lr_factors: Mapping | tuple = (),
    clip_norm: float | None = None,
    clip_value: float | None = None,
    clip_adaptive: float | None = None,
    lr_batch_size: int | None = None,
    path: str = "config.optim",
    **hyper: Any,
) -> optax.GradientTransformation:
    """The optimizer of a config section: `configs.call(optimizer, config.optim, "config.optim", total_steps=..., ...)`.

    Args:
        name: a key of `update_rules.RULES`.
        lr: the peak learning rate.
        total_steps: steps of the run.
        steps_per_epoch: examples / batch size, for durations in epochs.
        batch_size: global, for `lr_batch_size` and durations in examples.
        schedule: a section of `schedules.build`; constant where empty.
        weight_decay: lambda.
        decoupled: True adds `lr * lambda * w` to the step, after the rule (decoupled decay); False adds `lambda * w` to
            the gradient, before it (the gradient of `lambda / 2 |w|^2`). None: as the rule's paper has it, which is
            True for adamw, lamb, lion and muon, and False for the others. For plain SGD they are equal.
        decay: which parameters decay (an expression, see `param_groups`).
        freeze: which parameters get no update and no moments.
        lr_factors: {expression: factor of the rate}, or a tuple of such pairs. The factor also scales decoupled decay.
        clip_norm: bound on the global norm of the gradient of the trained parameters.
        clip_value: bound on the size of each element.
        clip_adaptive: bound on the unit-wise ratio |g| / |w| (Brock et al. 2021, equation 3).
        lr_batch_size: the linear rule: the peak rate becomes `lr * batch_size / lr_batch_size`.
        path: the section's name for messages.
        **hyper: keyword arguments of the rule.

    Returns:
        A transformation. Its init refuses expressions that match no parameter.

    Raises:
        ConfigError: naming the key.
    """
    rule, after = _rule(name, hyper, path)
    if lr < 0 or weight_decay < 0:
        raise ConfigError(f"{path}: lr={lr} and weight_decay={weight_decay} must not be negative")
    if lr_batch_size is not None:
        if batch_size is None or lr_batch_size < 1:
            raise ConfigError(f"{path}.lr_batch_size={lr_batch_size} must be at least 1, in a run with a batch size")
        lr = lr * batch_size / lr_batch_size
    units = {"total_steps": total_steps, "steps_per_epoch": steps_per_epoch, "batch_size": batch_size}
    rate = scale_by_rate(schedules.build(schedule, lr, **units, path=f"{path}.schedule"))
    decoupled = name in DECOUPLED if decoupled is None else decoupled
    shrink = [_add_decay(weight_decay, decay)] if weight_decay else []
    factors = param_groups.pairs(lr_factors)
    parts = [*_clips(clip_norm, clip_value, clip_adaptive), *(shrink if not decoupled else []), rule]
    parts += [*(shrink if decoupled else []), after, *([_scale_groups(factors)] if factors else [])]
    inner = optax.chain(*parts)
    if freeze:

        def labels(params: Any) -> Any:
            return param_groups.map_named(
                lambda n, _: "frozen" if param_groups.matches(freeze, n) else "trained", params
            )

        inner = optax.partition({"trained": inner, "frozen": optax.set_to_zero()}, labels)
    chained = optax.chain(inner, rate)

    def init(params: Any) -> Any:
        param_groups.check_groups(params, weight_decay=weight_decay, decay=decay, freeze=freeze, lr_factors=lr_factors)
        return chained.init(params)

    return optax.GradientTransformation(init, chained.update)
