"""Averages of a module's weights together with its batch statistics, which must fit the weights."""

from typing import Any

import jax
import jax.numpy as jnp

from cvdl_jax.config.binding import Share
from cvdl_jax.core.task import State, Transform, chain, ema

AVERAGES = ("ema", "ema_statistics")  # of the parameters and of the batch statistics


def ema_with_statistics(decay: Share, on: str | None = None, warmup: bool = False) -> Transform:
    """`task.ema` of the parameters into `extra["ema"]`, and of the batch statistics into `extra["ema_statistics"]`.

    Args:
        decay: share of the old average that is kept in each step.
        on: the averaged sub-tree of `params`, and of `extra["batch_stats"]`; None for all.
        warmup: see `task.ema`.

    Reference: Brock et al. 2019, "Large Scale GAN Training", appendix C.
    """
    inner = ema(decay, on, "ema_statistics", warmup)

    def view(state: State) -> State:
        return state._replace(params=state.extra["batch_stats"])

    def update(state, batch, key):
        return inner.update(view(state), batch, key)[0]._replace(params=state.params), batch, {}

    statistics = Transform(update, lambda state: inner.init(view(state))._replace(params=state.params))
    return chain(ema(decay, on, "ema", warmup), statistics)


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
