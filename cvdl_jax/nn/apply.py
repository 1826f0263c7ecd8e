"""Runs a module inside a loss: its parameters from the state, its batch statistics in and out of `extra`."""

from typing import Any

import flax.linen as nn
import jax
from flax.errors import ModifyScopeVariableError, ScopeCollectionNotFound

from cvdl_jax.core import trace_context
from cvdl_jax.core.gradients import select, substitute
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError
from cvdl_jax.nn import batch_norm, observe


def initialise(module: nn.Module, key: jax.Array, *args: Any) -> tuple[Any, Any]:
    """Parameters and batch statistics ({} for a module without) of a module.

    Args:
        module: called as `module(*args)`.
        key: a typed key.
        *args: example inputs; one row is enough.

    Returns:
        (params, batch_stats).
    """
    variables = module.init(key, *args)
    return variables["params"], variables.get("batch_stats", {})


def apply_params(module: nn.Module, params: Any, *args: Any, **more: Any) -> Any:
    """Applies a module that keeps nothing but parameters.

    Args:
        module: called as `module(*args)`.
        params: its parameters.
        *args: its inputs.
        **more: of `module.apply`.

    Raises:
        ConfigError: for one with running averages, which nobody here would keep.
    """
    try:
        return module.apply({"params": params}, *args, **more)
    except (ScopeCollectionNotFound, ModifyScopeVariableError):
        raise ConfigError(
            "config.model.norm: this experiment keeps the parameters of its models alone, and 'batch' keeps running "
            "averages; use 'layer', 'group', or 'batch(track_running_stats=False)'"
        ) from None


def apply_train(
    module: nn.Module, state: State, x: Any, key: jax.Array, on: str | None = None, **more: Any
) -> tuple[Any, State]:
    """Applies a module in training mode.

    Args:
        module: `module(x, train)`.
        state: parameters in `state.params[on]`, statistics in `state.extra["batch_stats"][on]`.
        x: [b, ...], or a tuple of what the module takes before `train`.
        key: for dropout; each row draws from its own index.
        on: name of the sub-tree; None for all.
        **more: keyword arguments of the module.

    Returns:
        (the module's result, state with the new statistics).
    """
    stats = state.extra["batch_stats"]
    variables = {"params": select(state.params, on), "batch_stats": select(stats, on)}
    how = {"mutable": ["batch_stats"], "rngs": {"dropout": key}}
    out, new = module.apply(variables, *_inputs(x), True, **how, **more)
    stats = substitute(stats, on, new.get("batch_stats", select(stats, on)))
    return out, state._replace(extra={**state.extra, "batch_stats": stats})


def apply_eval(module: nn.Module, state: State, x: Any, on: str | None = None, **more: Any) -> Any:
    """Applies a module in evaluation mode, with running statistics unless in `batch_norm.batch_statistics`.

    Args:
        module: `module(x, train)`.
        state: as for `apply_train`; that of `optim.ema.averaged` to use averages.
        x: as for `apply_train`.
        on: name of the sub-tree; None for all.
        **more: keyword arguments of the module.
    """
    variables = {"params": select(state.params, on), "batch_stats": select(state.extra["batch_stats"], on)}
    moments = trace_context.current().moments
    if moments is None:
        return observe.apply(module, variables, *_inputs(x), False, on=on, **more)
    variables[batch_norm.MOMENTS] = moments.get(on or "", {})  # a second call adds to the sums of the first
    out, new = module.apply(variables, *_inputs(x), False, mutable=[batch_norm.MOMENTS], **more)
    moments[on or ""] = new.get(batch_norm.MOMENTS, {})
    return out


def _inputs(x: Any) -> tuple:
    return x if isinstance(x, tuple) else (x,)
