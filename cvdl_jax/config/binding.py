"""From a section of a config to a function call: names, types and units checked, each error with the right name.

Nothing here imports jax, so that a mistake in a config is reported at once.
"""

import inspect
import math
import types
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from cvdl_jax.config import places
from cvdl_jax.config.parsing import parse_calls, plain
from cvdl_jax.errors import ConfigError, nearest

UNITS = ("steps", "epochs", "percent", "examples")
Factories = Mapping[str, Callable] | Callable[[str], Callable]
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def describe(annotation: Any) -> str:
    """The type that an annotation asks for, in words: "one of 'min', 'max'", "tuple[int, ...] or None"."""
    if get_origin(annotation) is Annotated:
        return describe(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return "one of " + ", ".join(map(repr, get_args(annotation)))
    if get_origin(annotation) in (Union, types.UnionType):
        return " or ".join(describe(choice) for choice in get_args(annotation))
    if annotation is types.NoneType:
        return "None"
    if get_origin(annotation) is Mapping:
        return "Mapping"
    if get_origin(annotation) is tuple:
        parts = ("..." if part is Ellipsis else describe(part) for part in get_args(annotation))
        return f"tuple[{', '.join(parts)}]"
    return getattr(annotation, "__name__", str(annotation)) if not get_args(annotation) else str(annotation)


def _fits(value: Any, annotation: Any) -> tuple[bool, Any]:
    """Whether a value is of the annotated type, and the value in that type (an int where a float is expected)."""
    origin = get_origin(annotation) or annotation
    if origin is Annotated:
        return _fits(value, get_args(annotation)[0])
    if origin is Literal:
        return value in get_args(annotation), value
    if origin in (Union, types.UnionType):
        for choice in sorted(get_args(annotation), key=lambda c: c is not type(value)):  # the exact type first
            fits, new = _fits(value, choice)
            if fits:
                return True, new
        return False, value
    if origin is types.NoneType:
        return value is None, value
    if origin is bool or origin is str:
        return isinstance(value, origin), value
    if origin is int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and not isinstance(value, bool), int(value) if whole else value
    if origin is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number, float(value) if number else value
    if origin in (tuple, list, Sequence):
        return _fits_tuple(value, get_args(annotation))
    if origin in (dict, Mapping):
        return isinstance(value, Mapping), value
    return True, value  # an annotation that configs have no words for


def _fits_tuple(value: Any, inner: tuple) -> tuple[bool, Any]:
    if not isinstance(value, tuple | list):
        return False, value
    if not inner:
        return True, tuple(value)
    kinds = inner[:1] * len(value) if len(inner) == 1 or inner[-1] is Ellipsis else inner
    parts = [_fits(v, kind) for v, kind in zip(value, kinds, strict=False)]
    return len(kinds) == len(value) and all(fits for fits, _ in parts), tuple(new for _, new in parts)


def check_value(value: Any, annotation: Any, path: str) -> Any:
    """The value in the annotated type: int where float is expected becomes float, 2.0 where int is expected 2.

    Args:
        value: from a config.
        annotation: int, float, bool, str, tuple, tuple[int, ...], X | None, Mapping or Literal; others accept anything.
            `Annotated[X, Range]` accepts the numbers of a range, and what is no number as X does. A word in the place
            of a Mapping is the section's name.
        path: name for messages, such as "config.optim.lr".

    Raises:
        ConfigError: naming the path, the value and the expected type or range.
    """
    if annotation in (inspect.Parameter.empty, Any):
        return value
    if annotation in (Mapping, dict) and isinstance(value, str) and value.isidentifier():
        return {"name": value}  # a section may be given by its name alone
    fits, new = _fits(value, annotation)
    if fits:
        _check_ranges(new, annotation, path)
        return new
    if get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    words = [w for w in get_args(annotation) if isinstance(w, str)] if get_origin(annotation) is Literal else []
    hint = f"; {nearest(value, words)}" if words and isinstance(value, str) else ""
    got = "" if words else f" is of type {type(value).__name__}"
    raise ConfigError(f"{path}={value!r}{got}; expected {describe(annotation)}{hint}")


def _check_ranges(value: Any, annotation: Any, path: str) -> None:
    """Refuses numbers outside the ranges of an annotation, also those of a tuple or of one of several types."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        _check_ranges(value, inner[0], path)
        for accepted in inner[1:]:
            check_range(value, accepted, path)
    elif origin in (Union, types.UnionType):
        fitting = [choice for choice in inner if _fits(value, choice)[0]]
        _check_ranges(value, fitting[0], path)
    elif origin in (tuple, list, Sequence) and inner:
        kinds = inner[:1] * len(value) if len(inner) == 1 or inner[-1] is Ellipsis else inner
        for i, (part, kind) in enumerate(zip(value, kinds, strict=True)):
            _check_ranges(part, kind, f"{path}[{i}]")


def check_section(section: Any, path: str) -> None:
    """Refuses a number or a text in the place of a section.

    Raises:
        ConfigError: naming the section and its value.
    """
    if not isinstance(section, Mapping) and not hasattr(section, "items"):
        raise ConfigError(f"{path}={section!r} is a value, not a section; set keys of it, {path}.KEY=VALUE")


def check_name(word: str, known: Any, what: str) -> None:
    """Refuses a word that is not among the known ones, with the nearest.

    Raises:
        ConfigError: starting with `what`.
    """
    if word not in known:
        joint = ";" if what.endswith("known") else ":"  # `nearest` may begin with "known:"
        raise ConfigError(f"{what}{joint} {nearest(str(word), known)}")


def bind(fn: Callable, section: Mapping[str, Any], path: str, **more: Any) -> dict[str, Any]:
    """The keyword arguments for `fn` from a section and the program, checked against its signature.

    Args:
        fn: a function or class with explicit, annotated keyword arguments. With `**kwargs` it takes unknown names.
        section: keyword arguments from a config.
        path: the section's name for messages, such as "config.optim".
        **more: arguments that the program gives; the section may not set them, and they are not checked.

    Returns:
        Keyword arguments; ConfigDicts in them become dicts, lists tuples.

    Raises:
        ConfigError: for an unknown name, a wrong type, a number outside its range, or a required argument that is
            missing.
    """
    check_section(section, path)
    parameters = inspect.signature(fn, eval_str=True).parameters
    named = {key: p for key, p in parameters.items() if p.kind in _BY_NAME}
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    title = getattr(fn, "__name__", None) or getattr(getattr(fn, "func", fn), "__name__", "this function")
    arguments = {}
    for key, value in section.items():
        if key in more:
            raise ConfigError(f"{path}.{key} is set by the program; remove it from the config")
        if key not in named and not takes_all:
            check_name(key, named.keys() - more.keys(), f"{path}.{key} is not an argument of {title}")
        annotation = named[key].annotation if key in named else Any
        arguments[key] = check_value(plain(value), annotation, f"{path}.{key}")
    for key, parameter in named.items():
        if parameter.default is inspect.Parameter.empty and key not in arguments and key not in more:
            raise ConfigError(f"{path}.{key} is missing; {title} needs it ({describe(parameter.annotation)})")
    return arguments | more


def call(fn: Callable, section: Mapping[str, Any], path: str, **more: Any) -> Any:
    """Calls `fn` with a section of the config as keyword arguments; see `bind`."""
    return fn(**bind(fn, section, path, **more))


def bind_calls(text: str, factories: Factories, path: str, **more: Any) -> list[tuple[Callable, dict[str, Any]]]:
    """`parse_calls` with every name looked up and its arguments checked, but nothing called yet.

    Args:
        text: calls separated by "|".
        factories: {name: function}, or a function from a name to a function that raises ConfigError itself.
        path: name for messages.
        **more: arguments offered by the program; each function gets those that it names and the text does not set.

    Returns:
        A list of (function, keyword arguments).

    Raises:
        ConfigError: for an unknown name (with the nearest) or wrong arguments.
    """
    bound = []
    for name, values, keywords in parse_calls(text, path):
        if isinstance(factories, Mapping):
            check_name(name, factories, f"{path}: there is no {name!r}")
        fn = factories[name] if isinstance(factories, Mapping) else factories(name)
        where = f"{path}: {name}"
        names = [key for key, p in inspect.signature(fn).parameters.items() if p.kind in _BY_NAME[:1]]
        if len(values) > len(names):
            raise ConfigError(f"{where} takes at most {len(names)} arguments without a name, got {len(values)}")
        twice = keywords.keys() & set(names[: len(values)])
        if twice:
            raise ConfigError(f"{where} gets {sorted(twice)[0]!r} twice, by position and by name")
        section = dict(zip(names, values, strict=False)) | keywords
        parameters = inspect.signature(fn).parameters
        offered = {key: value for key, value in more.items() if key in parameters and key not in section}
        bound.append((fn, bind(fn, section, where, **offered)))
    return bound


def build_calls(text: str, factories: Factories, path: str, **more: Any) -> list[Any]:
    """Calls each function of `bind_calls` and returns the results in order."""
    return [fn(**arguments) for fn, arguments in bind_calls(text, factories, path, **more)]


def unit_of(section: Mapping[str, Any], prefix: str, path: str) -> str | None:
    """The unit in which a section gives a duration: "steps" for `prefix_steps`; None if it gives none.

    Raises:
        ConfigError: if it is given in two units.
    """
    units = [unit for unit in UNITS if section.get(f"{prefix}_{unit}") is not None]
    if len(units) > 1:
        keys = " and ".join(f"{path}.{prefix}_{unit}" for unit in units)
        raise ConfigError(f"{keys} are both set; keep one of them")
    return units[0] if units else None


def duration(
    section: Mapping[str, Any],
    prefix: str,
    *,
    path: str = "config",
    steps_per_epoch: float | None = None,
    total_steps: int | None = None,
    batch_size: int | None = None,
    required: bool = True,
) -> int | None:
    """A duration in steps, from `prefix_steps`, `prefix_epochs`, `prefix_percent` or `prefix_examples`.

    Fractions of a step are rounded up: 1.5 epochs of 25 steps are 38 steps. Fractional epochs are allowed.

    Args:
        section: holds at most one of the four keys (None counts as absent).
        prefix: "total", "every", "warmup" ...
        path: the section's name for messages.
        steps_per_epoch: examples / batch size, not necessarily whole; needed for epochs.
        total_steps: steps of the whole run; needed for percent.
        batch_size: global batch size; needed for examples.
        required: whether the section must say something.

    Returns:
        Steps >= 0, or None where the section says nothing and need not.

    Raises:
        ConfigError: no unit where one is required, two units, a value that is no number or negative, or a unit that
            has no meaning here.
    """
    unit = unit_of(section, prefix, path)
    if unit is None and required:
        raise ConfigError(f"{path} gives no duration; set one of " + ", ".join(f"{path}.{prefix}_{u}" for u in UNITS))
    if unit is None:
        return None
    name = f"{path}.{prefix}_{unit}"
    value = check_value(section[f"{prefix}_{unit}"], int if unit in ("steps", "examples") else float, name)
    if not 0 <= value < math.inf:
        raise ConfigError(f"{name}={value} must be a number of {unit}, zero or more")
    if unit == "percent" and value > 100:
        raise ConfigError(f"{name}={value} must be between 0 and 100")
    per_unit = {
        "steps": 1,
        "epochs": steps_per_epoch,
        "percent": None if total_steps is None else total_steps / 100,
        "examples": None if batch_size is None else 1 / batch_size,
    }[unit]
    if per_unit is None or per_unit == math.inf:
        raise ConfigError(f"{name} has no meaning here: the number of {unit} is not known; use {prefix}_steps")
    return math.ceil(round(value * per_unit, 9))  # rounding first: 0.1 * 30 is 3.0000000000000004


def partially(fn: Callable, section: Mapping[str, Any], path: str, *later: str) -> Callable:
    """`functools.partial` of `fn` with a section as keyword arguments, checked as in `call`.

    Args:
        fn: a function with annotated arguments.
        section: keyword arguments from a config.
        path: the section's name for messages.
        *later: names of the arguments that the caller of the result gives; the section may not set them.
    """
    arguments = bind(fn, section, path, **dict.fromkeys(later))
    return partial(fn, **{name: value for name, value in arguments.items() if name not in later})


def functions(module: types.ModuleType, returns: Any = None) -> dict[str, Callable]:
    """The public functions that a module defines: the names that a config may choose from.

    The file is the registry, with the user's that adds to it (`places`): a new function can be named at once.

    Args:
        module: imported. What it has imported itself does not count.
        returns: only the functions whose result is annotated with this very type; None for all.

    Returns:
        {name: function}, in the order of the file. One of the user's must say what it returns, under a name of its own.
    """
    public = _public(module)
    known = {name: fn for name, fn in public.items() if returns is None or fn.__annotations__.get("return") is returns}
    own = _public(added) if (added := places.added_to(module.__name__)) else {}
    for name in public.keys() & own.keys():
        places.refuse_ours(name, Path(added.__file__), module.__name__)
    for name, fn in own.items():
        if returns is not None and inspect.signature(fn, eval_str=True).return_annotation is not returns:
            said = f"must say that it returns a {returns.__name__}: def {name}(...) -> {returns.__name__}"
            raise ConfigError(f"{added.__file__}: {name} {said}")
    return known | own


def _public(module: types.ModuleType) -> dict[str, Callable]:
    """The public functions that a module defines."""
    own = {name: fn for name, fn in vars(module).items() if inspect.isfunction(fn) and not name.startswith("_")}
    return {name: fn for name, fn in own.items() if fn.__module__ == module.__name__}


def named(module: types.ModuleType, section: Mapping[str, Any], path: str, *later: str) -> Callable:
    """The public function of a module that `section.name` names, with the rest of the section as keyword arguments.

    Args:
        module: for example `cvdl_jax.ops.losses.classification`.
        section: `name` and keyword arguments.
        path: the section's name for messages.
        *later: see `partially`.

    Raises:
        ConfigError: for a missing or unknown name, or wrong arguments.
    """
    known = functions(module)
    check_section(section, path)
    if "name" not in section:
        raise ConfigError(f"{path}.name is missing; {nearest('', known)}")
    check_name(section["name"], known, f"{path}.name={section['name']!r} is not known")
    rest = {key: value for key, value in section.items() if key != "name"}
    return partially(known[section["name"]], rest, path, *later)


class Range(NamedTuple):
    """Numbers that are accepted, in words and as a predicate that is False for NaN."""

    words: str
    holds: Callable[[float], bool]


SHARE = Range("in [0, 1)", lambda x: 0 <= x < 1)
INSIDE = Range("in (0, 1)", lambda x: 0 < x < 1)
UP_TO_ONE = Range("in (0, 1]", lambda x: 0 < x <= 1)
PROBABILITY = Range("in [0, 1]", lambda x: 0 <= x <= 1)
PERCENT = Range("from 0 to 100", lambda x: 0 <= x <= 100)
NOT_NEGATIVE = Range("0 or more, and finite", lambda x: 0 <= x < math.inf)
POSITIVE = Range("positive and finite", lambda x: 0 < x < math.inf)
AT_LEAST_ONE = Range("1 or more", lambda x: 1 <= x < math.inf)
SIZE = Range("from 1 to 1,048,576", lambda x: 1 <= x <= 2**20)  # of an axis: more does not fit into any memory
LAYERS = Range("from 1 to 1,000", lambda x: 1 <= x <= 1000)  # unrolled: each costs time to compile

Share = Annotated[float, SHARE]
Inside = Annotated[float, INSIDE]
UpToOne = Annotated[float, UP_TO_ONE]
Probability = Annotated[float, PROBABILITY]
Percent = Annotated[float, PERCENT]
NotNegative = Annotated[float, NOT_NEGATIVE]
Positive = Annotated[float, POSITIVE]
Count = Annotated[int, AT_LEAST_ONE]
Counted = Annotated[int, NOT_NEGATIVE]
Size = Annotated[int, SIZE]
Layers = Annotated[int, LAYERS]


def check_range(value: Any, accepted: Range, path: str) -> None:
    """Refuses a number outside a range; what is no number (None, a word, True) passes.

    Raises:
        ConfigError: naming the path, the value and the range.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not accepted.holds(value):
        raise ConfigError(f"{path}={value} must be {accepted.words}")
