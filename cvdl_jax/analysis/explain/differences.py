"""DeepLIFT: what a score differs by from that of a reference, handed back by ratios of differences."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from cvdl_jax.analysis.arguments import method
from cvdl_jax.analysis.explain.gradients import baseline_of
from cvdl_jax.analysis.explain.relevance import MOVES
from cvdl_jax.analysis.explain.rewriting import Interpreter, Known, bound, is_activation, no_rule, target_score
from cvdl_jax.analysis.logits import LogitsFn, batch_of, checked_by, in_batches, targets

LINEAR = (*MOVES, "add", "add_any", "sub", "neg", "mul", "div", "dot_general", "conv_general_dilated")
CURVED = (
    "max",
    "min",
    "tanh",
    "logistic",
    "exp",
    "log",
    "log1p",
    "erf",
    "sqrt",
    "rsqrt",
    "square",
    "integer_pow",
    "sin",
)
SMALL = 1e-7  # differences below it: the derivative is their ratio


class _Pair:
    """A value for the input and for the reference."""

    def __init__(self, here: jax.Array, there: jax.Array) -> None:
        self.here, self.there = here, lax.stop_gradient(there)


@jax.custom_vjp
def _rescaled(x: jax.Array, y: jax.Array, multiplier: jax.Array) -> jax.Array:
    return y


def _rescale_backward(multiplier: jax.Array, g: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    return g * multiplier, jnp.zeros_like(g), jnp.zeros_like(multiplier)


_rescaled.defvjp(lambda x, y, multiplier: (y, multiplier), _rescale_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _largest(x: jax.Array, x0: jax.Array, pool: Any) -> jax.Array:
    return pool(x)


def _largest_forward(x: jax.Array, x0: jax.Array, pool: Any) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return pool(x), (x, x0)


def _largest_backward(pool: Any, kept: tuple, g: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A rise goes to the largest of the input, a fall to that of the reference: it is at least as large there."""
    x, x0 = kept
    (y, here), (y0, there) = jax.vjp(pool, x), jax.vjp(pool, x0)
    rise = y - y0
    shares = here(g * jnp.maximum(rise, 0))[0] + there(g * jnp.minimum(rise, 0))[0]
    difference = x - x0
    small = jnp.abs(difference) < SMALL
    return jnp.where(small, here(g)[0], shares / jnp.where(small, 1, difference)), jnp.zeros_like(x0)


_largest.defvjp(_largest_forward, _largest_backward)


class _Differences(Interpreter):
    def opens(self, eqn: Any) -> bool:
        return not is_activation(eqn)

    def operation(self, eqn: Any, operands: Sequence[Any]) -> list[Any]:
        name = eqn.primitive.name
        dependent = [o for o in operands if isinstance(o, _Pair)]
        here = [o.here if isinstance(o, _Pair) else o.array for o in operands]
        there = [o.there if isinstance(o, _Pair) else o.array for o in operands]
        if name in ("reduce_window_max", "reduce_max"):
            pool = _Pool(eqn)
            return [_Pair(_largest(here[0], there[0], pool), pool(there[0]))]
        if (name in CURVED or is_activation(eqn)) and len(dependent) == 1:
            return [self._curved(eqn, operands, here, there)]
        product = name in ("mul", "dot_general", "conv_general_dilated") and len(dependent) > 1
        if name in LINEAR and not product and not (name == "div" and isinstance(operands[1], _Pair)):
            return [_Pair(a, b) for a, b in zip(bound(eqn, here), bound(eqn, there), strict=True)]
        raise no_rule("deeplift", eqn, " of two activations" if len(dependent) > 1 else "")

    def _curved(self, eqn: Any, operands: Any, here: Any, there: Any) -> _Pair:
        at = next(i for i, o in enumerate(operands) if isinstance(o, _Pair))

        def f(z: jax.Array) -> jax.Array:
            return bound(eqn, [*here[:at], z, *here[at + 1 :]])[0]

        z, z0 = lax.stop_gradient(here[at]), there[at]
        (y, slope), y0 = jax.jvp(f, (z,), (jnp.ones_like(z),)), f(z0)
        small = jnp.abs(z - z0) < SMALL
        multiplier = jnp.where(small, slope, (y - y0) / jnp.where(small, 1, z - z0))
        return _Pair(_rescaled(here[at], y, multiplier), y0)


class _Pool:
    """A maximum over windows or axes, as a function of one array."""

    def __init__(self, eqn: Any) -> None:
        self.eqn = eqn

    def __call__(self, x: jax.Array) -> jax.Array:
        return bound(self.eqn, [x])[0]


@partial(jax.jit, static_argnums=0)
def _attributions(logits_fn: LogitsFn, x: jax.Array, reference: jax.Array, target: jax.Array) -> jax.Array:
    def total(x: jax.Array) -> jax.Array:
        result = _Differences().run(logits_fn, x, _Pair(x, reference))
        return target_score(result.array if isinstance(result, Known) else result.here, target)

    return (x - reference) * jax.grad(total)(x)


@method
def deeplift(logits_fn: LogitsFn, x: Any, target: Any = None, baseline: Any = 0.0) -> jax.Array:
    """`(x - x') * m`, m the product along the way of `(f(z) - f(z')) / (z - z')` of every activation function f.

    The rule "rescale": the gradient in which the derivative of each activation function is the slope of its chord
    between the input and the reference. The attributions of an input add up to `S_c(x) - S_c(x')` exactly, in one pass
    forward and back.

    Args:
        logits_fn: any function of JAX whose activations are not multiplied with each other; an activation
            function that JAX keeps as a call has its rule, such as leaky ReLU and SiLU (but not GELU, which it opens).
        x: inputs [b, ...].
        target: c; None for the largest score.
        baseline: the reference x': a number, one input, or one for each row.

    Returns:
        Float array like x.

    Raises:
        ConfigError, DataError: for an operation that has no rule, or a reference of another shape.

    Reference: Shrikumar et al. 2017, "Learning Important Features Through Propagating Activation Differences", section
        3.5.1.
    """
    x = checked_by(logits_fn, x)
    rows = (x, baseline_of(logits_fn, x, baseline), targets(logits_fn(x), target))
    return in_batches(partial(_attributions, logits_fn), batch_of(logits_fn), *rows)
