"""`--mode check` from end to end: the config, the data, the parameters, then the step for each kind of device."""

from collections.abc import Callable, Sequence
from typing import Any

import jax

from cvdl_jax.cli.check import memory, printing, roofline, topology
from cvdl_jax.cli.check.compile import Step, compile_step, make_mesh, make_program, model_macs
from cvdl_jax.cli.check.roofline import Roofline
from cvdl_jax.config import configs
from cvdl_jax.core import counting
from cvdl_jax.core.formatting import binary, count
from cvdl_jax.data import published
from cvdl_jax.data.described import Absent
from cvdl_jax.data.load import Data
from cvdl_jax.engine import compiling, preflight
from cvdl_jax.engine.build import Run, build, load_data
from cvdl_jax.engine.intervals import due
from cvdl_jax.engine.program import Program
from cvdl_jax.optim import param_groups

Say = Callable[[str], None]


def run(config: Any, names: Sequence[str], say: Say) -> int:
    """Checks a configuration.

    Args:
        config: from `configs.load`.
        names: topologies; none for the devices that are here.
        say: prints.

    Returns:
        0, or 1 if the step does not fit the memory of some device.

    Raises:
        UserError: for anything wrong with the config, the data or a topology.
    """
    # Names are looked up before data are read and anything is compiled, which takes minutes.
    places = [(name, topology.devices(name)) for name in names] or [("here", jax.devices())]
    built = build(config, open_data=_stated if names else None)
    periodic = [name for name, evaluation in built.task.evals.items() if not evaluation.final]
    due(config, built.info, bool(periodic))
    preflight.check(config, periodic, False)
    for line in data_lines(built):
        say(line)
    meshes = {label: make_mesh(built, devices, label) for label, devices in places}
    if not names:
        compiling.use_cache(configs.cache_folder() / "compilation")
    steps: list[Step] = []
    roofs: dict[str, Roofline] = {}
    fit: dict[str, bool] = {}
    for label, mesh in meshes.items():
        program = make_program(built, mesh)
        if not steps and not fit:
            _say_parameters(built, program, say)
            _trace_evaluations(program, say)
        if built.task.train is None:
            say("this run takes no step, so there is none to compile")
            return 0
        step, roof, fit[label] = _one(built, program, label, say)
        steps.append(step)
        if roof is not None:
            roofs[label] = roof
    if len(steps) > 1:
        say("\n" + "\n".join(printing.comparison(steps, roofs, fit, config.batch_size)))
    return 0 if all(fit.values()) else 1


def _stated(config: Any) -> Data | None:
    """The data of a config; of a well-known set that is not here, for a machine that is not here either, its sizes."""
    return (published.stated(config.data) if config.data else None) or load_data(config)


def data_lines(built: Run) -> list[str]:
    """The data set and the length of the run."""
    lines, info = ["data: none"], built.info
    if built.data is not None:
        data = built.data
        sizes = ", ".join(f"{name} {count(split.size)}" for name, split in data.splits.items())
        kept = [x.nbytes for split in data.splits.values() if split.arrays is not None for x in split.arrays.values()]
        where = f"on the devices, {binary(sum(kept))} decoded" if kept else "streamed"
        absent = any(isinstance(split.source, Absent) for split in data.splits.values())
        place = "not on this machine, sizes as published" if absent else data.data_dir or "made here"
        lines = [f"data {data.name} {data.version}".rstrip() + f": {sizes} examples; {where}; {place}"]
        example = ", ".join(f"{k} {s.dtype}{list(s.shape[1:])}" for k, s in info.spec.items())
        lines.append(f"an example: {example}")
    epochs = f", {info.epoch(info.total_steps):.4g} epochs" if built.data is not None else ""
    return [*lines, f"run: {count(info.total_steps)} steps of batch {info.batch_size}{epochs}"]


def _say_parameters(built: Run, program: Program, say: Say) -> None:
    params, optim = program.abstract.params, built.config.optim
    say(
        "\n"
        + (param_groups.describe(optim, params) if optim else param_groups.format_table(param_groups.table(params)))
    )
    facts = counting.of_run(built)
    macs = f", {count(facts['macs'])} multiply-accumulates for the forward pass of one example" if facts["macs"] else ""
    say(f"{count(facts['parameters'])} parameters{macs}")


def _trace_evaluations(program: Program, say: Say) -> None:
    """Traces the evaluations, which finds mistakes without the time that compiling takes."""
    program.trace_evaluations()
    say(f"evaluations traced: {', '.join(program.task.evals) or 'none'}")


def _one(built: Run, program: Program, label: str, say: Say) -> tuple[Step, Roofline | None, bool]:
    """Compiles for one kind of device and prints what is known."""
    config = built.config
    if config.parallel.mode == "pmap":
        if label == "here":
            make_program(built, program.mesh, "pmap").compile_advance()
        say("\nconfig.parallel.mode='pmap': what follows is the same step under jit, which computes and keeps the same")
    step = compile_step(program, label)
    capacity = memory.capacity(step, program.mesh.devices.flat[0] if label == "here" else None)
    say("\n" + printing.heading(step))
    say("\n".join(printing.memory_lines(step, capacity)))
    if step.overflow:
        return step, None, False
    step_macs, forward = model_macs(built, program)
    say("\n".join(printing.work_lines(step, step_macs, forward)))
    fits = printing.fits_into(step, capacity)
    if step.chip is None:
        say(f"no published figures are known for {step.kind!r}: no roofline")
        return step, None, fits
    counted = 2 * step_macs / step.devices if step.loops else 0.0
    flops = max(step.flops, counted)  # XLA counts bodies of loops once, we count no other operations
    model = roofline.model_flops(config.batch_size, forward, step_macs)
    half = config.compute_dtype in ("bfloat16", "float16")
    roof = roofline.estimate(flops, step.bytes, step.collectives, step.chip, half, model, step.devices)
    say("\n".join(printing.roofline_lines(step, roof, config.batch_size, config.compute_dtype)))
    return step, roof, fits
