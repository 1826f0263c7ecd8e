"""The one registry of models: it lists every variant without importing it, and `create` makes a model of any kind.

The path is the registry; a user's `extensions/models` in the current folder counts as this room. A kind of model is a
folder of this room (`backbones`, `detection`, `generative`, `sequence` ...), a family is a file in it, a variant is a
row of the family's table. A new family is a new file, a new kind is a new folder, and nothing here changes. A family
file holds:

VARIANTS: a literal table `{variant: row}`, which is read from the source. A row gives the module's fields by name, and
    "input": the shape of one example, without the batch;
    "params": the number of parameters, published or counted by hand;
    "macs": where it is known, the number of multiply-accumulates of one example, as `core/counting.py` counts them;
    the context in which they were counted, by the names of `build`'s arguments, such as "num_classes": 10. An
    experiment that makes the variant must give exactly this context;
    "kind": only where a variant is of another kind than its folder. A discriminator classifies images, so it is a
    backbone.
build(variant, num_classes, dtype, **overrides): makes the Flax module, mostly by `from_row`. Its named
    arguments are the context; a kind that needs another one names it, such as `shape` for generators. `create` has
    checked everything that is passed. What else the module of a kind offers is said beside the kind: of detectors in
    `criterion.py`, how they are trained and what they find. Of sequence models, those made for `num_classes` go on with
    a sequence (`sequence/recurrent.py`), those made for `source_symbols` and `target_symbols` translate one
    (`sequence/transformer.py`).
example(row): only where the module's input is not one float array. It returns the inputs of one example, a tuple of
    arrays with a leading 1, which the module takes before `train`.
"""

import ast
import functools
import importlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from cvdl_jax.config import places
from cvdl_jax.config.binding import check_section, check_value
from cvdl_jax.config.parsing import plain
from cvdl_jax.errors import ConfigError, nearest

ROOM = Path(__file__).parent
_ABOUT = ("input", "params", "macs", "kind")  # what describes the variant and is no field of its module
_ALWAYS = ("dtype", "remat")  # the context that every model understands


class Variant(NamedTuple):
    """One row of a family's table.

    Attributes:
        name: what `name` says in a config section.
        kind: the folder, such as "backbones", or what the row says instead.
        file: the family's source.
        row: as it stands in the table.
        context: names of what an experiment gives, besides `dtype` and `remat`; their values in the row are those that
            "params" was counted with.
    """

    name: str
    kind: str
    file: Path
    row: dict[str, Any]
    context: tuple[str, ...]

    @property
    def module(self) -> str:
        """The family's module, "cvdl_jax.models.backbones.lenet"."""
        return f"cvdl_jax.models.{self.file.parent.name}.{self.file.stem}"

    def family(self) -> ModuleType:
        """The family's module, imported."""
        inside = self.file.is_relative_to(ROOM)
        return importlib.import_module(self.module) if inside else places.load_once(self.file)


def variants(room: Path | None = None) -> dict[str, Variant]:
    """Every variant of every kind by its name, read from the sources without importing them.

    Args:
        room: the folder of kinds; this one, and the user's, by default.

    Raises:
        ConfigError: for a mistake in a family of the user's, such as a variant that has the name of one of ours.
        ValueError: for a family without a literal table or a `build`, a row that lacks an argument of `build` or has an
            unknown kind, or two variants of one name.
    """
    ours = _read_room(ROOM if room is None else room)
    own = None if room is not None else places.extension("cvdl_jax.models")
    if own is None:
        return ours
    try:
        added = _read_room(own.resolve(), frozenset(variant.kind for variant in ours.values()))
    except (ValueError, SyntaxError) as error:
        raise ConfigError(str(error)) from error
    for name in added.keys() & ours.keys():
        places.refuse_ours(name, added[name].file, ours[name].module)
    return ours | added


@functools.cache
def _read_room(room: Path, known: frozenset[str] = frozenset()) -> dict[str, Variant]:
    """The variants of a folder; a row may name a kind that is a folder of it, or one of the known."""
    files = [file for file in sorted(room.glob("*/*.py")) if not file.name.startswith("_")]
    kinds = known | {file.parent.name for file in files}
    index: dict[str, Variant] = {}
    for variant in (variant for file in files for variant in _read_family(file)):
        if variant.kind not in kinds:
            raise ValueError(f"{variant.file}: {variant.name!r} is of kind {variant.kind!r}; {nearest('', kinds)}")
        if variant.name in index:
            first, second = (v.file.relative_to(room).as_posix() for v in (index[variant.name], variant))
            raise ValueError(f"models/{first} and models/{second} both have a variant {variant.name!r}")
        index[variant.name] = variant
    return index


def _read_family(file: Path) -> list[Variant]:
    body = ast.parse(file.read_text(encoding="utf-8")).body
    table = table_of(body)
    build = next((node for node in body if isinstance(node, ast.FunctionDef) and node.name == "build"), None)
    if table is None:
        raise ValueError(f"{file} has no literal table VARIANTS = {{variant: {{...}}}}")
    if build is None:
        raise ValueError(f"{file} has no function build(variant, ..., **overrides)")
    positional = [argument.arg for argument in (*build.args.posonlyargs, *build.args.args)]
    required = set(positional[1 : len(positional) - len(build.args.defaults)])
    arguments = [*positional[1:], *(argument.arg for argument in build.args.kwonlyargs)]
    family = []
    for name, row in ast.literal_eval(table).items():
        lacking = sorted(required - row.keys() - set(_ALWAYS))
        if lacking:
            raise ValueError(f"{file}: the row {name!r} lacks {lacking[0]!r}, with which its 'params' are counted")
        context = tuple(argument for argument in arguments if argument in row and argument not in _ALWAYS)
        family.append(Variant(name, row.get("kind", file.parent.name), file, row, context))
    return family


def table_of(body: Sequence[ast.stmt]) -> ast.Dict | None:
    """The literal dictionary that a module's body assigns to VARIANTS; None if there is none."""
    for node in body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "VARIANTS" for target in targets):
            return node.value if isinstance(node.value, ast.Dict) else None
    return None


def create(section: Mapping[str, Any], path: str, *, kinds: Sequence[str] | None = None, **context: Any) -> Any:
    """Makes the model that a section of a config describes.

    Args:
        section: `name`, a variant, and the fields that differ from its row.
        path: the section's name for messages, such as "config.model".
        kinds: what the experiment can use, such as ("backbones",); every kind by default.
        **context: what the experiment knows: `dtype` of the computation, or its name (parameters and scores are at
            least float32); `remat`, to recompute blocks in the backward pass and save memory; and what the variant's
            kind needs, such as `num_classes` (0 for the features of a backbone) or `shape`.

    Returns:
        A Flax module; of an image classifier `(x, train) -> (logits [b, num_classes], out)`.

    Raises:
        ConfigError: for a name that is missing, unknown or of another kind, an unknown field, a value of another type,
            a context that the variant is not made for, or `remat` without blocks.
    """
    check_section(section, path)
    section = plain(section)
    variant = _choose(section, path, kinds, tuple(key for key in context if key not in _ALWAYS))
    for key in section:
        if key in (*variant.context, *_ALWAYS):
            raise ConfigError(f"{path}.{key} is set by the program; remove it from the config")
    family = variant.family()
    remat = context.pop("remat", False)
    told = _checked_context(family, f"{path}.name={variant.name!r}", context, variant.kind)
    if "remat" in inspect.signature(family.build).parameters:
        told, remat = {**told, "remat": remat}, False
    model = family.build(variant.name, **told)
    overrides = _checked_overrides(model, section, variant, path)
    model = family.build(variant.name, **told, **overrides) if overrides else model
    if remat and not hasattr(model, "remat"):
        raise ConfigError(f"{variant.name} has no blocks to rematerialise; set config.remat=False")
    return model.clone(remat=True) if remat else model


def _choose(section: Mapping[str, Any], path: str, kinds: Sequence[str] | None, given: tuple[str, ...]) -> Variant:
    """The variant that a section names, of one of the kinds and made for the context that is given."""
    index = variants()
    known = {variant.kind for variant in index.values()}
    if kinds is not None and not known.issuperset(kinds):
        raise ValueError(f"kinds={tuple(kinds)} are not all kinds of models; {nearest('', known)}")
    usable = {name: v for name, v in index.items() if kinds is None or v.kind in kinds}
    fitting = [name for name, v in usable.items() if set(v.context) == set(given)]
    if "name" not in section:
        raise ConfigError(f"{path}.name is missing; {nearest('', fitting)}")
    name = section["name"]
    if not isinstance(name, str):
        raise ConfigError(f"{path}.name={name!r} must be a string, such as {next(iter(fitting), 'lenet5')!r}")
    what = f"{path}.name={name!r}"
    if name in fitting:
        return index[name]
    if name in usable:
        made, offered = (" and ".join(words) or "nothing" for words in (index[name].context, given))
        raise ConfigError(f"{what} is made for {made}, and is given {offered}; {nearest(name, fitting)}")
    family = [variant for variant, v in usable.items() if v.file.stem == name]
    if family:
        raise ConfigError(f"{what} is a family; choose one of {', '.join(family)}")
    others = [v.kind for v in index.values() if name in (v.name, v.file.stem)]
    if others:
        wanted = " or ".join(repr(kind) for kind in kinds or ())
        raise ConfigError(f"{what} is of kind {others[0]!r}, expected {wanted}; {nearest(name, fitting)}")
    raise ConfigError(f"{what} is not a model; {nearest(name, fitting)}")


def _checked_context(family: ModuleType, what: str, context: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """The context in the types that `build` is annotated with; numbers in it are counts or sizes, at least 1. Only a
    backbone may have no classes: it returns its features.
    """
    parameters = inspect.signature(family.build, eval_str=True).parameters
    told = {}
    for key, value in {"dtype": "float32", **context}.items():
        if key not in parameters and key not in context:
            continue
        if key == "dtype":
            told[key] = _checked_dtype(value)
            continue
        told[key] = check_value(plain(value), parameters[key].annotation, key)
        numbers = told[key] if isinstance(told[key], tuple) else (told[key],)
        least = 0 if kind == "backbones" and key == "num_classes" else 1
        if any(number is None or (type(number) is int and number < least) for number in numbers):
            raise ConfigError(f"{key}={value!r} must be a whole number of at least {least}; {what} is given it")
    return told


def _checked_dtype(dtype: Any) -> Any:
    import jax.numpy as jnp  # late, so that reading the tables needs no JAX

    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise ConfigError(f"config.compute_dtype={dtype!r} is not a dtype; use 'float32' or 'bfloat16'") from None
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ConfigError(f"config.compute_dtype={dtype.name!r} is not a floating dtype; use 'float32' or 'bfloat16'")
    if dtype == jnp.float64 and jnp.result_type(float) != jnp.float64:
        raise ConfigError("config.compute_dtype='float64' needs the environment variable JAX_ENABLE_X64=1")
    return dtype


def _checked_overrides(model: Any, section: Mapping[str, Any], variant: Variant, path: str) -> dict[str, Any]:
    """The section's fields in the types that the module annotates."""
    hidden = {"name", "parent", *variant.context, *_ALWAYS}
    parameters = inspect.signature(type(model), eval_str=True).parameters
    annotations = {field: p.annotation for field, p in parameters.items() if field not in hidden}
    overrides = {}
    for field, value in section.items():
        if field == "name":
            continue
        if field not in annotations:
            raise ConfigError(f"{path}.{field} is not a field of {variant.name}; {nearest(field, annotations)}")
        overrides[field] = check_value(value, annotations[field], f"{path}.{field}")
    return overrides


def from_row(cls: type, row: Mapping[str, Any], overrides: Mapping[str, Any], **context: Any) -> Any:
    """What most families' `build` does: the module of a row, with overrides in the place of the row's fields.

    Args:
        cls: the family's Flax module.
        row: a row of the family's VARIANTS.
        overrides: {field: value}.
        **context: the fields that the experiment gives, such as `num_classes` and `dtype`.
    """
    fields = {field: value for field, value in row.items() if field not in _ABOUT}
    return cls(**{**fields, **overrides, **context})


def example(name: str) -> tuple[Any, tuple[Any, ...]]:
    """A variant as its row describes it, and the inputs of one example: what it takes to count or to describe it.

    Args:
        name: a variant.

    Returns:
        The module, and arrays with a leading 1 that it takes before `train`.
    """
    import jax.numpy as jnp

    variant = variants()[name]
    model = create({"name": name}, "config.model", **{key: variant.row[key] for key in variant.context})
    family = variant.family()
    if hasattr(family, "example"):
        return model, family.example(variant.row)
    return model, (jnp.zeros((1, *variant.row["input"])),)
