"""The compiled functions of a run: create the state, advance it, evaluate it.

A set that fits lives on the devices and the step gathers its own rows from indices; a larger one arrives as batches.
Where the backend gains by it, one call makes many steps in a `fori_loop` whose count is an argument, so that calls of
any length share one program. What a call computes depends on (config, seed, step) alone, never on where calls begin.
"""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cvdl_jax import parallel
from cvdl_jax.data import to_float
from cvdl_jax.task import Eval, State, Task, create_state, step_function

LOOP_STEPS = 50  # steps a call makes where looping gains; long enough to hide the dispatch, short enough for signals
INIT_STREAM = 2**31 - 1  # the key of initialisation, which no step number reaches


def to_unit(batch: Any) -> Any:
    """A stored batch as the experiments see it: images and features float, pixels in 0..1; the rest as it is."""
    return {name: to_float.to_unit(x) if name.startswith(("image", "features")) else x for name, x in batch.items()}


def has_convolution(jaxpr: Any) -> bool:
    """Whether a jaxpr, or one inside it, convolves."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            return True
        if any(has_convolution(sub) for sub in jaxprs_in_params(equation.params)):
            return True
    return False


class Program:
    """The functions of one run, traced once each and compiled ahead of time by `compile`.

    Args:
        task: from the experiment's `make`.
        seed: the run's seed.
        mesh: from `parallel.make_mesh`.
        spec: {name: ShapeDtypeStruct} of one example as the data set stores it; {} for tasks without data.
        batch_size: rows of a global training batch.
        eval_batch_size: rows of a global evaluation batch.
        arrays: {split: {name: array [n, ...]}} of the sets that live on the devices.
        steps_per_call: "auto" or a number recorded by an earlier start of this run.
    """

    def __init__(
        self,
        task: Task,
        seed: int,
        mesh: Mesh,
        spec: Mapping[str, jax.ShapeDtypeStruct],
        batch_size: int,
        eval_batch_size: int,
        arrays: Mapping[str, Mapping[str, np.ndarray]],
        steps_per_call: int | str = "auto",
    ):
        self.task, self.seed, self.mesh = task, seed, mesh
        self.spec, self.batch_size, self.eval_batch_size = dict(spec), batch_size, eval_batch_size
        self.traces: dict[str, int] = {}
        self.replicated = NamedSharding(mesh, parallel.REPLICATED)
        self.rows = NamedSharding(mesh, parallel.ROWS)
        self.data = {split: jax.device_put(dict(each), self.replicated) for split, each in arrays.items()}
        self.abstract = jax.eval_shape(self._create)
        self.shardings = parallel.state_shardings(self.abstract, mesh)
        self.abstract_state = jax.tree.map(_with_sharding, self.abstract, self.shardings)
        self.resident = "train" in self.data or not self.spec
        self._functions: dict[str, Any] = {}
        self.sum_shapes: Any = {}
        self.steps_per_call = 1
        if task.train is not None:
            self._trace_step(steps_per_call)
        self.abstract_sums = jax.tree.map(lambda s: _with_sharding(s, self.replicated), self.sum_shapes)

    def _create(self) -> State:
        key = jax.random.fold_in(jax.random.key(self.seed), INIT_STREAM)
        batch = to_unit({k: jnp.zeros((self.batch_size, *s.shape), s.dtype) for k, s in self.spec.items()})
        state = create_state(self.task, key, batch)
        wide = jnp.result_type(float)  # float64 when JAX runs in 64 bits, for proofs

        def widen(x: jax.Array) -> jax.Array:
            return x.astype(wide) if x.dtype == jnp.float32 else x

        return jax.tree.map(widen, state)

    def _trace_step(self, steps_per_call: int | str) -> None:
        """Traces the step once; the compiled call replays its jaxpr."""
        self.traces["step"] = self.traces.get("step", 0) + 1
        raw = {k: jax.ShapeDtypeStruct((self.batch_size, *s.shape), s.dtype) for k, s in self.spec.items()}
        batch = jax.eval_shape(to_unit, raw)
        step = step_function(self.task, self.seed)
        closed, out = jax.make_jaxpr(step, return_shape=True)(self.abstract, batch)
        tree = jax.tree.structure(out)
        flat_step = jaxpr_as_fun(closed)
        self.step = lambda state, batch: jax.tree.unflatten(tree, flat_step(*jax.tree.leaves((state, batch))))
        self.sum_shapes = out[1]
        if steps_per_call == "auto":
            slow = jax.default_backend() == "cpu" and has_convolution(closed.jaxpr)
            steps_per_call = LOOP_STEPS if self.resident and not slow else 1
        self.steps_per_call = int(steps_per_call)

    def advance_function(self) -> Callable:
        """`(state, sums, data, source, count) -> (state, sums)`; `source` are indices or a batch, see `source`."""
        sharded = self.mesh.shape["fsdp"] > 1

        def one(state: State, sums: Any, batch: Any):
            if sharded:
                state = state._replace(params=parallel.constrain(state.params, self.mesh, parallel.REPLICATED))
            batch = parallel.constrain(to_unit(batch), self.mesh, parallel.ROWS)
            state, new = self.step(state, batch)
            return state, jax.tree.map(jnp.add, sums, new)

        def advance(state: State, sums: Any, data: Any, source: Any, count: jax.Array):
            self.traces["advance"] = self.traces.get("advance", 0) + 1
            if self.steps_per_call == 1:
                return one(state, sums, _gather(data, source) if data else source)

            def body(i: jax.Array, carry: Any):
                return one(*carry, _gather(data, source[i]) if data else {})

            return lax.fori_loop(0, count, body, (state, sums))

        return advance

    def eval_function(self, evaluation: Eval) -> Callable:
        """`(state, data, source, mask, key) -> outputs` of one evaluation batch."""

        def evaluate(state: State, data: Any, source: Any, mask: jax.Array, key: jax.Array):
            self.traces["eval"] = self.traces.get("eval", 0) + 1
            batch = parallel.constrain(to_unit(_gather(data, source) if data else source), self.mesh, parallel.ROWS)
            batch = {**batch, "mask": mask} if not isinstance(evaluation.data, int) else {}
            outputs = evaluation.step(state, batch, key)
            return {
                k: tuple(jnp.asarray(x, jnp.result_type(float)) for x in v) if isinstance(v, tuple) else v
                for k, v in outputs.items()
            }

        return evaluate

    # What the loop calls ------------------------------------------------------------------------------------------

    def jobs(self) -> dict[str, Callable[[], None]]:
        """The compilations this run needs, by name, each to be run once, in any thread."""
        jobs = {"create": self._compile_create}
        if self.task.train is not None:
            jobs["step"] = self._compile_advance
        for name in self.task.evals:
            jobs[f"eval {name}"] = lambda name=name: self._compile_eval(name)
        return jobs

    def _compile_create(self) -> None:
        create = jax.jit(self._create, out_shardings=self.shardings)
        self._functions["create"] = create.lower().compile()

    def _compile_advance(self) -> None:
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=self.replicated)
        zeros = jax.jit(
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.sum_shapes), out_shardings=self.replicated
        )
        self._functions["zeros"] = zeros.lower().compile()
        jitted = jax.jit(self.advance_function(), donate_argnums=(0,), out_shardings=(self.shardings, self.replicated))
        data = _abstract(self.data.get("train"))
        self._functions["advance"] = jitted.lower(
            self.abstract_state, self.abstract_sums, data, self._abstract_source(), count
        ).compile()

    def _abstract_source(self) -> Any:
        if not self.spec:
            return {}
        if not self.resident:
            return self._abstract_batch(self.batch_size)
        if self.steps_per_call == 1:
            return jax.ShapeDtypeStruct((self.batch_size,), jnp.int32, sharding=self.rows)
        return jax.ShapeDtypeStruct((self.steps_per_call, self.batch_size), jnp.int32, sharding=self._stacked_rows())

    def _abstract_batch(self, size: int) -> Any:
        return {k: jax.ShapeDtypeStruct((size, *s.shape), s.dtype, sharding=self.rows) for k, s in self.spec.items()}

    def _stacked_rows(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec(None, *parallel.ROWS))

    def _compile_eval(self, name: str) -> None:
        evaluation = self.task.evals[name]
        size = self.eval_batch_size
        mask = jax.ShapeDtypeStruct((size,), jnp.float32, sharding=self.rows)
        key = jax.eval_shape(lambda: jax.random.key(0))
        key = jax.ShapeDtypeStruct(key.shape, key.dtype, sharding=self.replicated)
        data = _abstract(self.data.get(evaluation.data))
        source: Any = {}
        if isinstance(evaluation.data, str):
            index = jax.ShapeDtypeStruct((size,), jnp.int32, sharding=self.rows)
            source = index if data else self._abstract_batch(size)
        jitted = jax.jit(self.eval_function(evaluation))
        self._functions[f"eval {name}"] = jitted.lower(self.abstract_state, data, source, mask, key).compile()

    def compile_feedback(self, metrics: Mapping[str, jax.Array]) -> Callable:
        """Compiles `on_eval` for these metrics: `(state, metrics) -> (state, stop)`; the state is donated."""
        out_shardings = (self.shardings, self.replicated)
        jitted = jax.jit(self.task.on_eval, donate_argnums=0, out_shardings=out_shardings)
        return jitted.lower(self.abstract_state, _abstract(metrics)).compile()

    def abstract_tree(self) -> dict[str, Any]:
        """Shapes, dtypes and shardings of what a checkpoint holds."""
        return {"state": self.abstract_state, "sums": self.abstract_sums}

    def create(self) -> State:
        """The state before the first step."""
        return self._functions["create"]()

    def zero_sums(self) -> Any:
        """Fresh running sums, made on the mesh."""
        return self._functions["zeros"]()

    def advance(self, state: State, sums: Any, source: Any, count: int) -> tuple[State, Any]:
        """Makes `count` steps (at most `steps_per_call`); `state` is donated."""
        return self._functions["advance"](state, sums, self.data.get("train"), self.put(source), self._scalar(count))

    def evaluate(self, name: str, state: State, source: Any, mask: np.ndarray, step: int, batch: int) -> dict:
        """Outputs of one evaluation batch; its key comes from the seed, the evaluation, the step and the batch."""
        key = jax.random.fold_in(jax.random.key(self.seed), zlib.crc32(name.encode()) & 0x7FFFFFFF)
        key = jax.device_put(jax.random.fold_in(jax.random.fold_in(key, step), batch), self.replicated)
        data = self.data.get(self.task.evals[name].data)
        return self._functions[f"eval {name}"](state, data, self.put(source), self.put(mask), key)

    def put(self, source: Any) -> Any:
        """This process's rows of a batch, indices [b] or [steps, b], as global arrays."""

        def one(x: np.ndarray) -> jax.Array:
            stacked = x.ndim == 2 and x.dtype == np.int32 and x.shape[0] == self.steps_per_call > 1
            sharding = self._stacked_rows() if stacked else self.rows
            return jax.make_array_from_process_local_data(sharding, x)

        return jax.tree.map(one, source)

    def _scalar(self, value: int) -> jax.Array:
        return jax.device_put(np.int32(value), self.replicated)


def _gather(data: Any, index: jax.Array) -> Any:
    return {name: jnp.take(x, index, axis=0, mode="clip") for name, x in data.items()}


def _with_sharding(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)


def _abstract(data: Any) -> Any:
    return (
        None
        if data is None
        else {k: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for k, x in data.items()}
    )
