"""Gradual unfreezing: groups of parameters that begin to train when a part of the run is over, the head first.

    config.optim.unfreeze = (("head/.*", 0), ("dense[0-9]/.*", 25), ("conv[0-9]/.*", 50))     # percent of the steps

Until its group begins, a parameter stays exactly as it is: no update, no decay, no part in the clipped norm, and its
moments and their bias correction begin with it. When it begins depends on the number of updates alone, so that a
resumed run goes on as it would have. Running statistics of batch normalisation are no parameters, and move from the
first step.

Reference: Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text Classification", section 3.3.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from cvdl_jax.core import trees
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim import param_groups

Starts = Sequence[tuple[str, int]]  # (expression, first step) pairs


class Updates(NamedTuple):
    """How many updates there were."""

    count: jax.Array  # int32 []


class GatedState(NamedTuple):
    """What a group remembers: how many updates there were, and the state that begins with the group."""

    count: jax.Array  # int32 []
    inner: Any


def starts(
    unfreeze: Sequence[tuple[str, float]], total_steps: int | None, path: str = "config.optim"
) -> list[tuple[str, int]]:
    """The groups with the update, counted from 0, with which each begins to train; fractions are rounded up.

    Args:
        unfreeze: (expression, percent of the run) pairs.
        total_steps: of the run.
        path: of the optimizer's section, for messages.

    Raises:
        ConfigError: for a run of unknown length, no group at 0, or one that would never train.
    """
    if not unfreeze:
        return []
    if total_steps is None:
        raise ConfigError(f"{path}.unfreeze counts in percent of the run, whose length is not known; remove it")
    if all(percent for _, percent in unfreeze):
        raise ConfigError(f"{path}.unfreeze={tuple(unfreeze)}: nothing would train at first; begin one group at 0")
    steps = [(regex, math.ceil(round(percent * total_steps / 100, 9))) for regex, percent in unfreeze]
    for (regex, start), (_, percent) in zip(steps, unfreeze, strict=True):
        if start >= max(total_steps, 1):
            raise ConfigError(
                f"{path}.unfreeze: {regex!r} at {percent:g} % would begin after the last of {total_steps} steps; begin "
                "it earlier, or name it in freeze"
            )
    return steps


def _start_of(name: str, groups: Starts) -> int:
    """The first step of a parameter, which `param_groups.check_unfreeze` has found in exactly one group."""
    return next(start for regex, start in groups if param_groups.matches(regex, name))


def hide_waiting(groups: Starts) -> optax.GradientTransformation:
    """Sets the gradients of parameters that do not train yet to 0, so that a clipped norm is that of the others."""

    def init(params: Any) -> Updates:
        del params
        return Updates(jnp.zeros((), jnp.int32))

    def update(updates: Any, state: Updates, params: Any = None):
        del params

        def one(name: str, u: jax.Array) -> jax.Array:
            return jnp.where(state.count >= _start_of(name, groups), u, jnp.zeros_like(u))

        return trees.map_named(one, updates), Updates(optax.safe_increment(state.count))

    return optax.GradientTransformation(init, update)


def _gated(transformation: optax.GradientTransformation, start: int) -> optax.GradientTransformationExtraArgs:
    """A transformation that does nothing, and remembers nothing, in its first `start` updates."""
    inner = optax.with_extra_args_support(transformation)
    if start == 0:
        return inner

    def init(params: Any) -> GatedState:
        return GatedState(jnp.zeros((), jnp.int32), inner.init(params))

    def update(updates: Any, state: GatedState, params: Any = None, **extra: Any):
        made, new = inner.update(updates, state.inner, params, **extra)
        trains = state.count >= start
        made = jax.tree.map(lambda u: jnp.where(trains, u, jnp.zeros_like(u)), made)
        kept = jax.tree.map(lambda a, b: jnp.where(trains, a, b), new, state.inner)
        return made, GatedState(optax.safe_increment(state.count), kept)

    return optax.GradientTransformationExtraArgs(init, update)


def staged(transformation: optax.GradientTransformation, groups: Starts) -> optax.GradientTransformation:
    """A transformation with a state for each group, which begins with it.

    A rule that looks at the gradients of all parameters together, such as rmsprop with norm="global", looks at those
    of one group.
    """
    parts = {str(start): _gated(transformation, start) for _, start in groups}
    return optax.partition(parts, lambda params: trees.map_named(lambda name, _: str(_start_of(name, groups)), params))


def assembled(
    before: list[optax.GradientTransformation],
    steps: list[optax.GradientTransformation],
    groups: Starts,
    moves_later: bool,
    path: str = "config.optim",
) -> list[optax.GradientTransformation]:
    """The parts of an optimizer up to its learning rate, in groups where there are any.

    Args:
        before: what sees the gradients of all groups together: clips, noise, penalties.
        steps: what comes after it: the rule, and the decay.
        groups: of `starts`; none leaves everything as it is.
        moves_later: whether something moves parameters after the learning rate.
        path: of the optimizer's section, for messages.

    Raises:
        ConfigError: for groups in such an optimizer.
    """
    if not groups:
        return [*before, *steps]
    if moves_later:
        raise ConfigError(
            f"{path}.unfreeze does not go with schedule-free rules, momentum of form='rate' and proximal_l1, which "
            "move parameters after the learning rate; use another rule, or freeze"
        )
    return [hide_waiting(groups), *before, staged(optax.chain(*steps), groups)]
