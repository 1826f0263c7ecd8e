"""What an optimizer does against overfitting besides weight decay: penalties, exact zeros, noise on the gradient.

    config.optim.penalty = dict(name="proximal_l1", strength=1e-3)
    config.optim.gradient_noise = dict(eta=0.01)

They act where the gradient has been averaged over the global batch, after the clips: a penalty counts once, whatever
the batch, the micro-batches and the devices. The loss that a run reports is that of the data alone.
"""

import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.config.binding import NOT_NEGATIVE, Count, NotNegative, call, check_name, functions
from cvdl_jax.core import trees
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.ops.losses.penalties import as_weight_decay, soft_threshold
from cvdl_jax.optim import param_groups

NOISE_STREAM = 2**31 - 2  # of a step's key, away from what the loss draws


class Penalty(NamedTuple):
    """A penalty on the parameters whose paths an expression matches.

    Attributes:
        on: the expression, see `param_groups`.
        slope: w -> what is added to the gradient of w, an array like w; None for nothing.
        threshold: by how much, per unit of the learning rate, magnitudes shrink after a step.
    """

    on: str
    slope: Callable[[jax.Array], jax.Array] | None = None
    threshold: float = 0.0


def _decay(on: str, weight_decay: float) -> Penalty:
    return Penalty(on, lambda w: weight_decay * w)


def l2(*, strength: NotNegative, on: str = param_groups.DECAY) -> Penalty:
    """`strength |w|^2`, with gradient `2 strength w`: the coupled weight decay `2 strength`.

    Args:
        strength: lambda.
        on: which parameters, an expression (see `param_groups`).
    """
    return _decay(on, as_weight_decay(strength, "sum"))


def frobenius(*, strength: NotNegative, examples: Count, on: str = param_groups.DECAY) -> Penalty:
    """`strength / (2 m) |w|^2`, with gradient `strength / m w`.

    Args:
        strength: lambda.
        examples: m, the size of the training set; a config may leave it out.
        on: which parameters, an expression (see `param_groups`).
    """
    return _decay(on, as_weight_decay(strength, "mean", examples))


def l1(*, strength: NotNegative, on: str = param_groups.DECAY) -> Penalty:
    """`strength |w|_1` by its subgradient, `strength sign(w)`: weights come close to 0, and seldom are 0.

    Args:
        strength: lambda.
        on: which parameters, an expression (see `param_groups`).
    """
    return Penalty(on, lambda w: strength * jnp.sign(w))


def proximal_l1(*, strength: NotNegative, on: str = param_groups.DECAY) -> Penalty:
    """`strength |w|_1` by soft-thresholding after each step, at the rate of that step: weights become exactly 0.

    The threshold `lr strength` is the same for all weights, whatever the rule divides their gradients by, as decoupled
    weight decay is; with plain SGD this is proximal gradient descent (ISTA). Momentum of the form "sum" makes steps on
    the loss `1 / (1 - momentum)` times as long, but not those on the penalty: give it `strength / (1 - momentum)`.

    Args:
        strength: lambda.
        on: which parameters, an expression (see `param_groups`).
    """
    return Penalty(on, threshold=strength)


def penalties() -> dict[str, Callable[..., Penalty]]:
    """All penalties, by the names that `penalty.name` may have: the public functions here that return a Penalty."""
    return functions(sys.modules[__name__], Penalty)


def penalty(
    section: Mapping[str, Any], steps_per_epoch: float | None, batch_size: int | None, path: str
) -> Penalty | None:
    """The penalty of a config section, the name of one of `penalties` and its arguments; None for an empty section.

    Args:
        section: `name`, `strength` and what else the named function takes; without `examples`, those of the training
            set count.
        steps_per_epoch: examples / batch size; None or infinite without a training set.
        batch_size: global.
        path: the section's name for messages.

    Raises:
        ConfigError: for an unknown name or argument, or an impossible number.
    """
    if not section:
        return None
    known = penalties()
    if "name" not in section:
        raise ConfigError(f"{path}.name is missing; {nearest('', known)}")
    check_name(section["name"], known, f"{path}.name: there is no penalty {section['name']!r}")
    make = known[section["name"]]
    given = {key: value for key, value in section.items() if key != "name"}
    if "examples" in inspect.signature(make).parameters and "examples" not in given:
        if not batch_size or steps_per_epoch is None or math.isinf(steps_per_epoch):
            raise ConfigError(f"{path}.examples is missing; there is no training set here whose examples could count")
        given["examples"] = round(steps_per_epoch * batch_size)
    return call(make, given, path)


def check_on(penalty: Penalty | None, params: Any, path: str) -> None:
    """Refuses an expression that is none, or matches no parameter.

    Raises:
        ConfigError: with the nearest parameter.
    """
    if penalty is None:
        return
    known = trees.names(params)
    try:
        matched = any(param_groups.matches(penalty.on, name) for name in known)
    except re.error as error:
        raise ConfigError(f"{path}.on={penalty.on!r} is not a regular expression: {error}") from None
    if not matched:
        raise ConfigError(
            f"{path}.on={penalty.on!r} matches no parameter; {nearest(penalty.on, known)} An expression must match the "
            "whole path, as in 'head/.*'"
        )


def slopes(penalty: Penalty | None) -> list[optax.GradientTransformation]:
    """What adds the slope of a penalty to the gradients of its parameters, in a list; empty where there is none."""
    if penalty is None or penalty.slope is None:
        return []

    def update(updates: Any, params: Any) -> Any:
        def one(name: str, u: jax.Array, p: jax.Array) -> jax.Array:
            return u + penalty.slope(p).astype(u.dtype) if param_groups.matches(penalty.on, name) else u

        return trees.map_named(one, updates, params)

    return [optax.stateless(update)]


def proximal(
    optimizer: optax.GradientTransformation, penalty: Penalty | None, freeze: str, grouping: Mapping[str, Any]
) -> optax.GradientTransformationExtraArgs:
    """An optimizer whose steps end by soft-thresholding: `w <- soft_threshold(w + u, lr factor threshold)`.

    Args:
        optimizer: makes the steps u; its state holds one `learning_rate`, the one it used.
        penalty: with the threshold; without one, the optimizer stays as it is.
        freeze: an expression; what it matches is left alone.
        grouping: arguments of `param_groups.rate_factors`.

    Raises:
        ConfigError: in init, for a schedule-free rule, whose average would not see the zeros.
    """
    optimizer = optax.with_extra_args_support(optimizer)
    if penalty is None or not penalty.threshold:
        return optimizer

    def init(params: Any) -> Any:
        state = optimizer.init(params)
        free = optax.contrib.ScheduleFreeState
        if any(isinstance(s, free) for s in jax.tree.leaves(state, is_leaf=lambda s: isinstance(s, free))):
            raise ConfigError("config.optim.penalty.name='proximal_l1' does not go with a schedule-free rule; use 'l1'")
        return state

    def update(updates: Any, state: Any, params: Any = None, **extra: Any):
        updates, state = optimizer.update(updates, state, params, **extra)
        rate = optax.tree_utils.tree_get_all_with_path(state, "learning_rate")[0][1]
        factors = param_groups.rate_factors(params, **grouping)

        def one(name: str, u: jax.Array, p: jax.Array) -> jax.Array:
            if not param_groups.matches(penalty.on, name) or param_groups.matches(freeze, name):
                return u
            threshold = (rate * penalty.threshold * factors[name]).astype(p.dtype)
            return (soft_threshold(p + u, threshold) - p).astype(u.dtype)  # added to p, this gives exact zeros

        return trees.map_named(one, updates, params), state

    return optax.GradientTransformationExtraArgs(init, update)


class NoiseState(NamedTuple):
    """What the noise remembers: nothing random."""

    steps: jax.Array  # int32 [], updates done


def gradient_noise(
    *, eta: NotNegative, gamma: NotNegative = 0.55, seed: Annotated[int | None, NOT_NEGATIVE] = None
) -> optax.GradientTransformationExtraArgs:
    """Adds Gaussian noise to each element: `g + N(0, eta / (1 + t)^gamma)` in update t, counted from 0.

    Args:
        eta: the variance at first; 0.01, 0.3 and 1 in the paper.
        gamma: how fast it falls.
        seed: None draws from the key of each update, `update(..., key=key)`, which the loop derives from the run's seed
            and the step as for dropout; a number makes the noise a function of it and t alone, in every run the same.

    Raises:
        ConfigError: by an update that gets no key and needs one.

    Reference: Neelakantan et al. 2015, "Adding Gradient Noise Improves Learning for Very Deep Networks", equation 1.
    """

    def init(params: Any) -> NoiseState:
        del params
        return NoiseState(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: NoiseState, params: Any = None, *, key: jax.Array | None = None, **_: Any):
        del params
        if seed is None and key is None:
            raise ConfigError(
                "config.optim.gradient_noise draws from the key of a step, and this update has none: call "
                "update(..., key=key), or give the noise a seed, gradient_noise.seed=0"
            )
        key = jax.random.fold_in(jax.random.key(seed), state.steps) if seed is not None else key
        key = jax.random.fold_in(key, NOISE_STREAM)
        deviation = jnp.sqrt(eta / (1.0 + state.steps.astype(jnp.float32)) ** gamma)
        leaves, structure = jax.tree.flatten(updates)
        keys = jax.random.split(key, len(leaves))
        leaves = [
            u + deviation.astype(u.dtype) * jax.random.normal(k, u.shape, u.dtype)
            for u, k in zip(leaves, keys, strict=True)
        ]
        return structure.unflatten(leaves), NoiseState(optax.safe_increment(state.steps))

    return optax.GradientTransformationExtraArgs(init, update)


def noise(section: Mapping[str, Any], path: str) -> list[optax.GradientTransformation]:
    """`gradient_noise` of a config section, in a list; an empty one for an empty section.

    Raises:
        ConfigError: for an unknown argument or an impossible number.
    """
    if not section:
        return []
    return [call(gradient_noise, section, path)]
