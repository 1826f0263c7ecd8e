"""What to do when the loss is not finite: find the step, keep its state and batch, stop with a plain sentence.

The loop sees sums of whole intervals. Because a step is a function of (config, seed, k), the first bad step is located
by repeating the interval one step at a time from the last sound state; training itself pays nothing for it. A loss is
what `task.descend` reports as "loss", or "<prefix>/loss" where several descend.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.parallel import is_first_process
from cvdl_jax.core.task import State
from cvdl_jax.engine.context import RunContext
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.errors import UserError
from cvdl_jax.workdir.checkpoint import Checkpoints, restore_step
from cvdl_jax.workdir.folder import replacing


class NonFiniteLoss(UserError):
    """The loss became NaN or infinite."""

    exit_code = 1


def explain(
    context: RunContext, first_state: Callable[[], State], step: int, losses: dict[str, float]
) -> NonFiniteLoss:
    """Locates the first step with a non-finite loss and saves what is needed to replay it.

    Args:
        context: of the run, compiled.
        first_state: makes the state before the first step once more.
        step: end of the interval whose sums were fetched.
        losses: {name: mean over the interval}.

    Returns:
        The error to raise.
    """
    shown = ", ".join(f"{name}={value}" for name, value in losses.items())
    located = locate(context, first_state, step)
    if located is None:
        return NonFiniteLoss(
            f"the loss is not finite in the steps up to {step} ({shown}), but repeating them gave finite losses: "
            "the machine does not compute reproducibly, or the learning rate was changed by an evaluation in "
            "between. Lower config.optim.lr, or set config.optim.clip_norm=1.0"
        )
    first, state, batch = located
    save(context, first, state, batch)
    return NonFiniteLoss(
        f"the loss is not finite at step {first} ({shown} up to step {step}); the state before it and its batch are "
        f"in {context.workdir.nonfinite}.\nTo see the first module that is not finite: python launch.py --mode replay "
        f"--workdir {context.workdir.path}\nTo train: in a fresh --workdir, lower "
        "config.optim.lr, add warm-up, or set config.optim.clip_norm=1.0"
    )


def locate(
    context: RunContext, first_state: Callable[[], State], last: int
) -> tuple[int, State, dict[str, np.ndarray]] | None:
    """Repeats the steps up to `last` one at a time from the newest finite state.

    Returns:
        (first bad step counted from 1, state before it, its batch), or None if all losses were finite this time.
    """
    program, built = context.program, context.built
    step, state = sound_state(context, first_state, last)
    feed = TrainFeed(program, built.data, built.config.seed, step, built.info.total_steps)
    while step < last:
        source = feed.next(step, 1)
        before = jax.tree.map(jnp.copy, state)  # the state itself is donated
        state, sums = program.advance(state, program.zero_sums(), source, 1)
        step += 1
        losses = [total for name, (total, _) in jax.device_get(sums).items() if name.rsplit("/", 1)[-1] == "loss"]
        if not all(math.isfinite(x) for x in losses):
            return step, before, batch_of(context, source)
    return None


def sound_state(context: RunContext, first_state: Callable[[], State], last: int) -> tuple[int, State]:
    """The newest saved state with finite parameters before `last`, else the first state of the run."""
    checkpoints = context.checkpoints
    checkpoints.wait()
    for step in reversed([s for s in checkpoints.steps() if s < last]):
        tree, _ = restore_step(checkpoints.folder / str(step), context.program.abstract_tree())
        if all_finite(tree["state"].params):
            return step, tree["state"]
    return 0, first_state()


def all_finite(tree: Any) -> bool:
    """Whether every floating-point leaf is finite."""
    leaves = [x for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.floating)]
    return all(bool(jnp.isfinite(x).all()) for x in leaves)


def batch_of(context: RunContext, source: Any) -> dict[str, np.ndarray]:
    """The stored batch that a source stands for."""
    if isinstance(source, dict):
        return source
    index = source[0] if source.ndim == 2 else source
    return {name: np.asarray(x[index]) for name, x in context.built.data.splits["train"].arrays.items()}


def save(context: RunContext, step: int, state: State, batch: dict[str, np.ndarray]) -> None:
    """Writes `nonfinite/<step>/` (the state before the step) and `nonfinite/batch.npz`."""
    checkpoints = Checkpoints(context.workdir.nonfinite, keep=1)
    if step not in checkpoints.steps():
        checkpoints.save(step, {"state": state}, {})
    checkpoints.close()
    if is_first_process():
        with replacing(context.workdir.nonfinite / "batch.npz") as file:
            np.savez(file, **batch)
