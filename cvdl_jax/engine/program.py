"""The compiled functions of a run: create the state, advance it, evaluate it.

A set that fits lives on the devices and the step gathers its own rows from indices; a larger one arrives as batches.
Where the backend gains by it, one call makes many steps in a `fori_loop` whose count is an argument, so that calls of
any length share one program. What a call computes depends on (config, seed, step) alone, never on where calls begin.
"""

import threading
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxpr_as_fun, jaxprs_in_params
from jax.sharding import Mesh, NamedSharding

from cvdl_jax.core import parallel
from cvdl_jax.core.task import Added, Eval, Pass, State, Task, create_state, step_function
from cvdl_jax.data import pixels
from cvdl_jax.engine.layouts import LAYOUTS, Jit
from cvdl_jax.errors import ConfigError

LOOP_STEPS = 50  # steps a call makes where looping gains; long enough to hide the dispatch, short enough for signals
INIT_STREAM = 2**31 - 1  # the key of initialisation, which no step number reaches


def to_unit(batch: Any) -> Any:
    """A stored batch as the experiments see it: images and features float, pixels in 0..1; the rest as it is.

    By the names of entries that all data sets share (`data/schema.py`): "image..." and "features...".
    """

    def one(name: str, x: Any) -> Any:
        numeric = x.dtype == jnp.uint8 or jnp.issubdtype(x.dtype, jnp.floating)  # "image/id" holds no pixels
        return pixels.to_unit(x) if name.startswith(("image", "features")) and numeric else x

    return {name: one(name, x) for name, x in batch.items()}


def gather(data: Any, index: jax.Array) -> Any:
    """Rows of arrays that live on the devices; data {name: [n, ...]}, index int [b]."""
    return {name: jnp.take(x, index, axis=0, mode="clip") for name, x in data.items()}


def abstract_of(data: Any) -> Any:
    """Shapes, dtypes and shardings of arrays; None for None."""
    return (
        None
        if data is None
        else {k: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding) for k, x in data.items()}
    )


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
        mode: how a step is spread over the devices, "jit" or "pmap"; evaluations always use jit.
        splits: {split: Split}, which evaluations may pass over before they begin.

    Attributes:
        prepared: the last pass that was made before an evaluation, the state it saw, and the state it made; the next
            evaluation uses it again.
        traces: {kind of function: how often it was traced}.
        jaxpr: of a training step, as one device of the layout sees it; None for a task without steps.
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
        mode: str = "jit",
        splits: Mapping[str, Any] = MappingProxyType({}),
    ):
        self.task, self.seed, self.mesh = task, seed, mesh
        self.spec, self.batch_size, self.eval_batch_size = dict(spec), batch_size, eval_batch_size
        self.splits = splits
        self.prepared: tuple[Pass, State, State] | None = None
        self.traces: dict[str, int] = {}
        self.jit = Jit(mesh)
        self.layout = LAYOUTS[mode](mesh)
        self.replicated = self.jit.replicated
        self.data = {split: parallel.replicate(dict(entries), mesh) for split, entries in arrays.items()}
        self.abstract = jax.eval_shape(self._create)
        self.shardings = parallel.state_shardings(self.abstract, mesh)
        self.abstract_state = jax.tree.map(_with_sharding, self.abstract, self.shardings)
        self.resident = "train" in self.data or not self.spec
        self._functions: dict[str, Any] = {}
        self._passes: dict[int, Any] = {}
        self._traced: dict[str, Any] = {}
        self._lock = threading.Lock()
        self.sum_shapes: Any = {}
        self.jaxpr: Any = None
        self.steps_per_call = 1
        if task.train is not None:
            self._trace_step(steps_per_call)
        self.abstract_sums = jax.tree.map(lambda s: _with_sharding(s, self.replicated), self.sum_shapes)

    # The state and the step -------------------------------------------------------------------------------------------

    def _create(self) -> State:
        key = jax.random.fold_in(jax.random.key(self.seed), INIT_STREAM)
        batch = to_unit({k: jnp.zeros((self.batch_size, *s.shape), s.dtype) for k, s in self.spec.items()})
        state = create_state(self.task, key, batch)
        wide = jnp.result_type(float)  # float64 when JAX runs in 64 bits, for proofs

        def widen(x: jax.Array) -> jax.Array:
            return x.astype(wide) if x.dtype == jnp.float32 else x

        return jax.tree.map(widen, state)

    def _trace_step(self, steps_per_call: int | str) -> None:
        """Traces the step once, as one device of the layout sees it; the compiled call replays its jaxpr."""
        raw = {k: jax.ShapeDtypeStruct((self.batch_size, *s.shape), s.dtype) for k, s in self.spec.items()}
        local = self.layout.local(self.abstract, jax.eval_shape(to_unit, raw))
        step = self._counted(step_function(self.task, self.seed))
        with parallel.tracing_for(self.mesh):
            closed, out = jax.make_jaxpr(step, axis_env=self.layout.axis_env, return_shape=True)(*local)
        self.sum_shapes, self.jaxpr = out[1], closed
        tree, flat_step = jax.tree.structure(out), jaxpr_as_fun(closed)
        self.step = lambda state, batch: jax.tree.unflatten(tree, flat_step(*jax.tree.leaves((state, batch))))
        if steps_per_call == "auto":
            slow = jax.default_backend() == "cpu" and has_convolution(closed.jaxpr)
            steps_per_call = LOOP_STEPS if self.resident and not slow else 1
        if steps_per_call != 1 and not self.resident:
            raise ConfigError(
                f"config.steps_per_call={steps_per_call} needs a set that lives on the device; use 1, or "
                "config.data.resident='always'"
            )
        self.steps_per_call = int(steps_per_call)

    def _counted(self, step: Callable) -> Callable:
        def counted(state: State, batch: Any):
            self.traces["step"] = self.traces.get("step", 0) + 1
            return step(state, batch)

        return counted

    def advance_function(self) -> Callable:
        """`(state, sums, data, source, count) -> (state, sums)`; `source` are indices or a batch, see `source`."""

        def one(state: State, sums: Any, batch: Any):
            state, new = self.step(self.layout.gather(state), self.layout.rowwise(to_unit(batch)))
            return state, jax.tree.map(jnp.add, sums, parallel.sum_devices(new))

        def advance(state: State, sums: Any, data: Any, source: Any, count: jax.Array):
            self.traces["advance"] = self.traces.get("advance", 0) + 1
            if self.steps_per_call == 1:
                return one(state, sums, gather(data, source) if data else source)

            def body(i: jax.Array, carry: Any):
                return one(*carry, gather(data, source[i]) if data else {})

            return lax.fori_loop(0, count, body, (state, sums))

        return advance

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
        zeros = jax.jit(
            lambda: jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), self.sum_shapes), out_shardings=self.replicated
        )
        self._functions["zeros"] = zeros.lower().compile()
        self._functions["advance"] = self.compile_advance()

    def compile_advance(self) -> Callable:
        """Compiles `advance_function`; under jit the result is a `jax.stages.Compiled`."""
        return self.layout.compile(
            self.advance_function(), self.abstract_state, self.shardings, *self.advance_arguments()
        )

    def text(self) -> str:
        """The compiled step as XLA writes it, with the modules that operations come from; "" where nobody knows it."""
        as_text = getattr(self._functions["advance"], "as_text", None)
        return (as_text() or "") if as_text is not None else ""

    def advance_arguments(self) -> tuple[Any, Any, Any, Any]:
        """What `advance_function` takes after the state, abstract: sums, data, source, count."""
        count = jax.ShapeDtypeStruct((), jnp.int32, sharding=self.replicated)
        source = self.layout.abstract_source(self._source_shapes(), self.stacked)
        return self.abstract_sums, abstract_of(self.data.get("train")), source, count

    @property
    def stacked(self) -> bool:
        """Whether a call gets the indices of several steps, [steps, b]."""
        return self.resident and self.steps_per_call > 1

    def _source_shapes(self) -> Any:
        if not self.spec:
            return {}
        if not self.resident:
            return self._batch_shapes(self.batch_size)
        lead = (self.steps_per_call,) if self.stacked else ()
        return jax.ShapeDtypeStruct((*lead, self.batch_size), jnp.int32)

    def _batch_shapes(self, size: int) -> Any:
        return {k: jax.ShapeDtypeStruct((size, *s.shape), s.dtype) for k, s in self.spec.items()}

    def compile_feedback(self, metrics: Mapping[str, jax.Array]) -> Callable:
        """Compiles `on_eval` for these metrics: `(state, metrics) -> (state, stop)`; the state is donated."""
        out_shardings = (self.shardings, self.replicated)
        jitted = jax.jit(self.task.on_eval, donate_argnums=0, out_shardings=out_shardings)
        return jitted.lower(self.abstract_state, abstract_of(metrics)).compile()

    def abstract_tree(self) -> dict[str, Any]:
        """Shapes, dtypes and shardings of what a checkpoint holds."""
        return {"state": self.abstract_state, "sums": self.abstract_sums}

    def create(self) -> State:
        """The state before the first step."""
        return self._functions["create"]()

    def zero_sums(self) -> Any:
        """Fresh running sums, made on the mesh; {} for a task without steps."""
        return self._functions["zeros"]() if self.task.train is not None else {}

    def advance(self, state: State, sums: Any, source: Any, count: int) -> tuple[State, Any]:
        """Makes `count` steps (at most `steps_per_call`); `state` is donated."""
        source = self.layout.put(source, self.stacked)
        count = parallel.replicate(np.int32(count), self.mesh)
        return self._functions["advance"](state, sums, self.data.get("train"), source, count)

    # Evaluations: always jit, whatever a step uses --------------------------------------------------------------------

    def eval_function(self, name: str) -> Callable:
        """`(state, data, source, mask, place) -> outputs` of one evaluation batch; `place` is (step, batch)."""
        whole = self._batch_function(self.task.evals[name], name, "eval")

        def evaluate(*arguments: Any) -> dict:
            def wide(v: Any) -> Any:
                pair = isinstance(v, tuple) and not isinstance(v, Added)
                return tuple(jnp.asarray(x, jnp.result_type(float)) for x in v) if pair else v

            return {k: wide(v) for k, v in whole(*arguments).items()}

        return evaluate

    def pass_function(self, name: str) -> Callable:
        """`(state, data, source, mask, place) -> sums` of one batch of the pass before an evaluation."""
        before = self.task.evals[name].before
        return self._batch_function(before, f"before {before.data}", "pass")

    def _batch_function(self, evaluation: Eval | Pass, name: str, kind: str) -> Callable:
        stream = zlib.crc32(name.encode()) & 0x7FFFFFFF

        def evaluate(state: State, data: Any, source: Any, mask: jax.Array, place: jax.Array):
            key = jax.random.fold_in(jax.random.key(self.seed), stream)
            key = jax.random.fold_in(jax.random.fold_in(key, place[0]), place[1])
            self.traces[kind] = self.traces.get(kind, 0) + 1
            batch = self.jit.rowwise(to_unit(gather(data, source) if data else source))
            batch = {**batch, "mask": mask} if not isinstance(evaluation.data, int) else {}
            with parallel.padded(batch.get("mask")):
                return evaluation.step(state, batch, key)

        return evaluate

    def eval_arguments(self, evaluation: Eval | Pass) -> tuple[Any, Any, Any, Any, Any]:
        """What `eval_function` or `pass_function` takes, abstract: state, data, source, mask, place."""
        size = self.eval_batch_size
        mask = self.jit.abstract_source(jax.ShapeDtypeStruct((size,), jnp.float32), False)
        place = jax.ShapeDtypeStruct((2,), jnp.int32, sharding=self.replicated)
        data = abstract_of(self.data.get(evaluation.data))
        source: Any = {}
        if isinstance(evaluation.data, str):
            source = jax.ShapeDtypeStruct((size,), jnp.int32) if data else self._batch_shapes(size)
        return self.abstract_state, data, self.jit.abstract_source(source, False), mask, place

    def _trace_eval(self, name: str) -> Any:
        """The traced evaluation, which is compiled as it is: what it reports is known without tracing it once more."""
        if name not in self._traced:
            jitted = jax.jit(self.eval_function(name))
            self._traced[name] = jitted.trace(*self.eval_arguments(self.task.evals[name]))
        return self._traced[name]

    def eval_outputs(self, name: str) -> dict[str, Any]:
        """Shapes and dtypes of what one batch of an evaluation gives: pairs of a sum and a weight, and arrays."""
        return self._trace_eval(name).out_info

    def _compile_eval(self, name: str) -> None:
        evaluation = self.task.evals[name]
        self._functions[f"eval {name}"] = self._trace_eval(name).lower().compile()
        if evaluation.before is None:
            return
        with self._lock:  # evaluations that share a pass compile it once
            if id(evaluation.before) not in self._passes:
                jitted = jax.jit(self.pass_function(name))
                compiled = jitted.lower(*self.eval_arguments(evaluation.before)).compile()
                self._passes[id(evaluation.before)] = compiled

    def trace_evaluations(self) -> None:
        """Traces the evaluations and the passes before them, which finds mistakes without the time to compile."""
        for name, evaluation in self.task.evals.items():
            if evaluation.before is not None:
                sums = jax.eval_shape(self.pass_function(name), *self.eval_arguments(evaluation.before))
                jax.eval_shape(evaluation.before.apply, self.abstract_state, sums)
            self._trace_eval(name)

    def evaluate(self, name: str, state: State, source: Any, mask: np.ndarray, step: int, batch: int) -> dict:
        """Outputs of one evaluation batch; its key comes from the seed, the evaluation, the step and the batch."""
        return self._functions[f"eval {name}"](*self._placed(self.task.evals[name], state, source, mask, step, batch))

    def add_up(self, name: str, state: State, source: Any, mask: np.ndarray, step: int, batch: int) -> Any:
        """Sums over one batch of the pass before an evaluation."""
        before = self.task.evals[name].before
        return self._passes[id(before)](*self._placed(before, state, source, mask, step, batch))

    def apply(self, name: str, state: State, sums: Any) -> State:
        """The state that an evaluation sees after its pass, from the sums over all batches, on the host.

        Operation by operation: a compiled function would copy every parameter that it returns unchanged.
        """
        wide = jnp.result_type(float)
        sums = parallel.replicate(jax.tree.map(lambda x: np.asarray(x, wide), sums), self.mesh)
        return jax.device_put(self.task.evals[name].before.apply(state, sums), self.shardings)

    def _placed(self, evaluation: Eval | Pass, state: State, source: Any, mask: Any, step: int, batch: int) -> tuple:
        place = parallel.replicate(np.asarray([step, batch], np.int32), self.mesh)
        source, mask = self.jit.put(source, False), self.jit.put(mask, False)
        return state, self.data.get(evaluation.data), source, mask, place


def _with_sharding(x: Any, sharding: NamedSharding) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
