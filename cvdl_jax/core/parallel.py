"""Where arrays live: the mesh, the shardings of a state, and what one device must ask the others.

Experiments and models never name a device or an axis. The few places where devices must talk (normalised losses,
synchronised statistics, per-example keys) ask here, so that the same function runs under `jit` over a mesh, where a
batch is one global array, and under `pmap`, where each device sees its own rows. What they need to know of the code
being traced (the mesh, which rows are padding, what rows are known by) is kept in `core/trace_context.py`.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvdl_jax.core import trace_context
from cvdl_jax.errors import ConfigError

PMAP_AXIS = "batch"
MEETING_SECONDS = 3600  # for a process that still compiles; one that died ends the wait after --heartbeat seconds
ROWS = PartitionSpec(("data", "fsdp"))  # a batch is split over every device
REPLICATED = PartitionSpec()
_MEETINGS = itertools.count()


def is_mapped() -> bool:
    """Whether the code being traced runs under pmap, one call per device."""
    try:
        lax.axis_index(PMAP_AXIS)
    except NameError:
        return False
    return True


def axis_name() -> str | None:
    """The name of the bound pmap axis, None under jit; for layers that take an `axis_name`."""
    return PMAP_AXIS if is_mapped() else None


def sum_devices(tree: Any) -> Any:
    """Sums every leaf over devices under pmap; the identity under jit, where arrays are already global."""
    return lax.psum(tree, PMAP_AXIS) if is_mapped() else tree


def mean_devices(tree: Any) -> Any:
    """Averages every leaf over devices under pmap; the identity under jit."""
    return lax.pmean(tree, PMAP_AXIS) if is_mapped() else tree


def gather_rows(tree: Any) -> Any:
    """All rows of the global batch on every device, for losses that couple examples. Leaves: [b, ...]."""
    return lax.all_gather(tree, PMAP_AXIS, tiled=True) if is_mapped() else tree


def row_places(n: int) -> jax.Array:
    """The places of the rows that this call sees in the *global* batch: int [n]."""
    return (lax.axis_index(PMAP_AXIS) * n if is_mapped() else 0) + jnp.arange(n)


def rows_known_by(identities: jax.Array) -> AbstractContextManager:
    """Code traced in here draws each row's random numbers from the row's identity instead of its place in the batch.

    Args:
        identities: uint32 [b], the same whatever the batches.
    """
    return trace_context.within(row_identities=identities)


def contents(x: jax.Array) -> jax.Array:
    """A number for what each row holds, equal for equal rows and hardly ever for others.

        sum_i bits(x_i) (2654435769 i, made odd)    mod 2^32

    Args:
        x: [b, ...], read as float32.

    Returns:
        uint32 [b].
    """
    bits = lax.bitcast_convert_type(x.reshape(x.shape[0], -1).astype(jnp.float32), jnp.uint32)  # [b, n]
    weights = jnp.arange(bits.shape[1], dtype=jnp.uint32) * jnp.uint32(2654435769) | jnp.uint32(1)
    return (bits * weights[None]).sum(1, dtype=jnp.uint32)


def row_keys(key: jax.Array, n: int) -> jax.Array:
    """One key per row, from the row's index in the *global* batch, so that every layout draws the same numbers.

    Inside `rows_known_by`, from the row's identity.

    Args:
        key: a typed key shared by all devices.
        n: number of rows that this call sees (all of them under jit, one device's under pmap).

    Returns:
        Typed keys [n].
    """
    identities = trace_context.current().row_identities
    if identities is None:
        identities = row_places(n)
    return jax.vmap(jax.random.fold_in, (None, 0))(key, identities)


def row_random(draw: Callable[..., jax.Array], key: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Draws each row from its own key.

    Args:
        draw: `draw(key, row_shape)`, for example `jax.random.normal`.
        key: a typed key shared by all rows.
        shape: shape of the whole draw, rows first: (b, ...).

    Returns:
        Array of `shape`.
    """
    return rowwise(jax.vmap(lambda k: draw(k, tuple(shape[1:])))(row_keys(key, shape[0])))


def tracing_for(mesh: Mesh) -> AbstractContextManager:
    """Code traced in here will run on this mesh: its backend, its devices, its layout (`whole`, `rowwise`)."""
    return trace_context.within(mesh=mesh)


def backend() -> str:
    """What the code being traced will run on, "cpu", "gpu" or "tpu"; it need not be what this machine has."""
    mesh = trace_context.current().mesh
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def row_blocks() -> int:
    """How many equal blocks of rows, one after the other, make up a batch: one for each device that holds its own.

    1 under pmap, where a device sees no rows but its own, and outside of a training step.
    """
    mesh = trace_context.current().mesh
    return 1 if mesh is None or is_mapped() else mesh.size


def _splitting_mesh() -> Mesh | None:
    """The mesh of the code being traced if it stores parameters in parts; else there is no layout to ask for."""
    mesh = trace_context.current().mesh
    return mesh if mesh is not None and mesh.shape["fsdp"] > 1 else None


def whole(tree: Any) -> Any:
    """Parameters that a computation uses, gathered on every device where they are stored in parts."""
    mesh = _splitting_mesh()
    return tree if mesh is None else constrain(tree, mesh, REPLICATED)


def rowwise(tree: Any) -> Any:
    """Rows that must stay on their devices; else the partitioner would lay activations out as parameters are."""
    mesh = _splitting_mesh()
    return tree if mesh is None else constrain(tree, mesh, ROWS)


def make_mesh(devices: Sequence[jax.Device] | None = None, fsdp: int = 1) -> Mesh:
    """A mesh with axes ("data", "fsdp"): rows go over both, parameters over the second.

    Args:
        devices: all of them by default.
        fsdp: over how many devices each parameter is split.

    Raises:
        ConfigError: if `fsdp` does not divide the number of devices.
    """
    devices = list(devices if devices is not None else jax.devices())
    if fsdp < 1 or len(devices) % fsdp:
        divisors = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise ConfigError(
            f"config.parallel.fsdp={fsdp} must divide the number of devices, {len(devices)}; choose one of {divisors}"
        )
    if len(devices) > 1 and devices[0].platform == "cpu":
        _compile_anew()
    return Mesh(np.asarray(devices).reshape(-1, fsdp), ("data", "fsdp"))


def _compile_anew() -> None:
    """Turns JAX's persistent compilation cache off in this process.

    XLA's programs for several CPU devices do not survive it: read back from disk, their all-reduces overlap, so that a
    second start of the same run crashed (jaxlib 0.10.2), or could have summed the wrong arrays.
    """
    if jax.config.jax_enable_compilation_cache:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # JAX asks once whether the cache is on


def fitting_mesh(fsdp: int, batch_sizes: Sequence[int]) -> Mesh | None:
    """A mesh of as many devices as share batches equally, and split parameters at most as often as is asked.

    Args:
        fsdp: over how many devices each parameter would be split.
        batch_sizes: of global batches.

    Returns:
        The mesh; None with several processes, which need all of their devices.
    """
    if jax.process_count() > 1:
        return None
    devices = jax.devices()
    count = max(n for n in range(1, len(devices) + 1) if all(size % n == 0 for size in batch_sizes))
    return make_mesh(devices[:count], math.gcd(max(fsdp, 1), count))


def check_batch(batch_size: int, mesh: Mesh) -> None:
    """Refuses a global batch that the devices cannot share equally.

    Raises:
        ConfigError: with the arithmetic and the two nearest batch sizes that work.
    """
    n = mesh.size
    if batch_size % n:
        low, high = batch_size // n * n, (batch_size // n + 1) * n
        choices = f"{low} or {high}" if low else f"{high}"
        raise ConfigError(
            f"config.batch_size={batch_size} is global and does not divide over {n} devices "
            f"({batch_size} = {batch_size // n} x {n} + {batch_size % n}); use {choices}"
        )


def leaf_spec(shape: Sequence[int], fsdp: int) -> PartitionSpec:
    """The sharding of a parameter as a function of its shape: its largest dimension that `fsdp` divides is split."""
    dims = [d for d, size in enumerate(shape) if size and size % fsdp == 0]
    if fsdp == 1 or not dims:
        return REPLICATED
    largest = max(dims, key=lambda d: shape[d])
    return PartitionSpec(*[None] * largest, "fsdp")


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """Shardings of a State: parameters, optimizer state and `extra` by `leaf_spec`, `rows` over all devices.

    Args:
        state: a State of arrays or `jax.ShapeDtypeStruct`.
        mesh: from `make_mesh`.

    Returns:
        The same tree with a NamedSharding at every leaf.
    """
    fsdp = mesh.shape["fsdp"]

    def by_shape(tree: Any) -> Any:
        return jax.tree.map(lambda x: NamedSharding(mesh, leaf_spec(x.shape, fsdp)), tree)

    return state._replace(
        step=NamedSharding(mesh, REPLICATED),
        params=by_shape(state.params),
        opt=by_shape(state.opt),
        extra=by_shape(state.extra),
        rows=jax.tree.map(lambda _: NamedSharding(mesh, ROWS), state.rows),
    )


def constrain(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    """Asks the partitioner to lay every leaf of `tree` out by `spec`; nothing to ask on one device."""
    if mesh.size == 1:
        return tree
    return lax.with_sharding_constraint(tree, NamedSharding(mesh, spec))


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Host arrays, equal in every process, as arrays that every device of the mesh holds whole.

    Abstract arrays stay abstract, so that a program can be compiled for devices that are not here.
    """
    sharding = NamedSharding(mesh, REPLICATED)

    def one(x: Any) -> Any:
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        return jax.make_array_from_process_local_data(sharding, np.asarray(x))

    return jax.tree.map(one, tree)


def to_host(tree: Any) -> Any:
    """Arrays of any layout as NumPy arrays, whole, in every process; all of them must ask."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    def one(x: Any) -> np.ndarray:
        if not isinstance(x, jax.Array) or x.is_fully_replicated or x.is_fully_addressable:
            return np.asarray(x)
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(one, tree)


def is_first_process() -> bool:
    """Whether this process prints and writes."""
    return jax.process_index() == 0


def wait_for_all(what: str) -> None:
    """Returns when every process has come here; nothing to wait for with one.

    The processes meet at JAX's coordinator and not in a collective: Gloo gives a collective 30 s, and compilations
    whose results only one process finds in its cache take longer.

    Args:
        what: has happened, the same in every process.
    """
    if jax.process_count() > 1:
        from orbax.checkpoint import multihost

        meeting = next(_MEETINGS)  # a name serves once
        multihost.get_barrier_sync_fn()(key=f"{meeting} {what}", timeout_ms=MEETING_SECONDS * 1000)


def padded(mask: jax.Array | None) -> AbstractContextManager:
    """Code traced in here sees batches whose row i is padding where `mask[i]` is 0; None: all rows are real.

    The last batch of an evaluation is padded, and layers that couple examples must leave the padding out.
    """
    return trace_context.within(padding_mask=mask)


def real_rows() -> jax.Array | None:
    """The mask float [b], 1 for real rows and 0 for padding; None where all rows are real."""
    return trace_context.current().padding_mask
