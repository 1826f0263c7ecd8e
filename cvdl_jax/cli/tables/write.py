"""Writes what a table's dict holds: results.json, .md, .tex, .csv and .html."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.cli.tables import render


def write_all(results: Mapping[str, Any], root: Path) -> list[Path]:
    """Writes every form of the results into a folder.

    Returns:
        The files.
    """
    root.mkdir(parents=True, exist_ok=True)
    texts = {"json": as_json, "md": render.markdown, "tex": render.latex, "csv": render.comma_separated}
    for ending, text_of in texts.items():
        write_text(root / f"results.{ending}", text_of(results))
    from cvdl_jax.report.pages import table_page

    page = root / "results.html"
    table_page.write(dict(results), page)
    return [root / f"results.{ending}" for ending in texts] + [page]


def as_json(results: Mapping[str, Any]) -> str:
    """The dict itself."""
    return json.dumps(results, indent=2) + "\n"


def write_text(path: Path, text: str) -> None:
    """Writes a file whole or not at all, whoever else is writing it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
