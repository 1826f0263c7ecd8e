"""Compiles one training step ahead of time, for devices that are here or not, and asks the compiler about it."""

import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from cvdl_jax.cli.check import collectives, memory
from cvdl_jax.cli.check.chips import Chip, find
from cvdl_jax.cli.check.collectives import Collective
from cvdl_jax.core import counting, parallel
from cvdl_jax.engine import out_of_memory
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import ConfigError


class Step(NamedTuple):
    """What compiling one step for some devices told; sizes and counts are those of one device.

    Attributes:
        label: "v5e:4x4", or "here".
        kind: of the devices, as JAX names it.
        mesh: {axis: size}.
        hosts: processes that the devices belong to.
        chip: published figures of one device; None where there are none.
        seconds: that compiling took.
        memory: {kind: bytes}; of the arguments alone if the compiler found that the step does not fit.
        flops: of all operations, as XLA counts them.
        bytes: moved to and from operations, as XLA counts them.
        loops: whether XLA counted bodies of loops once.
        collectives: the communication.
        overflow: what the compiler said if the step does not fit.
    """

    label: str
    kind: str
    mesh: Mapping[str, int]
    hosts: int
    chip: Chip | None
    seconds: float
    memory: Mapping[str, int]
    flops: float
    bytes: float
    loops: bool
    collectives: Sequence[Collective]
    overflow: str = ""

    @property
    def devices(self) -> int:
        """Number of devices in the mesh."""
        return self.mesh["data"] * self.mesh["fsdp"]

    @property
    def needed(self) -> int:
        """Bytes of memory on each device, of all kinds."""
        return sum(self.memory.values())


def make_mesh(built: Run, devices: Sequence[Any], label: str) -> Mesh:
    """The mesh that a run would have on these devices.

    Raises:
        ConfigError: if the batches do not divide over them, with the arithmetic and what to add to the command.
    """
    config, n = built.config, len(devices)
    mesh = parallel.make_mesh(devices, config.parallel.fsdp)
    for key in ("batch_size", "eval_batch_size"):
        size = config[key]
        if size % n:
            up, down = (size // n + 1) * n, size // n * n
            choices = f"--config.{key}={up}" + (f" or --config.{key}={down}" if down else "")
            raise ConfigError(
                f"{label}: config.{key}={size} is global and does not divide over {n} devices "
                f"({size} = {size // n} x {n} + {size % n}); add {choices}"
            )
    return mesh


def make_program(built: Run, mesh: Mesh, mode: str = "jit") -> Program:
    """The program of a run on a mesh, one step a call; its data are shapes, so the devices need not exist."""
    config, splits = built.config, built.data.splits if built.data is not None else {}
    arrays = {
        name: {key: jax.ShapeDtypeStruct(x.shape, x.dtype) for key, x in split.arrays.items()}
        for name, split in splits.items()
        if split.arrays is not None
    }
    spec = splits["train"].spec if "train" in splits else {}
    sizes = config.batch_size, config.eval_batch_size or config.batch_size
    return Program(built.task, config.seed, mesh, spec, *sizes, arrays, 1, mode)


def compile_step(program: Program, label: str) -> Step:
    """Compiles the step and collects what is known of it.

    Args:
        program: from `make_program`, under jit.
        label: of its devices.
    """
    device = program.mesh.devices.flat[0]
    chip = find(device.device_kind)
    facts = {
        "label": label,
        "kind": device.device_kind,
        "mesh": dict(program.mesh.shape),
        "hosts": len({d.process_index for d in program.mesh.devices.flat}),
        "chip": chip.device() if chip else None,
    }
    start = time.perf_counter()
    try:
        compiled = program.compile_advance()
    except (RuntimeError, ValueError) as error:  # a TPU's compiler refuses what does not fit
        if not out_of_memory.is_exhausted(error):
            raise
        seconds, arguments = time.perf_counter() - start, memory.by_kind(program, None)
        return Step(**facts, seconds=seconds, memory=arguments, flops=0, bytes=0, loops=False, collectives=(),
                    overflow=overflow(str(error)))  # fmt: skip
    seconds, text, costs = time.perf_counter() - start, compiled.as_text(), compiled.cost_analysis() or {}
    return Step(
        **facts,
        seconds=seconds,
        memory=memory.by_kind(program, compiled.memory_analysis()),
        flops=max(costs.get("flops", 0.0), 0.0),
        bytes=max(costs.get("bytes accessed", 0.0), 0.0),
        loops=collectives.has_loops(text),
        collectives=collectives.parse(text, program.mesh.shape),
    )


def overflow(message: str) -> str:
    """The sentence of a TPU compiler's message that says how much memory is needed and how much there is."""
    sentence = re.search(
        r"Used [\d.]+\w of [\d.]+\w \w+|the total memory required[^.]*\([\d.]+\w\)[^)]*\([\d.]+\w\)", message
    )
    return sentence[0] if sentence else message.strip().splitlines()[0].removeprefix("RESOURCE_EXHAUSTED: ")


def model_macs(built: Run, program: Program) -> tuple[int, int | None]:
    """Multiply-accumulates of a whole step for the global batch, and of one example's forward pass.

    Returns:
        (of the step, backward pass and loops included; of `task.predict`, None for a task without it).
    """
    step = counting.macs(program.step, program.abstract, dict(built.info.spec))
    return step, counting.of_run(built)["macs"]
