"""Writes docs/CURRICULUM.md: which row of the curriculum is where, from the tests that passed.

    python docs/make_curriculum.py RESULTS.json ...            writes the page
    python docs/make_curriculum.py --check RESULTS.json ...    exits 1 if the page is not what would be written

The results come from `pytest --curriculum-json=RESULTS.json`; the names and places from docs/curriculum.csv (id, name,
where, config). `where` and `config` hold one or more paths separated by "; ". After a colon, `where` names what is in
the file, `cvdl_jax/ops/losses/classification.py:hinge`, and `config` gives the arguments,
`configs/classify/mlp.py:data=mnist`. A row is listed if at least one of its tests passed and none failed.
"""

import argparse
import ast
import csv
import difflib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INDEX = ROOT / "docs" / "curriculum.csv"
PAGE = ROOT / "docs" / "CURRICULUM.md"
GROUPS = {
    "A": "Linear models and basic machine learning",
    "B": "MLP, activations, back-propagation",
    "C": "Losses",
    "D": "Optimisation",
    "E": "Initialisation",
    "F": "Regularisation and augmentation",
    "G": "Normalisation",
    "H": "CNN architectures and convolution arithmetic",
    "I": "Transfer, distillation, multi-task, siamese, self-supervised",
    "J": "Attention and transformers",
    "K": "Recurrent networks and captioning",
    "L": "Detection",
    "M": "Segmentation",
    "N": "Evaluation metrics and statistics",
    "O": "Explainability and visualisation",
    "P": "Adversarial examples",
    "Q": "Autoencoders and VAE",
    "R": "GANs and GAN metrics",
    "S": "Diffusion",
    "T": "Reinforcement learning",
    "U": "Distribution shift and domain adaptation",
    "V": "Unsupervised",
    "W": "Data handling, splits, cross-validation, ensembles",
    "X": "Other",
}
HEADER = """# Where the lectures are

The index from the course to the code: find the row, open the file, run the configuration. A row is here because a test
that would fail without it passed; `make test`, `make test-all` and `make curriculum` write this page.
"""


def read_index(path: Path = INDEX) -> list[dict[str, str]]:
    """The rows of the curriculum, in order: id, name, where, config."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def places(cell: str) -> list[str]:
    """The parts of a `where` or `config` cell."""
    return [part.strip() for part in cell.split(";") if part.strip()]


def missing_places(rows: Iterable[Mapping[str, str]], root: Path = ROOT) -> list[str]:
    """What the index names and the tree has not: one sentence for each file or definition that is missing."""
    problems = []
    for row in rows:
        named = [place.partition(":") for place in places(row["where"])]
        named += [(place.partition(":")[0], "", "") for place in places(row["config"])]
        for path, _, name in named:
            if not (root / path).exists():
                problems.append(f"row {row['id']}: docs/curriculum.csv names {path}, which does not exist")
            elif name and name not in definitions(root / path):
                problems.append(f"row {row['id']}: docs/curriculum.csv names {name}, which {path} does not define")
    return problems


def definitions(path: Path) -> set[str]:
    """Names of a Python file's functions, classes and variables; methods as Class.method."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def proofs(tests: Mapping[str, Mapping[str, str]], page: str = "") -> dict[str, list[str]]:
    """Rows that count, with the tests that prove them.

    Args:
        tests: {test: {id: "passed" | "failed" | "skipped"}}.
        page: the present page. A test that was skipped here, for want of a data set, and that the page lists keeps
            its place, so that the page does not depend on which data a machine has.

    Returns:
        {id: tests}.
    """
    passed: dict[str, list[str]] = {}
    failed: set[str] = set()
    for name, outcomes in sorted(tests.items()):
        for row, outcome in outcomes.items():
            listed = outcome == "skipped" and re.search(rf"^\| {row} \|.*`{re.escape(name)}`", page, re.MULTILINE)
            if outcome == "failed":
                failed.add(row)
            elif outcome == "passed" or listed:
                passed.setdefault(row, []).append(name)
    return {row: names for row, names in passed.items() if row not in failed}


def render(rows: Iterable[Mapping[str, str]], proved: Mapping[str, list[str]]) -> str:
    """The page."""
    parts, group = [HEADER], ""
    for row in rows:
        if row["id"] not in proved:
            continue
        if row["id"][0] != group:
            group = row["id"][0]
            parts.append(
                f"\n## {group}. {GROUPS[group]}\n\n| id | what | where | config | tests |\n|---|---|---|---|---|\n"
            )
        cells = [row["id"], row["name"].replace("|", "\\|")]
        cells += [", ".join(map(link, places(row[key]))) for key in ("where", "config")]
        cells.append(", ".join(f"`{name}`" for name in proved[row["id"]]))
        parts.append("| " + " | ".join(cells) + " |\n")
    return "".join(parts)


def link(place: str) -> str:
    """A place as a link from the page to the file."""
    return f"[`{place}`](../{place.partition(':')[0]})"


def load(paths: Iterable[Path]) -> dict[str, dict[str, str]]:
    """The results of several pytest runs together.

    Raises:
        SystemExit: if one is missing.
    """
    tests: dict[str, dict[str, str]] = {}
    for path in paths:
        if not path.exists():
            command = "make test" if path.stem == "quick" else "make test-all"
            raise SystemExit(f"{path} does not exist; it is written by `{command}`")
        for name, outcomes in json.loads(path.read_text(encoding="utf-8")).items():
            tests.setdefault(name, {}).update(outcomes)
    return tests


def main(argv: list[str] | None = None) -> int:
    """Writes or checks the page; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    present = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    rows, proved = read_index(), proofs(load(options.results), present)
    problems = missing_places(rows)
    problems += [f"row {row['id']} is proved and has no `where` in docs/curriculum.csv; say where it lives"
                 for row in rows if row["id"] in proved and not places(row["where"])]  # fmt: skip
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    page = render(rows, proved)
    if not options.check:
        PAGE.write_text(page, encoding="utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}")
        return 0
    changes = difflib.unified_diff(
        present.splitlines(), page.splitlines(), "docs/CURRICULUM.md", "tests", lineterm="", n=0
    )
    text = "\n".join(re.sub(r"(.{300}).+", r"\1...", line) for line in changes)
    if text:
        print(f"{text}\ndocs/CURRICULUM.md is not what the tests prove; type: make curriculum", file=sys.stderr)
        return 1
    print("docs/CURRICULUM.md is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
