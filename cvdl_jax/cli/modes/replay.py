"""`--mode replay`: runs the saved bad step again and names the first module whose output is not finite."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.task import State, Task, as_transform
from cvdl_jax.core.trees import path_name
from cvdl_jax.engine import kept
from cvdl_jax.engine.build import make_program
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import UserError
from cvdl_jax.workdir.checkpoint import committed_steps, restore_step
from cvdl_jax.workdir.folder import Workdir

FLAGS = ("workdir",)  # that it reads


def run(args: Any) -> int:
    """Replays `workdir/nonfinite` and prints what is not finite, in the order of computation."""
    workdir = Workdir(args.workdir)
    steps = committed_steps(workdir.nonfinite)
    if not steps:
        raise UserError(f"{workdir.nonfinite} holds no saved step; a run writes it when its loss is not finite")
    built = kept.open_run(args.workdir, with_data=False, with_opened=True)  # a step may read a text
    program = make_program(built, reading=True)
    tree, _ = restore_step(workdir.nonfinite / str(steps[-1]), {"state": program.abstract_state})
    with np.load(workdir.nonfinite / "batch.npz") as file:
        batch = to_unit({name: jnp.asarray(file[name]) for name in file.files})
    for line in report(built.task, tree["state"], batch, built.config.seed):
        print(line)
    return 0


def report(task: Task, state: State, batch: Any, seed: int) -> list[str]:
    """What is not finite in one step.

    Args:
        task: of the run.
        state: before the step.
        batch: as the task sees it.
        seed: of the run.

    Returns:
        Lines: the batch, the parameters, the first module, the gradients' or parameters' leaves after the step.
    """
    lines = [f"step {int(state.step) + 1}:"]
    lines += [f"  the batch's {name} is not finite" for name in bad_leaves(batch)]
    lines += [
        f"  before the step, {name} is not finite" for name in bad_leaves({"params": state.params, "opt": state.opt})
    ]
    modules, after = trace_modules(task, state, batch, seed)
    bad = [name for name, finite in modules if not finite]
    if bad:
        lines.append(f"  the first module whose output is not finite: {bad[0]} ({len(bad)} of {len(modules)} are not)")
    else:
        lines.append(f"  every module's output is finite ({len(modules)} of them): look at the loss itself")
    names = bad_leaves({"params": after.params})
    lines += [f"  after the step, {name} is not finite" for name in names[:5]]
    if len(names) > 5:
        lines.append(f"  ... and {len(names) - 5} more")
    return lines


def bad_leaves(tree: Any) -> list[str]:
    """Names of the floating-point leaves with a value that is not finite."""
    named = [(path_name(path), jnp.asarray(x)) for path, x in jax.tree_util.tree_leaves_with_path(tree)]
    return [name for name, x in named if jnp.issubdtype(x.dtype, jnp.floating) and not bool(jnp.isfinite(x).all())]


def trace_modules(task: Task, state: State, batch: Any, seed: int) -> tuple[list[tuple[str, bool]], State]:
    """Runs one step with a probe on every module call.

    Returns:
        ([(module path, whether all its outputs are finite)] in the order of computation, the state after the step).
    """
    outputs: dict[int, tuple[str, bool]] = {}
    calls = iter(range(10**9))

    def record(order: int, name: str, finite: Any) -> None:
        outputs[order] = (name, bool(finite) and outputs.get(order, ("", True))[1])

    def probe(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__":
            name = "/".join(context.module.path) or type(context.module).__name__
            leaves = [x for x in jax.tree.leaves(out) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating)]
            finite = jnp.stack([jnp.isfinite(x).all() for x in leaves]).all() if leaves else jnp.asarray(True)
            jax.debug.callback(partial(record, next(calls), f"{name} ({type(context.module).__name__})"), finite)
        return out

    def step(state: State, batch: Any) -> State:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        with nn.intercept_methods(probe):
            return as_transform(task.train).update(state, batch, key)[0]

    after = jax.jit(step)(state, batch)
    jax.effects_barrier()
    return [outputs[order] for order in sorted(outputs)], after
