"""Looks inside models that run through `nn/apply.py`, without a change to any of them and at no cost when nobody looks.

    with observing() as seen:
        outputs = evaluation_step(state, batch, key)     # calls apply_eval
    seen["dense0"]["output"]                             # [array [b, units]], once for each call of the layer

Seen are the outputs of every dense, convolution and normalisation layer, the "weights" [b, h, n, m] of every attention
layer, and the inputs z of every activation function that was made by `nn.activations.activation`, with g'(z). A model
that is run inside a loop or another transformation of JAX is not seen: its arrays do not exist outside of it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict
from jax.extend.core import get_opaque_trace_state

from cvdl_jax.core import trace_context
from cvdl_jax.nn.batch_norm import BatchNorm
from cvdl_jax.nn.conv import ConvTranspose

Seen = dict[str, dict[str, list[jax.Array]]]  # {layer: {"output", "weights", or "input" and "slope": an array a call}}
COLLECTION = "diagnostics"  # of Flax variables; it exists only while somebody looks
NORMS = (BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm, nn.RMSNorm)
LAYERS = (nn.Dense, nn.DenseGeneral, nn.Conv, ConvTranspose, nn.ConvTranspose, *NORMS)


class Observer(NamedTuple):
    """Who looks: where to put what is seen, and under which transformation of JAX."""

    seen: Seen
    trace: Any


def _trace() -> Any:
    """Which transformation of JAX is at work; arrays made under one mean nothing outside of it."""
    return get_opaque_trace_state(convention="flax")


@contextmanager
def observing() -> Iterator[Seen]:
    """What the models called in this context compute, by layer; filled while they run."""
    seen: Seen = {}
    with trace_context.within(observer=Observer(seen, _trace())):
        yield seen


def looking() -> bool:
    """Whether models called here and now would be seen; a step that only has them in a loop then calls one outside."""
    observer = trace_context.current().observer
    return observer is not None and observer.trace == _trace()


def inside() -> bool:
    """Whether the code being traced belongs to a model that is looked at."""
    return trace_context.current().observed


def apply(module: nn.Module, variables: Any, *args: Any, on: str | None = None, **more: Any) -> Any:
    """`module.apply(variables, *args, **more)`; what its layers compute is noted where somebody looks.

    Args:
        module: any Flax module.
        variables: its collections.
        *args: of its `__call__`.
        on: prefix of the layers' names, where several models share a state.
        **more: likewise.
    """
    if not looking():
        return module.apply(variables, *args, **more)
    seen = trace_context.current().observer.seen
    with trace_context.within(observed=True), nn.intercept_methods(_sow_output):
        out, new = module.apply(variables, *args, mutable=[COLLECTION], **more)
    for path, arrays in flatten_dict(new.get(COLLECTION, {})).items():
        layer = "/".join(([on] if on else []) + [_layer_name(part) for part in path[:-1]])
        seen.setdefault(layer, {}).setdefault(path[-1], []).extend(arrays)
    return out


def _layer_name(part: str) -> str:
    """The name of a module; "Activation_0", as Flax calls it, is "activation0"."""
    return part.lower().replace("_", "") if part.startswith("Activation_") else part


def _sow_output(call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
    out = call(*args, **kwargs)
    if context.method_name == "__call__" and isinstance(context.module, LAYERS):
        context.module.sow(COLLECTION, "output", out)
    return out


class Activation(nn.Module):
    """Gives an activation function a place in the tree of modules, where it can be looked at."""

    @nn.compact
    def __call__(self, z: jax.Array, slope: jax.Array) -> None:
        """Args: z float [..., units], the function's input; slope: its derivative there."""
        self.sow(COLLECTION, "input", z)
        self.sow(COLLECTION, "slope", slope)
