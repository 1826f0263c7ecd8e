"""What fills a device's memory while it trains, by kind."""

import math
import os
from typing import Any

import jax

from cvdl_jax.engine.program import Program


def by_kind(program: Program, stats: Any) -> dict[str, int]:
    """Bytes on each device while a step runs.

    Args:
        program: compiled for some mesh.
        stats: `compiled.memory_analysis()`; None where the backend has none.

    Returns:
        {kind: bytes}, kinds without bytes left out; they add up to what is needed. What the step keeps of its
        arguments ("aliased": the state, which is donated) is in there once.
    """
    state = program.abstract_state
    sums, data, source, count = program.advance_arguments()
    arguments = {
        "parameters": on_device(state.params),
        "optimizer state": on_device(state.opt),
        "extra (statistics, averages)": on_device(state.extra),
        "rows of the state": on_device(state.rows),
        "batch" if not data else "indices of the batch": on_device(source),
        "training data": on_device(data),
    }
    known = sum(arguments.values()) + on_device((state.step, sums, count))
    kinds = {
        **arguments,
        "data of the other splits": on_device({k: v for k, v in program.data.items() if k != "train"}),
    }
    if stats is not None:
        # Arguments that the step does not use are dropped from its signature, but stay where they are.
        kinds["other arguments, padding"] = (
            max(stats.argument_size_in_bytes - known, 0) + known - sum(arguments.values())
        )
        kinds["results that replace no argument"] = max(stats.output_size_in_bytes - stats.alias_size_in_bytes, 0)
        kinds["temporaries"] = stats.temp_size_in_bytes
        kinds["the program itself"] = stats.generated_code_size_in_bytes
    return {kind: size for kind, size in kinds.items() if size}


def on_device(tree: Any) -> int:
    """Bytes of a tree of abstract arrays on each device, as their shardings split them."""
    return sum(_leaf(x) for x in jax.tree.leaves(tree))


def _leaf(x: Any) -> int:
    shape = x.sharding.shard_shape(x.shape) if getattr(x, "sharding", None) is not None else x.shape
    return math.prod(shape) * x.dtype.itemsize


def capacity(step: Any, device: Any | None) -> tuple[float, str] | None:
    """What a device can hold, and who says so; None if nobody does.

    Args:
        step: a `compile.Step`.
        device: one that is here; None for a topology.
    """
    stats = device.memory_stats() if device is not None else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"], "what JAX may use of this device"
    if device is not None and device.platform == "cpu":
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shared = f", shared by {step.devices} virtual devices" if step.devices > 1 else ""
        return total / step.devices, f"of this machine's memory{shared}"
    return (step.chip.memory, f"published for {step.chip.name}") if step.chip else None
