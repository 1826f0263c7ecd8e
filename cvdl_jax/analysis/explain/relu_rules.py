"""Three ways to go back through a ReLU: by its derivative, as a deconvnet does, and guided.

With z the input of `max(0, z)` and g the gradient that comes back to its output, what is handed on is

    plain       g where z > 0
    deconvnet   g where g > 0
    guided      g where z > 0 and g > 0

    gradients.gradient(relu_rules.with_rule(logits_fn, "guided"), x)      # guided back-propagation

All ReLUs of a function are met, those of any model of the zoo and of any other function of JAX: `max(z, 0)`, also as
a part of ReLU6, and `where(z > 0, y, 0)`, in which y is what the gate lets through. Nothing else is changed: activation
functions of JAX that are no ReLU, though they are computed with one, keep their derivatives (`OTHERS`).
"""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.gradients import gradient
from cvdl_jax.analysis.explain.layers import Layer, split
from cvdl_jax.analysis.explain.rewriting import LOOPS, Interpreter, Known, Rewritten, bound, names_in
from cvdl_jax.analysis.logits import Logits, LogitsFn, batch_of, checked_by
from cvdl_jax.errors import ConfigError

Rule = Literal["plain", "deconvnet", "guided"]
OTHERS = frozenset((
    "softplus", "logaddexp", "clip", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh", "elu", "selu", "celu",
    "mish", "sparse_plus", "sparse_sigmoid", "log_sigmoid",
))  # fmt: skip


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def rectified(z: jax.Array, y: jax.Array, rule: str) -> jax.Array:
    """`y where z > 0, else 0`, whose derivative with respect to y follows a rule; z only opens and closes the gate.

    Args:
        z: what is compared with 0.
        y: what passes, like z; z itself for a ReLU.
        rule: "plain", "deconvnet" or "guided".

    Reference: Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", figure 1; Zeiler and
        Fergus 2014, section 2.1, for the deconvnet.
    """
    return jnp.where(z > 0, y, jnp.zeros((), y.dtype))


def _forward(z: jax.Array, y: jax.Array, rule: str) -> tuple[jax.Array, jax.Array]:
    return rectified(z, y, rule), z > 0


def _backward(rule: str, opened: jax.Array, g: jax.Array) -> tuple[None, jax.Array]:
    passes = {"plain": opened, "deconvnet": g > 0, "guided": opened & (g > 0)}[rule]
    return None, jnp.where(passes, g, jnp.zeros((), g.dtype))


rectified.defvjp(_forward, _backward)


class _Array:
    """A value that depends on the input."""

    def __init__(self, array: jax.Array) -> None:
        self.array = array


class _Rules(Interpreter):
    def __init__(self, rule: str) -> None:
        self.rule, self.count = rule, 0

    def opens(self, eqn: Any) -> bool:
        return bool(names_in(eqn) & {"max", "select_n"}) and eqn.params.get("name") not in OTHERS

    def operation(self, eqn: Any, operands: Any) -> list[Any]:
        name, arrays = eqn.primitive.name, [operand.array for operand in operands]
        if name in LOOPS and "max" in names_in(eqn):
            raise ConfigError(f"a ReLU inside of a loop ({name}) keeps its derivative; unroll it, or use smoothgrad")
        if name == "max" and any(_is_zero(operand) for operand in operands):
            self.count += 1
            z = arrays[1] if _is_zero(operands[0]) else arrays[0]
            return [_Array(rectified(z, z, self.rule))]
        if name == "select_n" and _above(operands[0]) is not None and _is_zero(operands[1]) and len(operands) == 3:
            self.count += 1
            return [_Array(rectified(_above(operands[0]), jnp.asarray(arrays[2]), self.rule))]
        if name in ("gt", "ge") and _is_zero(operands[1]):
            return [Known(bound(eqn, arrays)[0], of_input=True, above=arrays[0])]
        return [_Array(array) for array in bound(eqn, arrays)]


def _is_zero(value: Any) -> bool:
    return isinstance(value, Known) and value.zero


def _above(value: Any) -> Any:
    return value.above if isinstance(value, Known) else None


class _Ruled:
    """The meaning of a function under a rule."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def __call__(self, function: LogitsFn, x: jax.Array) -> jax.Array:
        rules = _Rules(self.rule)
        result = rules.run(function, x, _Array(x))
        if not rules.count:
            raise ConfigError(
                f"the {self.rule} rule is one for ReLUs, and this function has none; use smoothgrad or "
                "integrated_gradients, which need no ReLU"
            )
        return result.array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Ruled) and self.rule == other.rule

    def __hash__(self) -> int:
        return hash(self.rule)


@method
def with_rule(logits_fn: LogitsFn, rule: Rule) -> Logits:
    """The same function, the gradients of whose ReLUs follow a rule.

    Args:
        logits_fn: any function of JAX.
        rule: "plain", "deconvnet" or "guided".

    Returns:
        A function with the batch size and the checks of `logits_fn`. Called, it raises ConfigError for one without a
        ReLU.
    """
    function, like = Rewritten(logits_fn, _Ruled(rule)), logits_fn
    if not isinstance(like, Logits):
        return Logits(function, low=None, high=None)
    rest = (like.batch_size, like.shape, like.low, like.high, like.class_names, like.probabilities)
    return Logits(function, *rest)


def guided_backpropagation(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """`d S_c / d x` where each ReLU hands on the gradient only where its input and the gradient are positive.

    Args:
        logits_fn: any function of JAX with ReLUs.
        x: inputs [b, ...].
        target: c; None for the largest score.

    Returns:
        Float array like x. It shows edges sharply and depends little on the class (`faithfulness.py`).

    Raises:
        ConfigError: for a function without a ReLU.

    Reference: Springenberg et al. 2015, section 3.4.
    """
    return gradient(with_rule(logits_fn, "guided"), x, target)


def deconvnet(logits_fn: LogitsFn, x: Any, target: Any = None) -> jax.Array:
    """`d S_c / d x` where each ReLU hands on the gradient where that is positive, whatever its input was.

    Args:
        logits_fn: any function of JAX with ReLUs.
        x: inputs [b, ...].
        target: c; None for the largest score.

    Returns:
        Float array like x.

    Raises:
        ConfigError: for a function without a ReLU.

    Reference: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 2.1.
    """
    return gradient(with_rule(logits_fn, "deconvnet"), x, target)


class _Neuron:
    """One number of a layer as a function of the input, [b, ...] -> [b, 1]."""

    def __init__(self, run: Any, place: tuple[int, ...]) -> None:
        self.run, self.place = run, place

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.run(x, None)[1][(slice(None), *self.place)][:, None]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Neuron) and (self.run, self.place) == (other.run, other.place)

    def __hash__(self) -> int:
        return hash((self.run, self.place))


@method
def neuron_gradient(logits_fn: LogitsFn, x: Any, layer: Layer, neuron: Any, rule: Rule = "plain") -> jax.Array:
    """`d a[neuron] / d x`: the gradient at a layer is 1 at one neuron and 0 at all others, and goes back to the image.

    Args:
        logits_fn: see `layers.split`.
        x: inputs [b, ...].
        layer: whose neuron it is.
        neuron: its place in one output of the layer: (row, column, channel) of a map, a unit of a dense layer.
        rule: of the ReLUs on the way.

    Returns:
        Float array like x.

    Raises:
        ConfigError: for a layer or neuron that does not exist.

    Reference: Zeiler and Fergus 2014, section 2.1; Springenberg et al. 2015, section 3.4.
    """
    x = checked_by(logits_fn, x)
    cut, place = split(logits_fn, x[:1], layer), tuple(int(i) for i in np.atleast_1d(neuron))
    shape = cut.shape[1:]
    if len(place) != len(shape) or not all(0 <= i < n for i, n in zip(place, shape, strict=True)):
        raise ConfigError(
            f"neuron={place} is not one of the layer {cut.name!r}, which gives {list(shape)} for an input"
        )
    of_neuron = Logits(_Neuron(cut.run, place), batch_of(logits_fn), low=None, high=None)
    return gradient(of_neuron if rule == "plain" else with_rule(of_neuron, rule), x, 0)
