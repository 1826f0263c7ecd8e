"""Out of memory in five lines: what was needed, what there is, the largest buffers by module, what to change."""

import os
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from cvdl_jax.core.formatting import binary
from cvdl_jax.errors import UserError


class OutOfMemory(UserError):
    """The device cannot hold the run."""

    exit_code = 1


@contextmanager
def explained(config: Any) -> Iterator[None]:
    """Turns RESOURCE_EXHAUSTED of anything inside into `OutOfMemory`.

    Args:
        config: of the run, for the largest buffers and the knobs.
    """
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        if not is_exhausted(error):
            raise
        raise OutOfMemory(explain(error, config)) from error


def is_exhausted(error: BaseException) -> bool:
    """Whether an error says that memory ran out."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)


def explain(error: BaseException, config: Any) -> str:
    """The five lines."""
    sizes = requested(str(error))
    needed = f"one allocation of {binary(max(sizes))}" if sizes else "more than was free"
    try:
        largest = largest_buffers(config)
    except Exception as reason:  # the explanation must never hide the error
        largest = f"not known ({type(reason).__name__})"
    return "\n".join(
        [
            "out of memory (RESOURCE_EXHAUSTED)",
            f"  needed: {needed}",
            f"  available: {available()}",
            f"  largest buffers: {largest}",
            f"  to change: config.batch_size (now {config.batch_size}), config.remat=True, config.grad='accumulate(4)'",
        ]
    )


def requested(message: str) -> list[float]:
    """The sizes in bytes that a backend's message names: "1024 bytes" (CPU), "3.35GiB" (GPU), "20.5G" (TPU)."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    exact = [float(n) for n in re.findall(r"(\d{4,})\s*bytes", message)]
    return exact + [float(n) * units[unit] for n, unit in re.findall(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:iB)?\b", message)]


def available() -> str:
    """Memory of the first device, or of the machine where the device has no figures."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        total = stats["bytes_limit"]
        return f"{binary(total - stats.get('bytes_in_use', 0))} of {binary(total)} on the device"
    free, total = (os.sysconf("SC_PAGE_SIZE") * os.sysconf(pages) for pages in ("SC_AVPHYS_PAGES", "SC_PHYS_PAGES"))
    return f"{binary(free)} of {binary(total)} of this machine"


def largest_buffers(config: Any, n: int = 3) -> str:
    """The parameters and activations that take the most, by module, from the abstract step alone."""
    import jax

    from cvdl_jax.core.task import create_state, step_function
    from cvdl_jax.core.trees import path_name
    from cvdl_jax.engine.build import build

    built = build(config)
    spec = built.info.spec
    state = jax.eval_shape(lambda: create_state(built.task, jax.random.key(0), _zeros(spec)))
    sizes = Counter({path_name(p): bytes_of(x) for p, x in jax.tree_util.tree_leaves_with_path(state.params)})
    jaxpr = jax.make_jaxpr(step_function(built.task, 0))(state, spec)
    for equation in jaxpr.eqns:
        module = re.sub(r"\w+\(|\)", "", str(equation.source_info.name_stack))
        for var in equation.outvars:
            name = f"{_operation(equation)} in {module or 'the loss'}"
            sizes[name] = max(sizes[name], bytes_of(var.aval))
    return "; ".join(f"{name} {binary(size)}" for name, size in sizes.most_common(n))


def _operation(equation: Any) -> str:
    """The primitive of an equation; of a function that was called, the one that makes its result."""
    from jax.extend.core import jaxprs_in_params

    name, inner = equation.primitive.name, list(jaxprs_in_params(equation.params))
    called = name in ("custom_jvp_call", "custom_vjp_call", "pjit", "jit", "cond") and inner and inner[-1].eqns
    return _operation(inner[-1].eqns[-1]) if called else name


def _zeros(spec: Any) -> Any:
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), spec)


def bytes_of(x: Any) -> int:
    """Size of an array or its abstract value; 0 for what has no size, such as keys."""
    try:
        return int(x.size) * x.dtype.itemsize
    except (AttributeError, TypeError):
        return 0
