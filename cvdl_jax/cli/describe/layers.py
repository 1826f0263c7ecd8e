"""The layers of a model in the order of computation: type, output shape, kernel, parameters, multiply-accumulates."""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
from jax.extend.core import jaxprs_in_params

from cvdl_jax.core.counting import equation_macs, loop_length
from cvdl_jax.core.formatting import columns
from cvdl_jax.core.trees import STACKED

_POOLS = {"reduce_window_sum": "avg_pool", "reduce_window_max": "max_pool"}
_MARK = "cvdl_jax call "  # the name of an identity that is put before each call, to find its place again
Path = tuple[str, ...]


class Layer(NamedTuple):
    """One row.

    Attributes:
        name: path of the module, "LeNet/conv0".
        type: name of the module's class, or of the function.
        shape: shape of the output, of one example.
        kernel: "5x5", and dilation or groups where there are any; "" for layers without.
        stride: "2x2"; "" for layers without.
        parameters: number of its own parameters. Those of modules inside it have rows of their own; the type of a
            module that holds others names the arrays that are its own.
        macs: its own multiply-accumulates, for one example.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    kernel: str
    stride: str
    parameters: int
    macs: int


class _Call(NamedTuple):
    path: Path
    module: nn.Module
    shape: tuple[int, ...]
    arrays: dict[str, int]  # its own parameters and their sizes


def trace(init: Callable, *args: Any) -> list[Layer]:
    """The layers of all modules that a function initialises.

    Args:
        init: calls `module.init` on one example, or several modules' in turn, as `Task.init` does.
        *args: arguments of `init`; abstract arrays will do.

    Returns:
        One layer for each module that has parameters or products of its own or drops something, each pooling, and
        each mean over all pixels.
    """
    calls: list[_Call] = []
    roots: list[str] = []  # the outermost module, then those that are applied inside it with parameters given to them

    def probe(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
        if context.method_name != "__call__":
            return call(*args, **kwargs)
        module, is_root = context.module, not context.module.path
        if is_root:
            roots.append(module.name or type(module).__name__)
        place = len(calls)
        calls.append(_Call((), module, (), {}))  # a module comes before those inside it
        out = call(*(_marked(x, place) for x in args), **kwargs)
        variables = module.variables.get("params", {}) if len(roots) == 1 else {}
        own = {name: math.prod(x.shape) for name, x in variables.items() if hasattr(x, "shape")}
        calls[place] = _Call((roots[0], *module.path), module, jax.tree.leaves(out)[0].shape[1:], own)
        if is_root:
            roots.pop()
        return out

    with nn.intercept_methods(probe):
        jaxpr = jax.make_jaxpr(init)(*args).jaxpr
    return _rows(calls, jaxpr)


def _marked(x: Any, place: int) -> Any:
    return checkpoint_name(x, f"{_MARK}{place}") if isinstance(x, jax.Array) else x


def _rows(calls: Sequence[_Call], jaxpr: Any) -> list[Layer]:
    modules = {call.path: call for call in reversed(calls)}  # the first call of each
    macs: dict[Path, int] = dict.fromkeys(modules, 0)
    begins: dict[Path, int] = {}
    copies: dict[Path, int] = {}  # of the parameters of blocks that run as one loop, whose own arrays have no such axis
    placed: list[tuple[int, Layer]] = []
    for place, (stack, equation, times) in enumerate(_equations(jaxpr, (), 1)):
        mark = str(equation.params.get("name", ""))
        if mark.startswith(_MARK):
            begins.setdefault(calls[int(mark.removeprefix(_MARK))].path, place)
        path = next((stack[:n] for n in range(len(stack), 0, -1) if stack[:n] in modules), None)
        if path is None:
            continue
        macs[path] += times * equation_macs(equation)
        if any(part.endswith(STACKED) for part in path):
            copies[path] = max(times, copies.get(path, 1))  # initialisers run outside of the loop
        layer = _function(equation, path, modules)
        if layer is not None:
            placed.append((place, layer))
    for path, call in ((path, modules[path]) for path in dict.fromkeys(call.path for call in calls)):
        if call.arrays or macs[path] or getattr(call.module, "rate", 0):
            call = call._replace(arrays={name: size * copies.get(path, 1) for name, size in call.arrays.items()})
            placed.append((begins.get(path, 0), _module(call, macs[path], _holds_others(path, modules))))
    return [layer for _, layer in sorted(placed, key=lambda pair: pair[0])]


def _equations(jaxpr: Any, outer: Path, times: int) -> Iterator[tuple[Path, Any, int]]:
    """(path of names, equation, how often it runs) of all equations that hold no others, in order."""
    for equation in jaxpr.eqns:
        names = re.sub(r"\w+\(|\)", "", str(equation.source_info.name_stack))
        stack = (*outer, *(part for part in names.split("/") if part and "." not in part))  # "ViT._embed": a method
        inner = list(jaxprs_in_params(equation.params))
        for sub in inner:
            yield from _equations(sub, stack, times * loop_length(equation))
        if not inner or equation.primitive.name in _POOLS:
            yield stack, equation, times


def _function(equation: Any, path: Path, modules: dict[Path, _Call]) -> Layer | None:
    """The row of a pooling, or of a mean over all pixels; None for other operations."""
    name, params = equation.primitive.name, equation.params
    shape = equation.outvars[0].aval.shape
    if name in _POOLS:
        kernel, stride = (_by(params[key][1:-1]) for key in ("window_dimensions", "window_strides"))
        return Layer("/".join((*path, _POOLS[name])), _POOLS[name], shape[1:], kernel, stride, 0, 0)
    over = equation.invars[0].aval.shape if name == "reduce_sum" else ()
    if len(over) == 4 and tuple(params["axes"]) == (1, 2) and _holds_others(path, modules):  # norms hold none
        return Layer("/".join((*path, "mean")), "mean", shape[1:], _by(over[1:3]), "", 0, 0)
    return None


def _holds_others(path: Path, modules: dict[Path, _Call]) -> bool:
    return any(len(other) > len(path) and other[: len(path)] == path for other in modules)


def _module(call: _Call, macs: int, holds_others: bool) -> Layer:
    module, kernel, stride = call.module, "", ""
    sizes = getattr(module, "kernel_size", ())
    if sizes:
        kernel, stride = _by(sizes), _by(_one_for_all(module.strides, sizes))
        dilation = _one_for_all(getattr(module, "kernel_dilation", 1), sizes)
        groups = getattr(module, "feature_group_count", 1)
        kernel += f", dilation {_by(dilation)}" if max(dilation) > 1 else ""
        kernel += f", {groups} groups" if groups > 1 else ""
    name = type(module).__name__.removeprefix("Checkpoint")  # what flax calls a rematerialised module
    if holds_others:
        name += f": {', '.join(call.arrays) or 'products'}"
    return Layer("/".join(call.path), name, call.shape, kernel, stride, sum(call.arrays.values()), macs)


def _one_for_all(value: int | Sequence[int] | None, sizes: Sequence[int]) -> Sequence[int]:
    """A number for every dimension, as flax reads its arguments: one number stands for all of them."""
    return value if isinstance(value, Sequence) else (value or 1,) * len(sizes)


def _by(sizes: Sequence[int]) -> str:
    """(5, 5) as 5x5."""
    return "x".join(map(str, sizes))


def format_table(layers: Sequence[Layer]) -> list[str]:
    """The table as lines, the totals last."""
    head = ("layer", "type", "output", "kernel", "stride", "parameters", "MACs")
    rows = [
        (r.name, r.type, _by(r.shape) or "1", r.kernel, r.stride, f"{r.parameters:,}", f"{r.macs:,}") for r in layers
    ]
    total = ("total", "", "", "", "", f"{sum(r.parameters for r in layers):,}", f"{sum(r.macs for r in layers):,}")
    return columns([head, *rows, total], "lllllrr")
