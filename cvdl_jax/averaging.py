"""Averages of a module's weights together with its batch statistics, which must fit the weights."""

from cvdl_jax.task import State, Transform, chain, ema


def ema_with_statistics(decay: float, on: str | None = None, warmup: bool = False) -> Transform:
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
