"""How one compiled call is spread over devices: `jit` over a mesh, or `pmap`, one traced program per device.

Outside the call every array is global and laid out as `parallel.state_shardings` says, whichever layout is used; so
checkpoints, evaluations and feedback do not know of layouts.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvdl_jax.core import parallel
from cvdl_jax.core.task import State
from cvdl_jax.errors import ConfigError


class Jit:
    """One program over the mesh; the partitioner inserts the communication."""

    axis_env = None

    def __init__(self, mesh: Mesh):
        self.mesh = mesh
        self.replicated = NamedSharding(mesh, parallel.REPLICATED)
        self.rows = NamedSharding(mesh, parallel.ROWS)
        self.stacked_rows = NamedSharding(mesh, PartitionSpec(None, *parallel.ROWS))

    def local(self, state: State, batch: Any) -> tuple[State, Any]:
        """The shapes that the step is traced with: the global ones."""
        return state, batch

    def gather(self, state: State) -> State:
        """Parameters whole on every device, where a step uses them; nothing to do unless they are split."""
        if self.mesh.shape["fsdp"] == 1:
            return state
        return state._replace(params=parallel.constrain(state.params, self.mesh, parallel.REPLICATED))

    def rowwise(self, batch: Any) -> Any:
        """Keeps the rows of a batch on their devices."""
        return parallel.constrain(batch, self.mesh, parallel.ROWS)

    def abstract_source(self, source: Any, stacked: bool) -> Any:
        """Shapes and shardings of the rows that a call gets; `stacked`: [steps, b] instead of [b, ...]."""
        sharding = self.stacked_rows if stacked else self.rows
        return jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), source)

    def put(self, source: Any, stacked: bool) -> Any:
        """This process's rows as global arrays."""
        sharding = self.stacked_rows if stacked else self.rows
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), source)

    def compile(self, advance: Callable, state: State, shardings: State, *rest: Any) -> Callable:
        """Compiles `advance(state, sums, data, source, count)`; the state is donated."""
        jitted = jax.jit(advance, donate_argnums=(0,), out_shardings=(shardings, self.replicated))
        return jitted.lower(state, *rest).compile()


class Pmap:
    """The classic way: the same program once per device, talking through the named axis.

    Raises:
        ConfigError: if parameters are to be split as well.
    """

    def __init__(self, mesh: Mesh):
        if mesh.shape["fsdp"] > 1:
            raise ConfigError(
                f"config.parallel.fsdp={mesh.shape['fsdp']} needs config.parallel.mode='jit'; "
                "pmap keeps parameters whole"
            )
        self.mesh, self.devices = mesh, mesh.size
        self.axis_env = [(parallel.PMAP_AXIS, mesh.size)]
        self.rows = NamedSharding(mesh, parallel.ROWS)

    def local(self, state: State, batch: Any) -> tuple[State, Any]:
        """The shapes that the step is traced with: one device's rows."""

        def one(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((x.shape[0] // self.devices, *x.shape[1:]), x.dtype)

        return state._replace(rows=jax.tree.map(one, state.rows)), jax.tree.map(one, batch)

    def gather(self, state: State) -> State:
        """Parameters are whole already."""
        return state

    def rowwise(self, batch: Any) -> Any:
        """Each device sees its own rows only."""
        return batch

    def abstract_source(self, source: Any, stacked: bool) -> Any:
        """As `Jit.abstract_source`, with a leading axis of devices."""
        return jax.tree.map(lambda s: self._abstract_rows(s, 1 if stacked else 0), source)

    def _abstract_rows(self, s: Any, axis: int = 0) -> jax.ShapeDtypeStruct:
        local = s.shape[axis] // self.devices
        return jax.ShapeDtypeStruct((self.devices, *s.shape[:axis], local, *s.shape[axis + 1 :]), s.dtype)

    def put(self, source: Any, stacked: bool) -> Any:
        """This process's rows, a leading axis of devices, as global arrays."""
        axis, here = int(stacked), len(self.mesh.local_devices)

        def one(x: np.ndarray) -> jax.Array:
            parts = x.reshape(*x.shape[:axis], here, x.shape[axis] // here, *x.shape[axis + 1 :])
            return jax.make_array_from_process_local_data(self.rows, np.ascontiguousarray(np.moveaxis(parts, axis, 0)))

        return jax.tree.map(one, source)

    def compile(self, advance: Callable, state: State, shardings: State, *rest: Any) -> Callable:
        """Compiles `advance(state, sums, data, source, count)`; rows are split before and joined after each call."""
        axes = State(None, None, None, None, 0)
        devices = None if jax.process_count() > 1 else list(self.mesh.devices.flat)
        place = np.arange(len(self.mesh.local_devices), dtype=np.int32)
        place = jax.make_array_from_process_local_data(self.rows, place)  # a task may have nothing else to map over
        mapped = jax.pmap(
            lambda place, *arguments: advance(*arguments),
            axis_name=parallel.PMAP_AXIS,
            in_axes=(0, axes, None, None, 0, None),
            out_axes=(axes, None),
            donate_argnums=(1,),
            devices=devices,
        )
        split_state = state._replace(rows=jax.tree.map(self._abstract_rows, state.rows))
        call = mapped.lower(place, split_state, *rest).compile()
        split = jax.jit(lambda rows: jax.tree.map(self._split, rows), out_shardings=self.rows)
        join = jax.jit(lambda rows: jax.tree.map(_join, rows), out_shardings=self.rows)

        def run(state: State, *arguments: Any):
            state, sums = call(place, state._replace(rows=split(state.rows)), *arguments)
            state = state._replace(rows=join(state.rows))
            return jax.device_put((state, sums), (shardings, NamedSharding(self.mesh, parallel.REPLICATED)))

        return run

    def _split(self, x: jax.Array) -> jax.Array:
        return x.reshape(self.devices, x.shape[0] // self.devices, *x.shape[1:])  # [devices, b / devices, ...]


def _join(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[2:])  # [b, ...]


LAYOUTS = {"jit": Jit, "pmap": Pmap}
