"""HTML as values: text is escaped unless it is markup already, so that nothing a run wrote can become markup.

el("td", "a < b", class_="name", data_value=3)  ->  <td class="name" data-value="3">a &lt; b</td>
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

_VOID = {"br", "circle", "hr", "img", "input", "line", "link", "meta", "path", "rect"}
_ENDED_BY_SLASH = {"circle", "line", "path", "rect"}  # SVG's: as HTML they would stay open
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f]")  # no character of HTML; a model may sample them


class Markup(str):
    """Text that is HTML."""


class Column(NamedTuple):
    """A column of `table`.

    Attributes:
        title: its header.
        numeric: aligned to the right, sorted by number.
        hint: what the header says when pointed at.
    """

    title: str
    numeric: bool = False
    hint: str = ""


class Cell(NamedTuple):
    """A cell of `table` whose text is not what it is sorted by.

    Attributes:
        shown: text or markup.
        value: a number or text to sort by; None, NaN and infinities sort last.
        class_: of the cell.
    """

    shown: Any
    value: Any = None
    class_: str = ""


def text(value: Any) -> Markup:
    """A value as HTML: markup as it is, None as nothing, sequences joined, anything else escaped."""
    if value is None:
        return Markup("")
    if isinstance(value, Markup):
        return value
    if isinstance(value, list | tuple):
        return Markup("".join(text(part) for part in value))
    return Markup(escape(_CONTROLS.sub("\ufffd", str(value)), quote=True))


def el(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element.

    Args:
        name: of the element.
        *children: see `text`.
        **attributes: `class_` is class, `data_value` is data-value; True is an attribute without value, None and False
            are left out.
    """
    parts = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        parts.append(key if value is True else f'{key}="{text(str(value))}"')
    if name in _VOID:
        return Markup(f"<{' '.join(parts)}{' /' if name in _ENDED_BY_SLASH else ''}>")
    return Markup(f"<{' '.join(parts)}>{text(list(children))}</{name}>")


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Any] | Markup],
    caption: str,
    *,
    id_: str | None = None,
    class_: str = "",
    heads: int = 1,
) -> Markup:
    """A table whose headers sort it.

    Args:
        columns: of the table.
        rows: of cells: `Cell`, text, markup or numbers; a number is sorted as one. Markup is a whole row that stays
            beneath the one before it.
        caption: what the table shows, for those who do not see it.
        id_: by which `#sort=ID.COLUMN.descending` names it.
        class_: of the table.
        heads: how many cells of a row are its header.
    """
    head = [
        el("th", el("button", c.title, type="button"), scope="col", class_="number" if c.numeric else None,
           title=c.hint or None)
        for c in columns
    ]  # fmt: skip
    body = [
        row if isinstance(row, Markup) else
        el("tr", [_cell(column, cell, i < heads) for i, (column, cell) in enumerate(zip(columns, row, strict=True))])
        for row in rows
    ]  # fmt: skip
    whole = el("table", el("caption", caption), el("thead", el("tr", head)), el("tbody", body),
               id=id_, class_=f"sortable {class_}".strip())  # fmt: skip
    return el("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _cell(column: Column, cell: Any, is_head: bool) -> Markup:
    value = None  # sorted by its text
    if isinstance(cell, Cell):
        value = "" if cell.value is None else cell.value
    elif isinstance(cell, int | float):
        value, cell = cell, Cell(f"{cell:,}")
    else:
        cell = Cell(cell)
    if isinstance(value, float) and not math.isfinite(value):
        value = ""
    classes = " ".join(filter(None, ["number" if column.numeric else "", cell.class_])) or None
    name, scope = ("th", "row") if is_head else ("td", None)
    return el(name, cell.shown, scope=scope, class_=classes, data_value=value)


def pairs(values: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> Markup:
    """A list of names and values, those that are None left out."""
    items = values.items() if isinstance(values, Mapping) else values
    return el("dl", [el("div", el("dt", k), el("dd", v)) for k, v in items if v is not None], class_="pairs")


def section(id_: str, title: str, *children: Any) -> Markup:
    """A part of a page, with a heading that the navigation leads to."""
    return el("section", el("h2", title, id=f"{id_}-title"), *children, id=id_, aria_labelledby=f"{id_}-title")


def details(summary: Any, *children: Any, open_: bool = False, class_: str | None = None) -> Markup:
    """A part that is folded until it is asked for."""
    return el("details", el("summary", summary), *children, open=open_, class_=class_)


def code_block(content: str, name: str, *, class_: str = "") -> Markup:
    """Preformatted text with a button that copies it.

    Args:
        content: the text.
        name: what the button says it copies.
        class_: "wrap" breaks long lines.
    """
    return el("div", el("pre", content, tabindex=0), copy_button(content, name), class_=f"code {class_}".strip())


def command_row(title: str, content: str) -> Markup:
    """A command line to copy, under its title."""
    shown = code_block(content, "command", class_="wrap")
    return el("div", el("span", title, class_="label"), shown, class_="command-row")


def copy_button(content: str, name: str) -> Markup:
    """A button that copies a text to the clipboard."""
    return el("button", "copy", type="button", class_="copy", data_copy=content, aria_label=f"copy {name}")


def copied(value: Any, name: str, most: int = 64) -> Markup | None:
    """A piece of code with a button that copies it; None without one.

    Args:
        value: what is copied.
        name: what the button says it copies.
        most: characters that are shown; the whole is a hint.
    """
    if not value:
        return None
    whole = str(value)
    shown = whole if len(whole) <= most else f"{whole[: most - 4]}…"
    return el("span", el("code", shown, title=whole), copy_button(whole, name), class_="copied")


def image(data: str, alt: str, **attributes: Any) -> Markup:
    """A PNG image within the page.

    Args:
        data: its bytes in base64.
        alt: what it shows.
        **attributes: as of `el`.
    """
    return el("img", src=f"data:image/png;base64,{data}", alt=alt, **attributes)


def data_script(id_: str, value: Any) -> Markup:
    """Data for the page's script; no text in it can end the element.

    Raises:
        ValueError: for a number that JSON does not know.
    """
    encoded = json.dumps(value, allow_nan=False, separators=(",", ":"))
    encoded = encoded.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{text(id_)}">{encoded}</script>')
