"""Layers of a function: what they give, and the scores as a function of that.

Where `logits_fn` runs a Flax model, whoever wrote it, a layer is a module's name: "conv1", "stage2/block0". Of any
other function it is a pair of functions (features, head), `logits_fn(x) = head(features(x))`.

    activations(logits_fn, x)                   # {"conv0": [b, h, w, c], ...} of every module, in order
    split(logits_fn, x, "conv1")                # the function, cut there

Models that run inside a loop or `nn.remat` are not seen: their arrays do not exist outside of it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.extend.core import get_opaque_trace_state

from cvdl_jax.analysis.logits import Logits, LogitsFn, batch_of, in_batches
from cvdl_jax.errors import ConfigError, nearest

Layer = str | tuple[Callable[[jax.Array], jax.Array], Callable[[jax.Array], jax.Array]]
INSTEAD = (
    "use attention_rollout (--method rollout) where it is a vision transformer, or a method that needs no maps: "
    "integrated_gradients (ig), smoothgrad, occlusion or shapley"
)


def plain(logits_fn: LogitsFn) -> LogitsFn:
    """The function itself, below `Logits` and `jax.jit`, which would not trace it again for one who looks inside."""
    while True:
        inner = logits_fn.function if isinstance(logits_fn, Logits) else getattr(logits_fn, "__wrapped__", None)
        if inner is None:
            return logits_fn
        logits_fn = inner


class _Reached(Exception):
    """The layer's output is there; what comes after it is not run."""


class _Watch:
    """Interceptor of Flax modules: notes their outputs, and adds to one of them."""

    def __init__(self, name: str = "", call: int = -1, delta: jax.Array | None = None, stop: bool = False) -> None:
        self.name, self.call, self.delta, self.stop = name, call, delta, stop
        self.seen: dict[str, list[jax.Array]] = {}
        self.order: list[str] = []
        self.trace = get_opaque_trace_state(convention="flax")

    def __call__(self, call: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
        out = call(*args, **kwargs)
        name = "/".join(context.module.path)
        first = out[0] if isinstance(out, tuple) and out else out
        here = get_opaque_trace_state(convention="flax") == self.trace
        if context.method_name != "__call__" or not name or not isinstance(first, jax.Array) or not here:
            return out
        arrays = self.seen.setdefault(name, [])
        if name == self.name and len(arrays) == self.call and self.delta is not None:
            first = first + self.delta.astype(first.dtype)
            out = (first, *out[1:]) if isinstance(out, tuple) else first
        if name == self.name and len(arrays) == self.call and self.stop:
            raise _Reached(first)
        arrays.append(first)
        self.order = [known for known in self.order if known != name] + [name]
        return out


def shapes(logits_fn: LogitsFn, x: jax.Array) -> dict[str, tuple[int, ...]]:
    """The shapes of what every module gives for x, in the order in which they end; nothing is computed.

    Args:
        logits_fn: runs a Flax model; {} for a function that runs none.
        x: inputs [b, ...].
    """
    watch = _watched(logits_fn, x)
    return {name: watch.seen[name][-1].shape for name in watch.order}


def _watched(logits_fn: LogitsFn, x: jax.Array) -> _Watch:
    made = []

    def run(x: jax.Array) -> jax.Array:
        watch = _Watch()
        made.append(watch)
        with nn.intercept_methods(watch):
            return plain(logits_fn)(x)

    jax.eval_shape(run, x)
    return made[-1]


class Split(NamedTuple):
    """A function cut at a layer.

    Attributes:
        name: of the layer, for messages.
        run: `(x, delta) -> (logits, a)`, a the layer's output plus delta; a last call's where it is called twice.
        shape: of the layer's output for the x it was made for.
    """

    name: str
    run: Callable[[jax.Array, jax.Array | None], tuple[jax.Array, jax.Array]]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _OfModule:
    """Equal for equal functions and layers, so that what is compiled for one is compiled once."""

    function: LogitsFn
    name: str
    call: int

    def __call__(self, x: jax.Array, delta: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        watch = _Watch(self.name, self.call, delta)
        with nn.intercept_methods(watch):
            logits = self.function(x)
        return logits, watch.seen[self.name][self.call]


@dataclass(frozen=True)
class _OfPair:
    features: Callable[[jax.Array], jax.Array]
    head: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array, delta: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        a = self.features(x)
        a = a if delta is None else a + delta.astype(a.dtype)
        return self.head(a), a


def split(logits_fn: LogitsFn, x: jax.Array, layer: Layer) -> Split:
    """Cuts a function at a layer.

    Args:
        logits_fn: any function of JAX; one that runs a Flax model, for a layer by name.
        x: inputs [b, ...], for their shape.
        layer: a module's name, or (features, head).

    Raises:
        ConfigError: for a layer that does not exist, with the nearest names.
    """
    pair_given = isinstance(layer, tuple) and len(layer) == 2 and all(callable(part) for part in layer)
    if not isinstance(layer, str) and not pair_given:
        raise ConfigError(f"layer={layer!r}: give the name of a module, or (features, head), a pair of functions")
    if not isinstance(layer, str):
        pair = _OfPair(*layer)
        return Split("(features, head)", pair, jax.eval_shape(pair.features, x).shape)
    watch = _watched(logits_fn, x)
    if layer not in watch.seen:
        if not watch.seen:
            raise ConfigError(
                f"layer={layer!r}: this function runs no Flax model that can be seen; give layer=(features, head), two "
                "functions with logits_fn(x) = head(features(x))"
            )
        raise ConfigError(f"layer={layer!r} does not exist; {nearest(layer, watch.seen)}")
    arrays = watch.seen[layer]
    return Split(layer, _OfModule(plain(logits_fn), layer, len(arrays) - 1), arrays[-1].shape)


def last_map(logits_fn: LogitsFn, x: jax.Array) -> str:
    """The name of the last layer that gives maps [b, h, w, c] with more than one pixel.

    Raises:
        ConfigError: for a function without one, or whose maps are only the patches of which tokens are made.
    """
    sizes = shapes(logits_fn, x)
    maps = [name for name, s in sizes.items() if len(s) == 4 and s[1] * s[2] > 1 and s[0] == len(x)]
    after = list(sizes.values())[list(sizes).index(maps[-1]) + 1 :] if maps else []
    if not maps or any(len(s) == 3 and s[0] == len(x) and s[1] > 1 for s in after):
        why = "its last layers give tokens [b, t, d]" if maps else "none of its layers gives maps"
        raise ConfigError(f"this function has no feature maps [b, h, w, c] before its scores, {why}; {INSTEAD}")
    return maps[-1]


def split_at_maps(logits_fn: LogitsFn, x: jax.Array, layer: Layer | None) -> Split:
    """As `split`, of a layer that gives maps [b, h, w, c]; the last one by default.

    Raises:
        ConfigError: for a layer that gives something else.
    """
    cut = split(logits_fn, x, last_map(logits_fn, x) if layer is None else layer)
    if len(cut.shape) != 4 or cut.shape[0] != len(x):
        raise ConfigError(
            f"layer={cut.name!r} gives {list(cut.shape)}, not one map [h, w, c] for each input; {INSTEAD}"
        )
    return cut


@dataclass(frozen=True)
class _Until:
    """A function as far as a module: x -> its output."""

    function: LogitsFn
    name: str
    call: int

    def __call__(self, x: jax.Array) -> jax.Array:
        try:
            with nn.intercept_methods(_Watch(self.name, self.call, stop=True)):
                self.function(x)
        except _Reached as reached:
            return reached.args[0]
        raise ConfigError(f"layer={self.name!r} is not reached for inputs {list(x.shape)}")


def reach(logits_fn: LogitsFn, x: jax.Array, layer: Layer) -> Callable[[jax.Array], jax.Array]:
    """`x -> output of the layer`, without what comes after it, so that a head for one size does not mind another.

    Args:
        logits_fn: see `split`.
        x: inputs [b, ...] of a size that the whole function takes.
        layer: see `split`.

    Raises:
        ConfigError: for a layer that does not exist, with the nearest names.
    """
    run = split(logits_fn, x, layer).run
    return run.features if isinstance(run, _OfPair) else _Until(run.function, run.name, run.call)


@partial(jax.jit, static_argnums=(0, 1))
def _all(logits_fn: LogitsFn, names: tuple[str, ...], x: jax.Array) -> dict[str, jax.Array]:
    watch = _Watch()
    with nn.intercept_methods(watch):
        logits_fn(x)
    return {name: watch.seen[name][-1] for name in names}


def activations(logits_fn: LogitsFn, x: jax.Array, layers: Sequence[str] = ()) -> Mapping[str, jax.Array]:
    """What layers of a Flax model give: {name: [b, ...]}, those of one's last call where it is called twice.

    Args:
        logits_fn: runs the model.
        x: inputs [b, ...].
        layers: names; all by default, in the order in which they end.

    Raises:
        ConfigError: for a layer that does not exist, with the nearest names.
    """
    sizes = shapes(logits_fn, x)
    for name in layers:
        split(logits_fn, x, name)
    names = tuple(layers) or tuple(name for name, s in sizes.items() if s[:1] == (len(x),))
    values = in_batches(partial(_all, plain(logits_fn), names), batch_of(logits_fn), x)
    return {name: values[name] for name in names}


@partial(jax.jit, static_argnums=0)
def _features(run: Callable, x: jax.Array) -> jax.Array:
    return run(x, None)[1]


def features(logits_fn: LogitsFn, x: jax.Array, layer: Layer) -> jax.Array:
    """What one layer gives, [b, ...]; see `split`."""
    return in_batches(partial(_features, split(logits_fn, x[:1], layer).run), batch_of(logits_fn), x)
