"""Files, folders and definitions that README, CONTRIBUTING and the pages of docs/ mention exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
GENERATED = ("CURRICULUM.md", "settings.md")
DOCUMENTS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "docs/curriculum.csv")]
DOCUMENTS += [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in GENERATED]
FOLDERS = ("cvdl_jax", "experiments", "configs", "tests", "benchmarks", "docs")
FILES = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
FILES |= {path.name for path in ROOT.glob("*.py")}
# A path that ends in .py, with the name of a definition in that file if it has one; `<name>.py` is a pattern, no path.
MENTION = re.compile(r"(?<![\w/>.-])((?:[\w.-]+/)*\w+\.py)\b(?::(\w+)(?![\w=]))?")
FOLDER = re.compile(r"`(cvdl_jax/[\w/]+)`")
EXAMPLES = {"mynet.py", "mine.py", "name.py", "path.py", "__init__.py"}  # files that a reader writes, and no one file


def resolved(path):
    """The files that a mention means: by their path from the root or the package, or, with a folder, by its end."""
    whole = (path, f"cvdl_jax/{path}")
    return [file for file in FILES if file in whole or ("/" in path and file.endswith("/" + path))]


@cache
def definitions(file):
    """The names that a file defines at its top level."""
    names = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        names |= {getattr(node, "name", None), *(getattr(target, "id", None) for target in targets)}
    return names


def unresolved(text):
    """The mentions of a text that do not exist."""
    wrong = []
    for match in MENTION.finditer(text):
        path, name = match.groups()
        if path.rpartition("/")[2] in EXAMPLES:
            continue
        files = resolved(path)
        in_package = any(file.startswith("cvdl_jax/") for file in files)  # after a config, a colon begins its arguments
        if not files or (name and in_package and not any(name in definitions(file) for file in files)):
            wrong.append(match[0])
    return wrong + [path for path in FOLDER.findall(text) if not (ROOT / path).is_dir()]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_what_a_document_mentions_exists(page):
    assert unresolved(page.read_text(encoding="utf-8")) == []


def test_mentions_of_what_is_not_there_are_seen():
    text = (
        "`cvdl_jax/ops/normalise.py:normalise(x, axes)` and `core/task.py` exist, `configs/tables/mnist_headline.py:x` "
        "has an argument, `experiments/<name>.py` is a pattern, `tests/mine.py` an example; these do not exist: "
        "`cvdl_jax/ops/normalize.py`, `task.py`, `core/tusk.py`, `ops/normalise.py:normalize`, `cvdl_jax/opps/`"
    )
    assert unresolved(text) == [
        "cvdl_jax/ops/normalize.py", "task.py", "core/tusk.py", "ops/normalise.py:normalize", "cvdl_jax/opps/",
    ]  # fmt: skip
