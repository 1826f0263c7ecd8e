"""Finds a model by the name of its variant, without importing the families that were not asked for.

The path is the registry: every `cvdl_jax/models/<family>.py` has a literal table `VARIANTS` and a function `build`.
A new family is a new file; nothing here changes.
"""

import ast
import dataclasses
import functools
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.config.binding import check_value
from cvdl_jax.errors import ConfigError, nearest

ROOM = Path(__file__).parent
FOLDER = ROOM / "backbones"
DISCRIMINATORS = ROOM / "generative" / "dcgan.py"
_NOT_OVERRIDES = {"name", "parent", "num_classes", "dtype", "remat"}


@functools.cache
def tables(folder: Path = FOLDER) -> dict[str, dict[str, dict[str, Any]]]:
    """The `VARIANTS` table of every family, read from the source.

    Returns:
        {family: {variant: {"input": (h, w, c), field: value, ...}}}.

    Raises:
        ValueError: if a family has no table, or two families have a variant of one name.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    owner: dict[str, str] = {}
    for path in sorted([*folder.glob("*.py"), *([DISCRIMINATORS] if folder == FOLDER else [])]):
        if path.stem == "__init__":
            continue
        found[path.stem] = _read_table(path)
        for variant in found[path.stem]:
            if variant in owner:
                raise ValueError(f"models/{owner[variant]}.py and models/{path.name} both have a variant {variant!r}")
            owner[variant] = path.stem
    return found


def file_of(folder: Path, family: str) -> Path:
    """The file of a family that `tables(folder)` lists."""
    return DISCRIMINATORS if family == DISCRIMINATORS.stem else folder / f"{family}.py"


def _read_table(path: Path) -> dict[str, dict[str, Any]]:
    for node in ast.parse(path.read_text()).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "VARIANTS" for target in targets):
            return ast.literal_eval(node.value)
    raise ValueError(f"{path} has no literal table VARIANTS = {{variant: {{...}}}}")


def variants() -> dict[str, str]:
    """All variants: {variant: family}, where the family is the file `cvdl_jax/models/<family>.py`."""
    return {variant: family for family, table in tables().items() for variant in table}


def row(name: str) -> dict[str, Any]:
    """The table row of a variant: its fields and "input", the shape (h, w, c) of the images it was made for.

    Raises:
        ConfigError: for an unknown name.
    """
    return tables()[family_of(name)][name]


def family_of(name: str) -> str:
    """The family of a variant.

    Raises:
        ConfigError: with the nearest variant, or with a family's variants if its name was given.
    """
    if not isinstance(name, str):
        raise ConfigError(f"config.model.name={name!r} must be a string, such as 'lenet5'")
    known = variants()
    if name in known:
        return known[name]
    if name in tables():
        raise ConfigError(f"config.model.name={name!r} is a family; choose one of {', '.join(tables()[name])}")
    raise ConfigError(f"config.model.name={name!r} is not a model; {nearest(name, known)}")


def create(name: str, num_classes: int, dtype: Any, remat: bool = False, **kwargs: Any) -> Any:
    """Builds a model.

    Args:
        name: a variant.
        num_classes: number of logits.
        dtype: of the computation, or its name; parameters and logits are at least float32.
        remat: recompute blocks in the backward pass to save memory.
        **kwargs: fields of the model that differ from the variant's row.

    Returns:
        A Flax module, `(x, train) -> (logits [b, num_classes], out)`.

    Raises:
        ConfigError: for an unknown name, an unknown field, a value of another type, or remat without blocks.
    """
    import jax.numpy as jnp  # late, so that reading the tables needs no JAX

    family = family_of(name)
    room = "generative" if family == DISCRIMINATORS.stem else FOLDER.name
    module = importlib.import_module(f"cvdl_jax.models.{room}.{family}")
    try:
        dtype = jnp.dtype(dtype)
    except TypeError:
        raise ConfigError(f"config.compute_dtype={dtype!r} is not a dtype; use 'float32' or 'bfloat16'") from None
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ConfigError(f"config.compute_dtype={dtype.name!r} is not a floating dtype; use 'float32' or 'bfloat16'")
    if dtype == jnp.float64 and jnp.result_type(float) != jnp.float64:
        raise ConfigError("config.compute_dtype='float64' needs the environment variable JAX_ENABLE_X64=1")
    model = module.build(name, num_classes, dtype, **kwargs)
    if not remat:
        return model
    if "remat" not in {f.name for f in dataclasses.fields(model)}:
        raise ConfigError(f"{name} has no blocks to rematerialise; set config.remat=False")
    return model.clone(remat=True)


def from_table(
    cls: type,
    table: Mapping[str, Mapping[str, Any]],
    variant: str,
    num_classes: int,
    dtype: Any,
    overrides: Mapping[str, Any],
) -> Any:
    """What most families' `build` is: the module of a table row, with checked overrides.

    Args:
        cls: the family's Flax module; its annotated fields are the accepted overrides.
        table: the family's VARIANTS.
        variant: a key of it.
        num_classes: number of logits.
        dtype: of the computation.
        overrides: {field: value}.

    Raises:
        ConfigError: for an unknown variant or field, or a value of another type.
    """
    if variant not in table:
        raise ConfigError(f"config.model.name={variant!r} is not one of this family; {nearest(variant, table)}")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1:
        raise ConfigError(f"num_classes={num_classes!r} must be a whole number of at least 1: the number of logits")
    hints = {f.name: f.type for f in dataclasses.fields(cls) if f.name not in _NOT_OVERRIDES}
    values = {field: value for field, value in table[variant].items() if field != "input"}
    for field, value in overrides.items():
        if field not in hints:
            raise ConfigError(f"config.model.{field} is not a field of {variant}; {nearest(field, hints)}")
        values[field] = check_value(value, hints[field], f"config.model.{field}")
    return cls(num_classes=num_classes, dtype=dtype, **values)
