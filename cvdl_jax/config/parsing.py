"""What a user types, as values: literals, values in the type of a default, and the "a | b(1)" language of calls."""

import ast
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import ConfigDict

from cvdl_jax.errors import ConfigError


def plain(value: Any) -> Any:
    """ConfigDicts as dicts and lists as tuples, recursively; numbers and strings as they are."""
    if hasattr(value, "items"):
        return {key: plain(sub) for key, sub in value.items()}
    if isinstance(value, list | tuple):
        return tuple(plain(sub) for sub in value)
    return value


def read(text: str) -> Any:
    """A Python literal, or the text itself."""
    if text in ("true", "false"):
        return text == "true"
    try:
        return plain(ast.literal_eval(text))
    except (ValueError, SyntaxError, MemoryError, TypeError):
        return text


def convert(old: Any, text: str, name: str) -> Any:
    """A value typed on the command line, in the type of the present value.

    Args:
        old: the present value; None accepts anything, a string keeps the text as it is.
        text: as typed.
        name: the key, for messages.

    Raises:
        ConfigError: naming the key, the text and the expected type.
    """
    value = read(text)
    if value is None and not isinstance(old, ConfigDict):  # the function that takes it says whether it may be
        return None
    wrong = ConfigError(f"{name}={text!r}: expected {type(old).__name__}, such as {old!r}")
    if old is None:
        return value
    if isinstance(old, ConfigDict):
        if isinstance(value, str) and value.isidentifier():  # schedule=cosine is short for {"name": "cosine"}
            return {"name": value}
        if not isinstance(value, Mapping):
            raise ConfigError(f"{name} is a section; set a key of it, {name}.KEY=VALUE, or clear it by {name}={{}}")
        return value
    if isinstance(old, str):
        quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
        return value if quoted and isinstance(value, str) else text
    if isinstance(old, tuple | list):
        if isinstance(value, str):
            raise wrong
        return value if isinstance(value, tuple) else (value,)
    if isinstance(old, bool):
        if not isinstance(value, bool):
            raise wrong
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong
    if isinstance(old, float):
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise wrong
    return int(value)


def parse_calls(text: str, path: str = "calls") -> list[tuple[str, tuple, dict]]:
    """Reads "flip | padded_crop(padding=4)": names with literal arguments, in order.

    Args:
        text: calls separated by "|"; empty for none. Arguments are Python literals.
        path: name for messages.

    Returns:
        A list of (name, positional arguments, keyword arguments).

    Raises:
        ConfigError: with the position in the text.
    """
    text = " ".join(text.split("\n")).strip()
    if not text:
        return []

    def refuse(position: int, why: str) -> ConfigError:
        form = "write calls as 'flip | padded_crop(padding=4)', and strings in quotes"
        return ConfigError(f"{path}={text!r}, at position {position}: {why}; {form}")

    try:
        node = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise refuse(error.offset or 1, error.msg) from None
    nodes = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):  # "|" binds to the left
        nodes.append(node.right)
        node = node.left
    return [_parse_call(part, refuse) for part in [node, *reversed(nodes)]]


def _parse_call(node: ast.AST, refuse: Callable[[int, str], ConfigError]) -> tuple[str, tuple, dict]:
    function = node.func if isinstance(node, ast.Call) else node
    if not isinstance(function, ast.Name):
        raise refuse(function.col_offset + 1, "expected a name")
    if isinstance(node, ast.Name):
        return node.id, (), {}

    def literal(value: ast.AST) -> Any:
        try:
            return plain(ast.literal_eval(value))
        except ValueError:
            expected = "expected a number, a quoted string, True, False, None or a tuple"
            raise refuse(value.col_offset + 1, expected) from None

    if any(keyword.arg is None for keyword in node.keywords):
        raise refuse(node.col_offset + 1, "'**' is not allowed")
    return function.id, tuple(map(literal, node.args)), {k.arg: literal(k.value) for k in node.keywords}
