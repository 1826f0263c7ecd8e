"""Runs a function of JAX operation by operation, so that a method may give some of them another meaning.

A function is traced to its jaxpr, calls inside of it (`jax.jit`, custom derivatives, `jax.checkpoint`) are opened, and
every operation is handed to the method with its operands. What does not depend on the input is computed as it is. So a
method works on any function of JAX, whoever wrote the model, and no model knows of it.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from cvdl_jax.analysis.explain.layers import plain
from cvdl_jax.analysis.logits import LogitsFn
from cvdl_jax.errors import ConfigError

LOOPS = ("scan", "while", "cond")
INNER = ("jaxpr", "call_jaxpr", "fun_jaxpr")  # where an operation keeps what it calls


class Known:
    """A value that does not depend on the input, or only on which side of a threshold it lies.

    Attributes:
        array: the value.
        zero: whether it is 0 everywhere, by how it was made.
        of_input: it is the outcome of a comparison of what depends on the input.
        above: what was compared, where it is `above > 0`.
        platform: it is the number of the platform, for `lax.platform_dependent`, whose last branch fits any.
    """

    def __init__(
        self, array: Any, zero: bool = False, of_input: bool = False, above: Any = None, platform: bool = False
    ) -> None:
        self.array, self.zero, self.of_input, self.above, self.platform = array, zero, of_input, above, platform


class Interpreter:
    """Evaluates a function by a method's meaning of its operations.

    A subclass gives `operation(eqn, operands) -> [results]`, whose operands are `Known` or values of its own kind.
    """

    def operation(self, eqn: Any, operands: Sequence[Any]) -> Sequence[Any]:
        """The results of an operation that depends on the input."""
        raise NotImplementedError

    def opens(self, eqn: Any) -> bool:
        """Whether a call is opened, rather than handed over as one operation."""
        return True

    def run(self, function: Callable[..., Any], x: jax.Array, lifted: Any) -> Any:
        """The function's result, one array, for the input x, for which `lifted` stands."""
        closed = jax.make_jaxpr(plain(function))(x)
        (result,) = self.evaluate(closed.jaxpr, [Known(c) for c in closed.consts], [lifted])
        return result

    def evaluate(self, jaxpr: Jaxpr, consts: Sequence[Any], inputs: Sequence[Any]) -> list[Any]:
        """The results of a jaxpr whose constants and inputs are `Known` or values of the method's kind."""
        values: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

        def read(atom: Any) -> Any:
            if isinstance(atom, Literal):
                return Known(atom.val, zero=np.ndim(atom.val) == 0 and atom.val == 0)
            return values[atom]

        for eqn in jaxpr.eqns:
            operands = [read(atom) for atom in eqn.invars]
            name, inner = eqn.primitive.name, _inner(eqn)
            if name == "cond" and getattr(operands[0], "platform", False):
                inner, name = eqn.params["branches"][-1], "platform_dependent"
            if inner is not None and name not in LOOPS and self.opens(eqn):
                closed = inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())
                results = self.evaluate(closed.jaxpr, [Known(c) for c in closed.consts], operands[-_arity(closed) :])
            elif all(isinstance(operand, Known) for operand in operands):
                results = self._known(eqn, operands)
            else:
                results = self.operation(eqn, operands)
            values.update(zip(eqn.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _known(self, eqn: Any, operands: Sequence[Known]) -> list[Known]:
        arrays = bound(eqn, [operand.array for operand in operands])
        kept = eqn.primitive.name in ("broadcast_in_dim", "convert_element_type", "reshape", "copy", "clamp")
        zero = kept and operands[0].zero
        of_input, above = any(o.of_input for o in operands), operands[0].above if kept else None
        platform = eqn.primitive.name == "platform_index" or (kept and operands[0].platform)
        return [Known(array, zero, of_input, above, platform) for array in arrays]


def _inner(eqn: Any) -> ClosedJaxpr | Jaxpr | None:
    """What an operation calls, if it is one jaxpr."""
    inner = [eqn.params[name] for name in INNER if isinstance(eqn.params.get(name), ClosedJaxpr | Jaxpr)]
    return inner[0] if inner else None


def _arity(closed: ClosedJaxpr) -> int:
    return len(closed.jaxpr.invars) or -1_000_000  # [-0:] would be all


def bound(eqn: Any, arrays: Sequence[Any]) -> list[Any]:
    """The results of an operation as JAX computes them, of other operands."""
    how = eqn.primitive.get_bind_params(eqn.params)
    functions, params = how if isinstance(how, tuple) else ((), how)  # as versions of JAX have it
    out = eqn.primitive.bind(*functions, *arrays, **params)
    return list(out) if eqn.primitive.multiple_results else [out]


def _calls(eqn: Any) -> list[Jaxpr]:
    """The jaxprs inside of an operation."""
    parts = [part for value in eqn.params.values() for part in (value if isinstance(value, tuple | list) else (value,))]
    inside = [part for part in parts if isinstance(part, ClosedJaxpr | Jaxpr)]
    return [part.jaxpr if isinstance(part, ClosedJaxpr) else part for part in inside]


ELEMENTWISE = frozenset((
    "add", "sub", "mul", "div", "neg", "abs", "sign", "max", "min", "clamp", "exp", "exp2", "expm1", "log", "log1p",
    "sqrt", "rsqrt", "square", "integer_pow", "pow", "tanh", "logistic", "erf", "erfc", "sin", "cos", "select_n", "gt",
    "ge", "lt", "le", "eq", "ne", "and", "or", "not", "convert_element_type", "broadcast_in_dim", "copy",
))  # fmt: skip


def is_activation(eqn: Any) -> bool:
    """Whether a call computes each number of its one result from one number: an activation function of `jax.nn`."""
    if _inner(eqn) is None or len(eqn.outvars) != 1:
        return False
    shape = eqn.outvars[0].aval.shape
    arrays = [atom for atom in eqn.invars if not isinstance(atom, Literal) and atom.aval.shape]
    return len(arrays) == 1 and arrays[0].aval.shape == shape and _by_element(eqn, shape)


def _by_element(eqn: Any, shape: tuple[int, ...]) -> bool:
    inner = _inner(eqn)
    if inner is None:
        return eqn.primitive.name in ELEMENTWISE and all(v.aval.shape in ((), shape) for v in eqn.outvars)
    jaxpr = inner.jaxpr if isinstance(inner, ClosedJaxpr) else inner
    scalars = all(np.ndim(c) == 0 for c in getattr(inner, "consts", ()))
    return scalars and all(_by_element(one, shape) for one in jaxpr.eqns)


def names_in(eqn: Any) -> set[str]:
    """The names of an operation and of all inside of it."""
    return {eqn.primitive.name} | {name for jaxpr in _calls(eqn) for inner in jaxpr.eqns for name in names_in(inner)}


def no_rule(method: str, eqn: Any, why: str = "") -> ConfigError:
    """What to say where a method has no rule for an operation."""
    return ConfigError(
        f"{method} has no rule for {eqn.primitive.name!r}{why}; it explains networks of convolutions, dense layers, "
        "batch normalisation in evaluation, residual sums, pooling, and ReLU, leaky ReLU, tanh or sigmoid: use "
        "integrated_gradients for others"
    )


def target_score(logits: jax.Array, target: jax.Array) -> jax.Array:
    """The sum over rows of the score of each row's class."""
    return jax.numpy.take_along_axis(logits.astype(jax.numpy.float32), target[:, None], 1).sum()


class Rewritten:
    """A function under another meaning of its operations; equal to others of the same function and meaning.

    Attributes:
        function: as it was.
        meaning: a hashable that gives an interpretation, `meaning(function, x) -> result`.
    """

    def __init__(self, function: LogitsFn, meaning: Callable[[LogitsFn, jax.Array], jax.Array]) -> None:
        self.function_before, self.meaning = plain(function), meaning

    def __call__(self, x: jax.Array) -> jax.Array:
        """As the function, x [b, ...] -> [b, k]."""
        return self.meaning(self.function_before, x)

    def __eq__(self, other: object) -> bool:
        """Whether both would compute the same."""
        return isinstance(other, Rewritten) and (self.function_before, self.meaning) == (
            other.function_before, other.meaning,
        )  # fmt: skip

    def __hash__(self) -> int:
        """Of both parts."""
        return hash((self.function_before, self.meaning))
