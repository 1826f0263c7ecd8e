"""Averages of a module's weights, together with the batch statistics of the averaged weights.

An average keeps `extra["ema"]` and, where the averaged module normalises by batches, `extra["ema_statistics"]`: running
statistics as training keeps them of the present weights, of batches that the averaged weights see. (The average of the
present weights' statistics is something else while the weights move: averaged weights are another function.) Both are
used together: experiments evaluate `averaged(state)`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.config.binding import Share
from cvdl_jax.core.gradients import select, substitute
from cvdl_jax.core.parallel import rowwise, whole
from cvdl_jax.core.task import State, Transform, ema
from cvdl_jax.errors import ConfigError
from cvdl_jax.optim.optimizer import averaged_params

AVERAGES = ("ema", "ema_statistics")  # of the parameters, and the statistics that belong to them
FIRST, EVERY = 100, 10  # the averaged weights see each of the first batches, then every tenth


def averages(
    decay: Share,
    loss: Callable[..., tuple[State, Any]] | None = None,
    on: str | None = None,
    warmup: bool = False,
    statistics: bool = True,
) -> Transform:
    """`task.ema` of the parameters into `extra["ema"]`, with their batch statistics in `extra["ema_statistics"]`.

    Args:
        decay: share of the old average that is kept in each step.
        loss: as given to `descend`, for the new `extra["batch_stats"]` in the state that it returns; sums are not used.
        on: the averaged sub-tree of `params`, and of `extra["batch_stats"]`; None for all.
        warmup: see `task.ema`.
        statistics: False uses the statistics of the present weights, as runs did that were begun before averages had
            their own.

    Raises:
        ConfigError: in `init`, for a module with batch statistics and no `loss`.
    """
    of_params = ema(decay, on, "ema", warmup)

    def init(state: State) -> State:
        state, stats = of_params.init(state), state.extra.get("batch_stats")
        kept = select(stats, on) if stats and statistics else None
        if not jax.tree.leaves(kept):
            empty = {} if kept is None or on is None else {"ema_statistics": kept}  # as runs of two players have it
            return state._replace(extra={**state.extra, **empty})
        if loss is None:
            raise ConfigError(
                "config.ema: this experiment does not say how averaged weights get their statistics of batch "
                "normalisation; clear config.ema, choose another config.model.norm, or let the experiment call "
                "recipe.average(config, loss)"
            )
        return state._replace(extra={**state.extra, "ema_statistics": jax.tree.map(jnp.copy, kept)})

    def update(state: State, batch: Any, key: jax.Array):
        state = of_params.update(state, batch, key)[0]
        if not jax.tree.leaves(state.extra.get("ema_statistics")):
            return state, batch, {}

        def look() -> Any:
            seen = averaged(state, on)
            seen, _ = loss(seen._replace(params=whole(seen.params), extra=whole(seen.extra)), rowwise(batch), key)
            return select(seen.extra["batch_stats"], on)

        old = state.extra["ema_statistics"]
        due = (state.step < FIRST) | ((state.step + 1) % EVERY == 0)
        return state._replace(extra={**state.extra, "ema_statistics": lax.cond(due, look, lambda: old)}), batch, {}

    return Transform(update, init)


def averaged(state: State, on: str | None = None) -> State:
    """The state to evaluate: averaged parameters and statistics in the places of the present ones.

    Args:
        state: of a run with `config.ema`, with a schedule-free optimizer, or without an average, which stays as it is.
        on: the sub-tree of `params` that is averaged; None for all.
    """
    params, stats = state.extra.get("ema"), state.extra.get("ema_statistics")
    if params is None:
        params = averaged_params(state.opt.get(on or "model"), select(state.params, on))  # of a schedule-free optimizer
    state = state._replace(params=substitute(state.params, on, params))
    if stats is None:
        return state
    stats = substitute(state.extra["batch_stats"], on, stats)
    return state._replace(extra={**state.extra, "batch_stats": stats})


def restart_averages(state: State, keys: tuple[str, ...] = AVERAGES) -> State:
    """The state with each average set to the present value of what it averages.

    Args:
        state: may hold averages in `extra`, of all parameters or of one sub-tree.
        keys: which ones.

    Raises:
        ValueError: if an average fits none, or several, of the sub-trees.
    """
    origin = {"ema": state.params, "ema_statistics": state.extra.get("batch_stats", {})}
    new = {key: _part_like(origin[key], state.extra[key], key) for key in keys if key in state.extra}
    return state._replace(extra={**state.extra, **new})


def _part_like(tree: Any, average: Any, key: str) -> Any:
    def signature(x: Any) -> Any:
        return jax.tree.structure(x), [leaf.shape for leaf in jax.tree.leaves(x)]

    parts = [tree, *(tree.values() if isinstance(tree, dict) else ())]
    fitting = [part for part in parts if signature(part) == signature(average)]
    if len(fitting) != 1:
        raise ValueError(f"extra[{key!r}] is an average of {len(fitting)} sub-trees of its shape; expected exactly one")
    return jax.tree.map(jnp.copy, fitting[0])
