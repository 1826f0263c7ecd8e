"""Layer-wise relevance propagation: a score is handed back from layer to layer, and nothing is lost on the way.

A network is cut where something other than a weighted sum happens: at its activation functions and max pooling. Between
two cuts `z_k = sum_j a_j w_jk + b_k`, whatever it is written as: a convolution with the batch normalisation behind it,
average pooling, a residual sum. Of `R_k`, the relevance of z_k, input j gets

    epsilon      R_j = sum_k a_j w_jk / (z_k + epsilon sign z_k) R_k
    gamma        R_j = sum_k a_j (w_jk + gamma w_jk+) / (z_k + gamma (sum_j a_j w_jk+ + b_k+)) R_k
    alpha_beta   R_j = sum_k (alpha (a_j w_jk)+ / Z_k+ - beta (a_j w_jk)- / Z_k-) R_k,  alpha - beta = 1

and a bias keeps its own share. Activation functions hand relevance on as it is, max pooling to the largest. What is
computed is `c = R / a`, by automatic differentiation in which every cut has the derivative of its rule; so the rules
hold for any function of JAX that is made of convolutions, dense layers, batch normalisation in evaluation, sums,
pooling, and ReLU, ReLU6, leaky ReLU, tanh or sigmoid: LeNet-5, AlexNet, VGG, the all-convolutional nets, ResNets. Gates
(GELU, squeeze-and-excitation) and attention multiply activations and have no rule; that is said, with the operation.

Reference: Bach et al. 2015, "On Pixel-Wise Explanations for Non-Linear Classifier Decisions by Layer-Wise Relevance
    Propagation"; Montavon et al. 2019, "Layer-Wise Relevance Propagation: An Overview", sections 10.2.1 and 10.2.3.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.rewriting import Interpreter, Known, bound, no_rule, target_score
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches, targets
from cvdl_jax.config.binding import NotNegative
from cvdl_jax.errors import ConfigError

Rules = Literal["epsilon", "gamma", "alpha_beta"]
# Operations that are linear in each operand by itself and only move, copy or sum numbers
MOVES = (
    "reshape", "transpose", "broadcast_in_dim", "squeeze", "expand_dims", "rev", "slice", "reduce_sum", "copy",
    "reduce_window_sum", "convert_element_type", "pad", "concatenate", "dynamic_slice", "gather", "sharding_constraint",
    "optimization_barrier", "device_put", "reduce_precision", "copy_p", "split",
)  # fmt: skip
COMPARISONS = ("gt", "ge", "lt", "le", "eq", "ne", "sign", "argmax", "is_finite")
PRODUCTS = ("mul", "dot_general", "conv_general_dilated")
LARGEST = ("reduce_window_max", "reduce_max", "max", "min", "reduce_window_min", "reduce_min")
SQUASHING = ("tanh", "logistic")
BOUNDING = ("max", "min", "clamp")  # with numbers that are known: ReLU, ReLU6, clip


class Flow(NamedTuple):
    """A sum that is not finished: what adds to it, what takes from it, and what does not depend on the input."""

    pos: jax.Array
    neg: jax.Array
    bias: jax.Array

    @property
    def value(self) -> jax.Array:
        """What the network computes here."""
        return self.pos + self.neg + self.bias


class _Rule(NamedTuple):
    """A rule and its numbers."""

    name: str
    number: float  # epsilon, gamma or beta


def _divided(x: jax.Array, by: jax.Array) -> jax.Array:
    return jnp.where(by == 0, 0, x / jnp.where(by == 0, 1, by))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _finished(rule: _Rule, pos: jax.Array, neg: jax.Array, bias: jax.Array) -> jax.Array:
    return pos + neg + bias


def _finish_forward(rule: _Rule, pos: jax.Array, neg: jax.Array, bias: jax.Array) -> tuple[jax.Array, tuple]:
    return pos + neg + bias, (pos, neg, bias)


def _finish_backward(rule: _Rule, sums: tuple, c: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """From `c = R / z` to what each contribution is multiplied with; see the rules above."""
    pos, neg, bias = sums
    z = pos + neg + bias
    relevance = c * z
    gain, loss = pos + jnp.maximum(bias, 0), neg + jnp.minimum(bias, 0)
    if rule.name == "alpha_beta":
        of_pos = (1 + rule.number) * _divided(relevance, gain)
        return of_pos, -rule.number * _divided(relevance, loss), jnp.zeros_like(bias)
    if rule.name == "gamma":  # of a negative z, what made it negative is favoured
        share = _divided(relevance, z + rule.number * jnp.where(z >= 0, gain, loss))
        more = 1 + rule.number
        return jnp.where(z >= 0, more, 1) * share, jnp.where(z >= 0, 1, more) * share, jnp.zeros_like(bias)
    rest = tuple(range(1, z.ndim))
    size = jnp.sqrt((z**2).mean(rest, keepdims=True)) if rule.number else jnp.zeros_like(z)
    share = _divided(relevance, z + rule.number * size * jnp.where(z >= 0, 1, -1)) if rule.number else c
    return share, share, jnp.zeros_like(bias)


_finished.defvjp(_finish_forward, _finish_backward)


@jax.custom_vjp
def _squashed(z: jax.Array, y: jax.Array) -> jax.Array:
    return y


def _squash_backward(kept: tuple, c: jax.Array) -> tuple[jax.Array, jax.Array]:
    z, y = kept
    return _divided(c * y, z), jnp.zeros_like(y)


_squashed.defvjp(lambda z, y: (y, (z, y)), _squash_backward)


class _Relevance(Interpreter):
    def __init__(self, rule: _Rule) -> None:
        self.rule = rule

    def lifted(self, a: jax.Array) -> Flow:
        """The beginning of new sums."""
        nothing = jnp.zeros_like(a)
        return Flow(jnp.maximum(a, 0), jnp.minimum(a, 0), nothing)

    def finished(self, flow: Flow) -> jax.Array:
        """The end of a sum: its value, whose relevance the rule divides."""
        return _finished(self.rule, *flow)

    def operation(self, eqn: Any, operands: Sequence[Any]) -> list[Any]:
        name = eqn.primitive.name
        if name in COMPARISONS:
            return [Known(r, of_input=True) for r in bound(eqn, [lax.stop_gradient(_value(o)) for o in operands])]
        if name == "stop_gradient":
            return [Known(lax.stop_gradient(_value(o)), of_input=True) for o in operands]
        if name == "select_n":
            return [self._selected(eqn, operands)]
        if name in BOUNDING and sum(isinstance(o, Flow) for o in operands) == 1:
            values = [self.finished(o) if isinstance(o, Flow) else o.array for o in operands]
            z = next(v for v, o in zip(values, operands, strict=True) if isinstance(o, Flow))
            return [self.lifted(_squashed(z, lax.stop_gradient(bound(eqn, values)[0])))]
        if name in LARGEST:
            values = [self.finished(o) if isinstance(o, Flow) else o.array for o in operands]
            return [self.lifted(r) for r in bound(eqn, values)]
        if name in SQUASHING:
            z = self.finished(operands[0])
            return [self.lifted(_squashed(z, lax.stop_gradient(bound(eqn, [z])[0])))]
        return _linear(eqn, operands)

    def _selected(self, eqn: Any, operands: Sequence[Any]) -> Flow:
        """Where the input decides, sums end; a choice that is known moves them as they are."""
        which, cases = operands[0], operands[1:]
        if isinstance(which, Flow):
            raise no_rule("lrp", eqn)
        if which.of_input:
            values = [self.finished(o) if isinstance(o, Flow) else o.array for o in cases]
            return self.lifted(bound(eqn, [which.array, *values])[0])
        flows = [o if isinstance(o, Flow) else _constant(o.array) for o in cases]
        return Flow(*(bound(eqn, [which.array, *parts])[0] for parts in zip(*flows, strict=True)))


def _value(operand: Any) -> Any:
    return operand.value if isinstance(operand, Flow) else operand.array


def _constant(array: Any) -> Flow:
    array = jnp.asarray(array)
    return Flow(jnp.zeros_like(array), jnp.zeros_like(array), array)


def _linear(eqn: Any, operands: Sequence[Any]) -> list[Flow]:
    """Operations that are linear in what depends on the input, on its three parts."""
    name = eqn.primitive.name
    flows = [o for o in operands if isinstance(o, Flow)]
    if name == "neg":
        flow = flows[0]
        return [Flow(-flow.neg, -flow.pos, -flow.bias)]
    if name in ("add", "add_any", "sub"):
        a, b = (o if isinstance(o, Flow) else _constant(o.array) for o in operands)
        b = Flow(-b.neg, -b.pos, -b.bias) if name == "sub" else b
        shape = jnp.broadcast_shapes(a.bias.shape, b.bias.shape)
        return [Flow(*(jnp.broadcast_to(p + q, shape) for p, q in zip(a, b, strict=True)))]
    if name in PRODUCTS and len(flows) == 1:
        return [_product(eqn, operands)]
    if name == "div" and isinstance(operands[0], Flow) and isinstance(operands[1], Known):
        flow, by = operands[0], operands[1].array
        swapped = [(flow.pos / by, flow.neg / by), (flow.neg / by, flow.pos / by)]
        pos, neg = (jnp.where(by >= 0, p, q) for p, q in zip(*swapped, strict=True))
        return [Flow(pos, neg, flow.bias / by)]
    if name in MOVES:
        lifted = name in ("concatenate", "optimization_barrier")  # whose constants are parts of the result
        parts = [
            [
                getattr(o, part) if isinstance(o, Flow)
                else getattr(_constant(o.array), part) if lifted or (name == "pad" and i == 1 and part == "bias")
                else jnp.zeros_like(o.array) if name == "pad" and i == 1
                else o.array
                for i, o in enumerate(operands)
            ]
            for part in Flow._fields
        ]  # fmt: skip
        results = [bound(eqn, arrays) for arrays in parts]
        return [Flow(*group) for group in zip(*results, strict=True)]
    raise no_rule("lrp", eqn, " of two activations" if len(flows) > 1 else "")


def _product(eqn: Any, operands: Sequence[Any]) -> Flow:
    """A product with weights: positive ones keep the sign of what they multiply, negative ones turn it."""
    at = next(i for i, o in enumerate(operands) if isinstance(o, Flow))
    flow, weights = operands[at], jnp.asarray(operands[1 - at].array)

    def product(part: jax.Array, w: jax.Array) -> jax.Array:
        return bound(eqn, [part, w] if at == 0 else [w, part])[0]

    up, down = jnp.maximum(weights, 0), jnp.minimum(weights, 0)
    return Flow(
        product(flow.pos, up) + product(flow.neg, down), product(flow.pos, down) + product(flow.neg, up),
        product(flow.bias, weights),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def _relevance(logits_fn: LogitsFn, rule: _Rule, x: jax.Array, target: jax.Array) -> jax.Array:
    def total(x: jax.Array) -> jax.Array:
        method = _Relevance(rule)
        result = method.run(logits_fn, x, method.lifted(x))
        return target_score(method.finished(result), target)

    return x * jax.grad(total)(x)


@method
def lrp(
    logits_fn: LogitsFn,
    x: Any,
    target: Any = None,
    rule: Rules = "epsilon",
    epsilon: NotNegative = 0.25,
    gamma: NotNegative = 0.25,
    beta: NotNegative = 0.0,
) -> jax.Array:
    """The relevance of every number of the input for the score of a class, by one rule for all layers.

    The relevances add up to `S_c`, less what biases and epsilon have kept: exactly S_c for a network without biases
    under gamma, alpha_beta with beta = 0, and epsilon = 0, which gives gradient x input where activations are ReLUs.

    Args:
        logits_fn: any function of JAX that is made of what the module names.
        x: inputs [b, ...].
        target: c; None for the largest score.
        rule: see the module.
        epsilon: of the epsilon rule, as a share of the root mean square of each example's z in a layer.
        gamma: how much positive contributions are favoured.
        beta: share of what speaks against; alpha = 1 + beta.

    Returns:
        Float array like x.

    Raises:
        ConfigError: for an operation that has no rule.

    Reference: see the module; Bach et al. 2015, equations 58 and 60.
    """
    numbers = {"epsilon": (epsilon, 0.25), "gamma": (gamma, 0.25), "alpha_beta": (beta, 0.0)}
    for other, (number, default) in numbers.items():
        if other != rule and number != default:
            raise ConfigError(
                f"lrp: {number} is of rule={other!r}, without effect under rule={rule!r}; set the rule, too"
            )
    x, number = checked_by(logits_fn, x), numbers[rule][0]
    compiled = partial(_relevance, logits_fn, _Rule(rule, float(number)))
    return in_batches(compiled, batch_of(logits_fn), x, targets(logits_fn(x), target))
