"""`--mode profile`: a trace of a few training steps, and the modules and operations that took the most time."""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from cvdl_jax.cli.modes.train import load_config
from cvdl_jax.engine import compiling, out_of_memory
from cvdl_jax.engine.build import build, make_program
from cvdl_jax.engine.feed import TrainFeed
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import UserError

FLAGS = ("config", "overrides", "workdir", "steps")  # that it reads
WARM_UP, SHOWN = 3, 15
REST = "(no module: loss, optimizer, augmentation, data)"
CONTROL = re.compile(r"while|body|cond|branch_\d+_fun|closed_call|checkpoint|rematted_computation|custom_\w+_call|vmap")


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
    spent, places = operations(folder), origins(program)
    total = sum(time for time, _ in spent.values()) or 1.0
    print(f"trace of {args.steps} steps in {folder} (open it in TensorBoard or https://ui.perfetto.dev)")
    print("modules, of all steps:")
    for name, (forward, backward) in by_module(spent, places)[:SHOWN]:
        parts = f"forward {forward / 1000:9.3f} ms  backward {backward / 1000:9.3f} ms"
        print(f"  {100 * (forward + backward) / total:5.1f} %  {parts}  {name}")
    print("operations of XLA:")
    for name, (time, count) in sorted(spent.items(), key=lambda item: -item[1][0])[:SHOWN]:
        module = places.get(name, (REST, False))[0]
        print(f"  {100 * time / total:5.1f} %  {time / 1000:9.3f} ms  {count:6d} x  {name}  {module}")
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


def operations(folder: Path) -> dict[str, tuple[float, int]]:
    """{operation: (microseconds, calls)} of the newest trace.

    Args:
        folder: given to `jax.profiler.trace`.

    Raises:
        UserError: if the profiler wrote no trace.
    """
    files = sorted(folder.glob("plugins/profile/*/*.trace.json.gz"))
    if not files:
        raise UserError(f"the profiler wrote no trace under {folder}; is another profiler attached to this process?")
    with gzip.open(files[-1], "rt") as file:
        events = json.load(file)["traceEvents"]
    spent: dict[str, tuple[float, int]] = {}
    for event in events:
        if event.get("ph") == "X" and "hlo_op" in event.get("args", {}):
            time, count = spent.get(event["args"]["hlo_op"], (0.0, 0))
            spent[event["args"]["hlo_op"]] = time + event["dur"], count + 1
    return spent


def origins(program: Program) -> dict[str, tuple[str, bool]]:
    """{operation of the compiled step: (module, whether of the backward pass)}; a fusion is where its result is."""
    text = program.text()
    matches = re.finditer(r'^\s*(?:ROOT )?%?([\w.-]+) = .*?op_name="([^"]+)"', text, re.MULTILINE)
    return {match[1]: (module_of(match[2]), "transpose(" in match[2]) for match in matches}


def module_of(op_name: str) -> str:
    """The path of the module in which an operation was traced.

    Args:
        op_name: as JAX writes it, "jit(advance)/transpose(jvp(MLP))/dense0/dot_general"; the primitive is last.
    """
    names = []
    for part in op_name.split("/")[:-1]:
        name = re.sub(r"\w+\(|\)", "", part)
        if "jit(" not in part and name and "." not in name and not CONTROL.fullmatch(name):
            names.append(name)
    return "/".join(names) or REST


def by_module(
    spent: Mapping[str, tuple[float, int]], places: Mapping[str, tuple[str, bool]]
) -> list[tuple[str, tuple[float, float]]]:
    """[(module, (microseconds forward, backward))], the slowest first."""
    sums: dict[str, list[float]] = {}
    for name, (time, _) in spent.items():
        module, backward = places.get(name, (REST, False))
        sums.setdefault(module, [0.0, 0.0])[backward] += time
    return sorted(((name, tuple(pair)) for name, pair in sums.items()), key=lambda item: -sum(item[1]))
