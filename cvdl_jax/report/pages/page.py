"""The frame of a page: one file with its style and script in it, which asks no network for anything."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.report.pages.markup import Markup, el
from cvdl_jax.workdir.folder import write_whole

HERE = Path(__file__).parent
# Nothing is loaded from anywhere, whatever a run wrote: the browser itself refuses.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def render(
    title: str, header: Any, sections: Sequence[Markup | None], footer: Any, scripts: Sequence[str] = ("page.js",)
) -> str:
    """A whole page.

    Args:
        title: of the window.
        header: above the navigation.
        sections: of `markup.section`; None is left out.
        footer: the last line.
        scripts: files beside this one.
    """
    shown = [part for part in sections if part is not None]
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="color-scheme", content="light dark"),
        el("link", rel="icon", href="data:,"),
        el("title", title),
        el("style", Markup((HERE / "style.css").read_text(encoding="utf-8"))),
    )
    theme = el("button", "theme: system", type="button", id="theme", class_="needs-script")
    links = [el("a", _heading(part), href=f"#{_id(part)}") for part in shown]
    body = el(
        "body",
        el("a", "Skip to content", href="#main", class_="skip"),
        el("header", header),
        el("nav", links, theme, aria_label="Sections"),
        el("main", shown, id="main"),
        el("footer", footer),
        el("div", id="said", role="status", class_="unseen"),
        [el("script", Markup((HERE / file).read_text(encoding="utf-8"))) for file in scripts],
    )
    return f'<!doctype html>\n<html lang="en">{head}{body}</html>\n'


def _id(section: Markup) -> str:
    return section.partition('id="')[2].partition('"')[0]


def _heading(section: Markup) -> Markup:
    return Markup(section.partition("<h2")[2].partition(">")[2].partition("</h2>")[0])


def write(path: Path, page: str) -> Path:
    """Writes a page: readers see the old one or the new one, whole."""
    write_whole(path, page.encode("utf-8", "backslashreplace"))  # a command line may hold bytes that are no text
    return path
