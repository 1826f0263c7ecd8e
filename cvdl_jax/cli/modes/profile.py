"""`--mode profile`: a trace of a few training steps, and the operations that took the most time."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import jax

from cvdl_jax.cli.modes.train import load_config
from cvdl_jax.engine import compiling, out_of_memory
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.errors import UserError

FLAGS = ("config", "overrides", "workdir", "steps")  # that it reads
WARM_UP = 3


def run(args: Any) -> int:
    """Compiles, warms up, traces `--steps` steps into `workdir/profile`, prints the top operations."""
    if args.steps < 1:
        raise UserError(f"--steps={args.steps} must be at least 1")
    built = build(load_config(args))
    program = make_program(built)
    jobs = program.jobs()
    _, seconds = compiling.run_in_workers({k: jobs[k] for k in ("create", "step")}, lambda: False, lambda: None)
    print(f"compiled in {seconds:.1f} s; {program.steps_per_call} steps per call")
    folder = Path(args.workdir) / "profile"
    with out_of_memory.explained(built.config):
        trace(program, built, args.steps, folder)
    total, top = top_operations(folder)
    print(f"trace of {args.steps} steps in {folder} (open it in TensorBoard or https://ui.perfetto.dev)")
    for name, spent, count in top:
        print(f"  {100 * spent / total:5.1f} %  {spent / 1000:9.3f} ms  {count:6d} x  {name}")
    return 0


def trace(program: Any, built: Any, steps: int, folder: Path) -> None:
    """Runs a few steps untraced, then `steps` steps traced."""
    feed = TrainFeed(program, built.data, built.config.seed, 0, WARM_UP + steps)
    state, sums = program.create(), program.zero_sums()
    for step in range(WARM_UP):
        state, sums = program.advance(state, sums, feed.next(step, 1), 1)
    jax.block_until_ready(sums)
    with jax.profiler.trace(str(folder)):
        for step in range(WARM_UP, WARM_UP + steps):
            with jax.profiler.StepTraceAnnotation("train", step_num=step):
                state, sums = program.advance(state, sums, feed.next(step, 1), 1)
        jax.block_until_ready(sums)


def top_operations(folder: Path, n: int = 15) -> tuple[float, list[tuple[str, float, int]]]:
    """The operations of the newest trace that took the most time.

    Args:
        folder: given to `jax.profiler.trace`.
        n: how many.

    Returns:
        (microseconds of all operations, [(operation, microseconds, calls)]).

    Raises:
        UserError: if the profiler wrote no trace.
    """
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise UserError(f"the profiler wrote no trace under {folder}; is another profiler attached to this process?")
    with gzip.open(files[-1], "rt") as file:
        events = json.load(file)["traceEvents"]
    spent: Counter = Counter()
    calls: Counter = Counter()
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            name = event["args"]["hlo_op"]
            spent[name] += event["dur"]
            calls[name] += 1
    return sum(spent.values()) or 1.0, [(name, time, calls[name]) for name, time in spent.most_common(n)]
