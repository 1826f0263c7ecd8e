"""What there is to choose from: every model variant with its size and the paper's table it is from.

Read from the `VARIANTS` tables of `cvdl_jax/models` and its sub-packages; the comment above a row, or behind it, says
where the row is from. Detectors are builders of `cvdl_jax/models/detection/anchor_detector.py`. This file imports no
JAX before something is counted.
"""

import ast
import io
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.core.formatting import columns
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models import registry

SYMBOLS = 65  # that sequence models are counted for: the characters of Tiny Shakespeare
SCENE, OUTPUTS = (64, 64, 3), 6  # that detectors are counted for: the set "shapes"


class Variant(NamedTuple):
    """A row of a table.

    Attributes:
        name: what `config.model.name` says.
        module: "models.resnet", "models.generators.dcgan": the file below `cvdl_jax`.
        row: its fields.
        source: the paper's table it is from; "" where the comments say nothing.
    """

    name: str
    module: str
    row: dict[str, Any]
    source: str


def variants() -> list[Variant]:
    """All variants: image models, those of the sub-packages, detectors; each kind in the order of its tables."""
    found = []
    for place in (registry.FOLDER, registry.ROOM / "generative", registry.ROOM / "sequence"):
        for family, table in registry.tables(place).items():
            file = registry.file_of(place, family)
            module = f"models.{file.parent.name}.{family}"
            if module not in {variant.module for variant in found}:
                sources = comments(file)
                found += [Variant(name, module, row, sources.get(name, "")) for name, row in table.items()]
    return found + [Variant(name, "models.detection.anchor_detector", {}, "its defaults") for name in builders()]


def builders() -> list[str]:
    """The detectors: public functions of `models/detection/anchor_detector.py`."""
    body = ast.parse(file_of("models.detection.anchor_detector").read_text()).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]


def file_of(module: str) -> Path:
    """The file of "models.backbones.lenet"."""
    return registry.ROOM.parent.joinpath(*module.split(".")).with_suffix(".py")


def comments(path: Path) -> dict[str, str]:
    """{variant: what the source says of it}: the comment line before it, or before rows above it, and the one behind.

    A variant for tests, whose name ends in `_tiny`, is from no paper: it gets only a comment of its own.
    """
    text = path.read_text()
    table = next(
        (node.value for node in ast.parse(text).body if isinstance(node, ast.Assign)
         and any(getattr(target, "id", "") == "VARIANTS" for target in node.targets)),
        None,
    )  # fmt: skip
    if not isinstance(table, ast.Dict):
        return {}
    rows = {key.lineno: (key.value, value.end_lineno) for key, value in zip(table.keys, table.values, strict=True)}
    notes = {t.start[0]: t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT}
    found, above = {}, ""
    for line in range(table.lineno, table.end_lineno + 1):
        note = notes.get(line)
        if note is not None and not note.line[: note.start[1]].strip():
            continues = line - 1 in notes and line - 1 not in rows and line - 1 > table.lineno
            above = f"{above} {_words(note)}" if continues else _words(note)
        if line in rows:
            name, end = rows[line]
            behind = _words(notes[end]) if end in notes else ""
            both = [behind] if name.endswith("_tiny") else [above, behind]
            found[name] = "; ".join(each for each in both if each)
    return found


def _words(note: tokenize.TokenInfo) -> str:
    return note.string.lstrip("# ").strip()


def modules() -> dict[str, str]:
    """{module: the first line of its docstring}."""
    found = {}
    for module in dict.fromkeys(variant.module for variant in variants()):
        text = ast.get_docstring(ast.parse(file_of(module).read_text())) or ""
        found[module] = text.splitlines()[0] if text else ""
    return found


def find(name: str) -> Variant:
    """The variant of a name.

    Raises:
        ConfigError: with the nearest variant or config file.
    """
    known = {variant.name: variant for variant in variants()}
    if name not in known:
        raise ConfigError(f"--config {name}: there is no such config file or model variant; {nearest(name, known)}")
    return known[name]


def initialiser(variant: Variant) -> tuple[Callable, str] | None:
    """What initialises a variant on one example, and what its input is; None for a kind that is not known here.

    Returns:
        (`key -> variables`, "32x32x3"). Image models have 10 classes, 1000 from 224 pixels on, discriminators 1;
        sequence models read one of 65 symbols; detectors have 6 classes.
    """
    import importlib

    import jax.numpy as jnp

    module = importlib.import_module(f"cvdl_jax.{variant.module}")
    name, row, package = variant.name, variant.row, variant.module.rpartition(".")[0]
    if package == "models.backbones" or variant.module == "models.generative.dcgan":
        classes = 1 if "discriminator" in name else 1000 if row["input"][0] >= 224 else 10
        model, x, shape = module.build(name, classes), jnp.zeros((1, *row["input"])), _by(row["input"])
    elif package == "models.generative":
        model, x = module.build(name, row["output"]), jnp.zeros((1, row["latent"]))
        shape = f"{row['latent']} -> {_by(row['output'])}"
    elif package == "models.sequence":
        model, x, shape = module.build(name, SYMBOLS), jnp.zeros((1, 1), jnp.int32), "1 symbol"
    elif package == "models.detection":
        model, x, shape = getattr(module, name)(OUTPUTS), jnp.zeros((1, *SCENE)), _by(SCENE)
    else:
        return None
    return lambda key: model.init(key, x, False), shape


def size(variant: Variant) -> tuple[str, str, str]:
    """(input, parameters, multiply-accumulates) of a variant, as text."""
    known = initialiser(variant)
    if known is None:
        return "", "", ""
    import jax

    from cvdl_jax.core import counting

    init, shape = known
    jaxpr, variables = jax.make_jaxpr(init, return_shape=True)(jax.random.key(0))
    return shape, f"{counting.parameters(variables['params']):,}", f"{counting.jaxpr_macs(jaxpr.jaxpr):,}"


def overview(say: Callable[[str], None]) -> None:
    """Prints every family with its variants, one family at a time, since counting takes a moment."""
    say("Model variants. MACs: multiply-accumulates of one example's forward pass, products and convolutions alone.")
    say("10 classes; 1000 from 224 pixels on, discriminators 1, detectors 6; sequence models: one of 65 characters.")
    everything = variants()
    for module, summary in modules().items():
        path = f"cvdl_jax/{module.replace('.', '/')}.py"
        own = [variant for variant in everything if variant.module == module]
        rows = [(v.name, *size(v), v.source or ("for tests" if v.name.endswith("_tiny") else "")) for v in own]
        head = ("variant", "input", "parameters", "MACs", "from")
        title = f"{path}: {summary.replace('`', '')}"
        say("\n" + "\n".join([title, *columns([head, *rows], "llrrl", 2)]))


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
