"""Which parameters decay, which are frozen and which learn faster, by regular expressions on their paths.

A parameter's path is its keys joined by "/", as in "stage1/block0/conv/kernel". An expression must match the whole path
(`re.fullmatch`): "head/.*" is everything in the head. One that matches no parameter is an error.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax

from cvdl_jax.core.formatting import columns, natural
from cvdl_jax.core.trees import names
from cvdl_jax.errors import ConfigError, nearest

DECAY = r"(.*/)?(\w*kernel|embedding|table)"  # not biases, scales of norms, tokens and positions that are parameters


class Row(NamedTuple):
    """One parameter in the table at the start of a run."""

    name: str
    shape: tuple[int, ...]
    size: int
    group: str  # "frozen", the expression in lr_factors that matched, or "default"; " from 25 %"
    factor: float  # of the learning rate, layer-wise decay included
    decay: float  # weight decay
    frozen: bool


def matches(regex: str, name: str) -> bool:
    """Whether an expression matches a whole path; "" matches none."""
    return bool(regex) and re.fullmatch(regex, name) is not None


def pairs(lr_factors: Mapping | Sequence) -> list[tuple[str, float]]:
    """`{regex: factor}` as pairs; a tuple of pairs is taken too, because config sections allow no dots in their keys.

    Raises:
        ConfigError: for another form or a negative factor.
    """
    listed = lr_factors.items() if isinstance(lr_factors, Mapping) else lr_factors
    result = []
    for pair in listed:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise ConfigError(f"config.optim.lr_factors={lr_factors!r}; write it as (('backbone/.*', 0.1), ...)")
        regex, factor = pair
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < math.inf:
            raise ConfigError(f"config.optim.lr_factors: {regex!r} has factor {factor!r}; expected a number >= 0")
        result.append((regex, float(factor)))
    return result


def factor_of(name: str, factors: Sequence[tuple[str, float]]) -> float:
    """The learning-rate factor of a parameter: that of the expression which matches it, else 1."""
    return next((factor for regex, factor in factors if matches(regex, name)), 1.0)


def layer_factors(params: Any, layer_decay: float, layers: Sequence[str]) -> dict[str, float]:
    """Layer-wise decay of the rate: `layer_decay^(last - layer)` for each parameter.

    Args:
        params: a tree of arrays or shapes.
        layer_decay: in (0, 1].
        layers: expressions from the first layer to the last. Numbers that an expression captures are layers of their
            own, in order: `("embedding/.*", "block([0-9]+)/.*", "head/.*")`. Missing numbers do not count.

    Returns:
        {path: factor} of the parameters that are in a layer.

    Raises:
        ConfigError: for a parameter in two layers, or an expression that captures something else than a number.

    Reference: Howard and Ruder 2018, "Universal Language Model Fine-tuning", section 3.2, with `layer_decay = 1 / 2.6`.
    """
    depth: dict[str, tuple[int, ...]] = {}
    for i, regex in enumerate(layers):
        for name in names(params):
            match = re.fullmatch(regex, name)
            if match and name in depth:
                raise ConfigError(f"config.optim.layers: {layers[depth[name][0]]!r} and {regex!r} both match {name}")
            if match and not all(group and group.isdecimal() for group in match.groups()):
                raise ConfigError(f"config.optim.layers: {regex!r} captures {match.groups()} of {name}, not a number")
            if match:
                depth[name] = (i, *map(int, match.groups()))
    order = sorted(set(depth.values()))
    return {name: layer_decay ** (len(order) - 1 - order.index(layer)) for name, layer in depth.items()}


def rate_factors(
    params: Any, lr_factors: Mapping | Sequence = (), layer_decay: float = 1.0, layers: Sequence[str] = ()
) -> dict[str, float]:
    """{path: factor of the learning rate} of every parameter: that of its group times that of its layer."""
    factors, by_layer = pairs(lr_factors), {}
    if layer_decay != 1:
        by_layer = layer_factors(params, layer_decay, layers)
    return {name: factor_of(name, factors) * by_layer.get(name, 1.0) for name in names(params)}


def _check_layers(params: Any, freeze: str, layer_decay: float, layers: Sequence[str]) -> None:
    if layer_decay != 1 and not layers:
        raise ConfigError(
            f"config.optim.layer_decay={layer_decay} needs config.optim.layers, first layer first, as in "
            "('embedding/.*', 'block([0-9]+)/.*', 'head/.*')"
        )
    if layers:
        inside = layer_factors(params, layer_decay, layers)
        outside = [name for name in names(params) if name not in inside and not matches(freeze, name)]
        if outside:
            raise ConfigError(f"config.optim.layers={tuple(layers)!r}: {outside[0]} is in no layer; add an expression")


def check_groups(
    params: Any,
    *,
    weight_decay: float,
    decay: str,
    freeze: str,
    lr_factors: Mapping | Sequence,
    layer_decay: float = 1.0,
    layers: Sequence[str] = (),
) -> None:
    """Refuses expressions that are no expressions, match nothing, or give one parameter two factors.

    Raises:
        ConfigError: naming the expression and the nearest parameter.
    """
    known = names(params)
    used = [("freeze", freeze)] if freeze else []
    used += [("decay", decay)] if weight_decay else []
    used += [("lr_factors", regex) for regex, _ in pairs(lr_factors)]
    used += [("layers", regex) for regex in layers]
    for key, regex in used:
        try:
            matched = any(matches(regex, name) for name in known)
        except re.error as error:
            raise ConfigError(f"config.optim.{key}={regex!r} is not a regular expression: {error}") from None
        if not matched:
            raise ConfigError(
                f"config.optim.{key}={regex!r} matches no parameter; {nearest(regex, known)} An expression must match "
                "the whole path, as in 'head/.*'"
            )
    if freeze and all(matches(freeze, name) for name in known):
        raise ConfigError(f"config.optim.freeze={freeze!r} matches every parameter, so nothing would train; narrow it")
    for name in known:
        both = [regex for regex, _ in pairs(lr_factors) if matches(regex, name)]
        if len(both) > 1:
            raise ConfigError(f"config.optim.lr_factors: {both[0]!r} and {both[1]!r} both match {name}; narrow one")
    _check_layers(params, freeze, layer_decay, layers)


def check_unfreeze(params: Any, freeze: str, unfreeze: Sequence[tuple[str, float]]) -> None:
    """Refuses groups of gradual unfreezing that leave out a parameter, share one, or match none.

    Args:
        params: a tree of arrays or of `jax.ShapeDtypeStruct`.
        freeze: which parameters never train; they are in no group.
        unfreeze: (expression, percent) pairs, see `unfreezing.py`.

    Raises:
        ConfigError: naming the expression and the parameter.
    """
    trained = [name for name in names(params) if not matches(freeze, name)]
    groups: dict[str, str] = {}
    for regex, _ in unfreeze:
        try:
            inside = [name for name in trained if matches(regex, name)]
        except re.error as error:
            raise ConfigError(f"config.optim.unfreeze={regex!r} is not a regular expression: {error}") from None
        if not inside:
            raise ConfigError(
                f"config.optim.unfreeze={regex!r} matches no parameter that is trained; {nearest(regex, trained)} An "
                "expression must match the whole path, as in 'head/.*'"
            )
        for name in inside:
            if name in groups:
                raise ConfigError(
                    f"config.optim.unfreeze: {groups[name]!r} and {regex!r} both match {name}; narrow one"
                )
            groups[name] = regex
    outside = [name for name in trained if name not in groups]
    if unfreeze and outside:
        raise ConfigError(
            f"config.optim.unfreeze={tuple(unfreeze)!r}: {outside[0]} is in no group; add an expression, or name it in "
            "freeze"
        )


def table(
    params: Any,
    weight_decay: float = 0.0,
    decay: str = DECAY,
    freeze: str = "",
    lr_factors: Mapping | Sequence = (),
    layer_decay: float = 1.0,
    layers: Sequence[str] = (),
    unfreeze: Sequence[tuple[str, float]] = (),
    **_: Any,
) -> list[Row]:
    """One row for every parameter, block2 before block10: `table(params, **config.optim)`.

    Args:
        params: a tree of arrays or of `jax.ShapeDtypeStruct`.
        weight_decay: as given to `optim.optimizer`, like the rest; keys that do not group parameters are ignored.
        decay: which parameters decay.
        freeze: which ones get no update.
        lr_factors: {expression: factor}.
        layer_decay: factor of the rate for each layer below the last.
        layers: expressions, first layer first.
        unfreeze: (expression, percent) pairs; a group that begins later is said in `group`.

    Raises:
        ConfigError: see `check_groups` and `check_unfreeze`.
    """
    grouping = {"lr_factors": lr_factors, "layer_decay": layer_decay, "layers": layers}
    check_groups(params, weight_decay=weight_decay, decay=decay, freeze=freeze, **grouping)
    check_unfreeze(params, freeze, unfreeze)
    factors, by_name = pairs(lr_factors), rate_factors(params, **grouping)
    rows = []
    for name, leaf in zip(names(params), jax.tree.leaves(params), strict=True):
        frozen = matches(freeze, name)
        group = "frozen" if frozen else next((regex for regex, _ in factors if matches(regex, name)), "default")
        start = next((percent for regex, percent in unfreeze if matches(regex, name)), 0)
        group += f" from {start:g} %" if start and not frozen else ""
        factor = 0.0 if frozen else by_name[name]
        decays = weight_decay if matches(decay, name) and not frozen else 0.0
        rows.append(Row(name, tuple(leaf.shape), math.prod(leaf.shape), group, factor, decays, frozen))
    return sorted(rows, key=lambda row: natural(row.name))


def format_table(rows: Sequence[Row]) -> str:
    """The table as text, with the number of parameters that are trained and that are frozen in its last line."""
    head = ("parameter", "shape", "size", "group", "lr factor", "decay", "frozen")
    cells = [
        (r.name, "x".join(map(str, r.shape)) or "-", f"{r.size:,}", r.group, f"{r.factor:g}", f"{r.decay:g}")
        + ("yes" if r.frozen else "",)
        for r in rows
    ]
    frozen = sum(r.size for r in rows if r.frozen)
    total = sum(r.size for r in rows)
    lines = columns([head, *cells], "llrlrrl")
    return "\n".join([*lines, f"{total - frozen:,} parameters trained, {frozen:,} frozen"])


def describe(optim: Mapping[str, Any], params: Any) -> str:
    """The table of every optimizer of a config: one for all parameters, or one per named sub-tree.

    Args:
        optim: `config.optim`: a section with a name, or {sub-tree of the parameters: such a section}.
        params: a tree of arrays or of `jax.ShapeDtypeStruct`.
    """
    tables = {name: format_table(rows) for name, rows in _tables(optim, params).items()}
    return "\n\n".join(f"{name}\n{text}" if name else text for name, text in tables.items())


def _tables(optim: Mapping[str, Any], params: Any) -> dict[str, list[Row]]:
    """The rows of every optimizer, by the name of its sub-tree; "" where there is one for all."""
    if "name" in optim:
        return {"": table(params, **optim)}
    return {name: table(params[name], **section) for name, section in optim.items() if name in params}


def summary(optim: Mapping[str, Any], params: Any, lines: int = 10) -> str:
    """What `describe` says, module by module, in at most so many lines.

    Args:
        optim: see `describe`.
        params: a tree of arrays or of `jax.ShapeDtypeStruct`.
        lines: most of them, 5 or more; of more modules than there is room for those in the middle are left out.
    """
    rows = [
        row._replace(name=f"{name}/{row.name}" if name else row.name)
        for name, part in _tables(optim, params).items()
        for row in part
    ]
    most, modules = lines - 2, _modules(rows, 1)
    for depth in range(2, 1 + max((row.name.count("/") for row in rows), default=0)):
        if len(_modules(rows, depth)) <= most:
            modules = _modules(rows, depth)
    cells = [_summed(name, part) for name, part in modules.items()]
    if len(cells) > most:
        first = most // 2
        left = len(cells) - most + 1
        cells = [*cells[:first], (f"... {left} more modules",), *cells[first + left :]]
    frozen, total = sum(row.size for row in rows if row.frozen), sum(row.size for row in rows)
    head = ("module", "parameters", "lr factor", "decay")
    last = f"{total - frozen:,} parameters trained, {frozen:,} frozen; the report and --mode describe list each"
    return "\n".join([*columns([head, *cells], "lrll"), last])


def _modules(rows: Sequence[Row], depth: int) -> dict[str, list[Row]]:
    """The rows by the first keys of their paths, the parameter's own left out."""
    modules: dict[str, list[Row]] = {}
    for row in rows:
        path = row.name.split("/")
        modules.setdefault("/".join(path[:-1][:depth]) or path[0], []).append(row)
    return modules


def _summed(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    """A line of the summary."""
    trained = [row for row in rows if not row.frozen]
    factors = ", ".join(f"{factor:g}" for factor in sorted({row.factor for row in trained})) or "frozen"
    decays = [
        f"{sum(r.size for r in trained if r.decay == d):,} by {d:g}" for d in sorted({r.decay for r in trained} - {0})
    ]
    some = " (some frozen)" if trained and len(trained) < len(rows) else ""
    return name, f"{sum(row.size for row in rows):,}", factors + some, ", ".join(decays) or "no"
