"""What there is to choose from: every model variant with its size and the paper's table it is from.

The variants are those of `cvdl_jax/models/registry.py`, of every kind. The comment above a row of a family's table, or
behind it, says where the row is from. This file imports no JAX before something is counted.
"""

import ast
import io
import tokenize
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cvdl_jax.core.formatting import columns
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.models import registry
from cvdl_jax.models.registry import Variant


def comments(path: Path) -> dict[str, str]:
    """{variant: what the source says of it}: the comment line before it, or before rows above it, and the one behind.

    A variant for tests, whose name ends in `_tiny`, is from no paper: it gets only a comment of its own.
    """
    text = path.read_text()
    table = registry.table_of(ast.parse(text).body)
    if table is None:
        return {}
    rows = {key.lineno: (key.value, value.end_lineno) for key, value in zip(table.keys, table.values, strict=True)}
    inside = {line for start, (_, end) in rows.items() for line in range(start + 1, end)}
    notes = {t.start[0]: t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.COMMENT}
    alone = {line for line, t in notes.items() if line not in inside and not t.line[: t.start[1]].strip()}
    sources, above = {}, ""
    for line in range(table.lineno, table.end_lineno + 1):
        if line in alone:
            above = f"{above} {_words(notes[line])}" if line - 1 in alone else _words(notes[line])
        if line in rows:
            name, end = rows[line]
            behind = _words(notes[end]) if end in notes else ""
            remarks = [behind] if name.endswith("_tiny") else [above, behind]
            sources[name] = "; ".join(remark for remark in remarks if remark)
    return sources


def _words(note: tokenize.TokenInfo) -> str:
    return note.string.lstrip("# ").strip()


def source(variant: Variant) -> str:
    """The paper's table that a variant is from; "" where the comments say nothing."""
    return comments(variant.file).get(variant.name, "")


def summary(file: Path) -> str:
    """The first line of a family's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text())) or "").partition("\n")[0]


def find(name: str) -> Variant:
    """The variant of a name.

    Raises:
        ConfigError: with the nearest variant or config file.
    """
    known = registry.variants()
    if name not in known:
        raise ConfigError(f"--config {name}: there is no such config file or model variant; {nearest(name, known)}")
    return known[name]


def initialiser(variant: Variant) -> tuple[Callable, str]:
    """What initialises a variant on one example, and what its input is.

    Returns:
        (`key -> variables`, "32x32x3"). The variant is made as its row describes it, such as with 10 classes. Whole
        numbers are symbols, "1 symbol"; what makes something of a given shape says so, "100 -> 64x64x3".
    """
    model, inputs = registry.example(variant.name)
    words = ", ".join(_input(x) for x in inputs)
    if "shape" in variant.context:
        words += f" -> {_by(variant.row['shape'])}"
    return lambda key: model.init(key, *inputs, False), words


def _input(x: Any) -> str:
    """One input of a model in words: 32x32x3 for an image, 5 symbols for a sequence of whole numbers."""
    if x.dtype.kind == "i":
        return f"{_by(x.shape[1:])} symbol{'' if x.size == 1 else 's'}"
    return _by(x.shape[1:])


def size(variant: Variant) -> tuple[str, str, str]:
    """(input, parameters, multiply-accumulates) of a variant, as text.

    Our own rows state what tests count; what a row leaves open, and a user's own, is counted here.
    """
    make, words = initialiser(variant)
    if variant.file.is_relative_to(registry.ROOM) and {"params", "macs"} <= variant.row.keys():
        return words, f"{variant.row['params']:,}", f"{variant.row['macs']:,}"
    import jax

    from cvdl_jax.core import counting

    jaxpr, variables = jax.make_jaxpr(make, return_shape=True)(jax.random.key(0))
    return words, f"{counting.parameters(variables['params']):,}", f"{counting.jaxpr_macs(jaxpr.jaxpr):,}"


def overview(say: Callable[[str], None]) -> None:
    """Prints every family with its variants, one family at a time, since counting takes a moment."""
    say("Model variants. MACs: multiply-accumulates of one example's forward pass, products and convolutions alone.")
    say("10 classes; 1000 from 224 pixels on, discriminators 1, detectors 6; sequence models: one of 65 characters.")
    families: dict[Path, list[Variant]] = {}
    for variant in registry.variants().values():
        families.setdefault(variant.file, []).append(variant)
    for file, family in families.items():
        sources = comments(file)
        rows = [
            (v.name, *size(v), sources[v.name] or ("for tests" if v.name.endswith("_tiny") else "")) for v in family
        ]
        head = ("variant", "input", "parameters", "MACs", "from")
        title = f"{path_of(family[0])}: {summary(file).replace('`', '')}"
        say("\n" + "\n".join([title, *columns([head, *rows], "llrrl", 2)]))


def path_of(variant: Variant) -> str:
    """The family's file as a path in the repository, "cvdl_jax/models/backbones/lenet.py"; of a user's own as it is."""
    if not variant.file.is_relative_to(registry.ROOM):
        return str(variant.file)
    return f"{variant.module.replace('.', '/')}.py"


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
