"""What a program compiles and calls for evaluations, and for the passes over a split that prepare them."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax import padding, parallel
from cvdl_jax.data import to_float
from cvdl_jax.task import Eval, Pass, State


def to_unit(batch: Any) -> Any:
    """A stored batch as the experiments see it: images and features float, pixels in 0..1; the rest as it is."""

    def one(name: str, x: Any) -> Any:
        pixels = x.dtype == jnp.uint8 or jnp.issubdtype(x.dtype, jnp.floating)  # "image/id" holds none
        return to_float.to_unit(x) if name.startswith(("image", "features")) and pixels else x

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


class Evaluating:
    """The part of a `program.Program` that evaluates; always jit, whatever a step uses.

    Attributes:
        splits: {split: Split}, which evaluations may pass over before they begin.
        prepared: the last pass that was made, the state it saw, and the state it made, for the next evaluation.
    """

    splits: Mapping[str, Any] = {}
    prepared: tuple[Pass, State, State] | None = None

    def eval_function(self, name: str) -> Callable:
        """`(state, data, source, mask, place) -> outputs` of one evaluation batch; `place` is (step, batch)."""
        whole = self._batch_function(self.task.evals[name], name, "eval")

        def evaluate(*arguments: Any) -> dict:
            return {
                k: tuple(jnp.asarray(x, jnp.result_type(float)) for x in v) if isinstance(v, tuple) else v
                for k, v in whole(*arguments).items()
            }

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
            with padding.padded(batch.get("mask")):
                return evaluation.step(state, batch, key)

        return evaluate

    def _compile_eval(self, name: str) -> None:
        evaluation = self.task.evals[name]
        jitted = jax.jit(self.eval_function(name))
        self._functions[f"eval {name}"] = jitted.lower(*self.eval_arguments(evaluation)).compile()
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
            jax.eval_shape(self.eval_function(name), *self.eval_arguments(evaluation))

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
