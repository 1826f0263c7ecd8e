"""How often the test set was looked at, and how the run does on external sets: sections of the page of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.metrics.stats.paired_tests import format_p
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, section, table
from cvdl_jax.workdir import test_set_ledger
from cvdl_jax.workdir.folder import read_json


def show(folder: Path) -> list[Markup]:
    """The section of the evaluations that are counted, and one for each external set.

    Args:
        folder: of the run.
    """
    return [each for each in [counted(folder), *map(_external, _files(folder))] if each is not None]


def _files(folder: Path) -> list[Path]:
    return sorted((folder / test_set_ledger.EXTERNAL).glob("*.json"))


def counted(folder: Path) -> Markup | None:
    """How often the test split and every external set were evaluated, and as what; None before the first time."""
    path = folder / test_set_ledger.NAME
    later = [each["split"] for each in read_json(path)] if path.exists() else []
    splits = list(dict.fromkeys(["test", *later]))
    looks = {split: test_set_ledger.looks(folder, split) for split in splits}
    looks = {split: found for split, found in looks.items() if found}
    if not looks:
        return None
    said = [_said(split, len(found)) for split, found in looks.items()]
    columns = [Column("set"), Column("step", True), Column("weights"), Column("changes"), Column("accuracy", True),
               Column("when")]  # fmt: skip
    rows = [_row(each) for found in looks.values() for each in found]
    shown = table(columns, rows, "Evaluations of test sets", class_="narrow") if len(rows) > 1 else None
    return section("looks", "Test sets", el("p", " ".join(said)), shown)


def _said(split: str, n: int) -> str:
    name = "Test set" if split == "test" else split[:1].upper() + split[1:]
    warning = "; the figures after the first are no longer of an untouched set" if n > 1 else ""
    return f"{name} evaluated {test_set_ledger.times(n)}{warning}."


def _row(each: Mapping[str, Any]) -> Sequence[Any]:
    accuracy = next((x for key, x in each["metrics"].items() if key.endswith("/accuracy")), None)
    shown = Cell("–", None) if accuracy is None else Cell(numbers.percent(accuracy), accuracy)
    return (each["split"], Cell(numbers.count(each["step"]), each["step"]), each["weights"],
            " ".join(each["changes"]) or "none", shown, each["time"])  # fmt: skip


def _external(path: Path) -> Markup:
    """Development and external set side by side."""
    found = read_json(path)
    sets, change, labels = (found["development"], found["external"]), found["difference"], found["labels"]
    rows = [(each["name"], each["n"], _proportion(each["accuracy"], each)) for each in sets]
    said = (
        f"External minus development: {100 * change['value']:+.2f} points [{100 * change['low']:+.2f}, "
        f"{100 * change['high']:+.2f}] (Newcombe's 95 % interval), {format_p(change['p'])} (z test of two independent "
        f"proportions). The distributions of the classes differ by {labels['distance']:.3f} (total variation), "
        f"{format_p(labels['p'])} (chi-squared, {labels['degrees']} degrees of freedom)."
    )
    name = found["external"]["name"]
    columns = [Column("set"), Column("examples", True), Column("accuracy", True)]
    return section(
        f"external-{path.stem}",
        f"Representativeness: {name}",
        table(columns, rows, f"Accuracy on the development set and on {name}", class_="narrow"),
        el("p", said),
        el("h3", "Recall of each class"),
        _classes(found["classes"], name),
        _pixels(found, sets),
    )


def _proportion(value: float | None, ends: Mapping[str, Any]) -> Cell:
    if value is None:
        return Cell("–", None)
    low, high = (f"{100 * ends[key]:.2f}" for key in ("low", "high"))
    return Cell([numbers.percent(value), " ", el("small", f"[{low}, {high}]")], value)


def _classes(classes: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Recall of every class in both sets."""
    columns = [Column("class"), Column("examples", True), Column("recall", True), Column("external examples", True),
               Column("external recall", True), Column("difference", True), Column("p", True)]  # fmt: skip
    rows = []
    for i, each in enumerate(classes):
        a, b, change = each["development"], each["external"], each["difference"]
        moved = Cell("–", None) if change is None else Cell(f"{100 * change:+.1f}", change)
        p = Cell("–", None) if each["p"] is None else Cell(format_p(each["p"]).removeprefix("p = "), each["p"])
        rows.append((Cell(each["name"], i), a["n"], _proportion(a["recall"], a), b["n"], _proportion(b["recall"], b),
                     moved, p))  # fmt: skip
    note = f"Brackets: Wilson's 95 % intervals; p of {len(rows)} tests, not corrected for their number."
    return Markup(table(columns, rows, f"Recall of each class, {name}") + el("p", note, class_="note"))


def _pixels(found: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Brightness of the images in both sets."""
    if not found["pixels"]:
        return None
    columns = [Column("set"), Column("channel", True), Column("mean", True), Column("standard deviation", True)]
    rows = []
    for each in sets:
        for c, (mean, std) in enumerate(zip(each["pixels"]["mean"], each["pixels"]["std"], strict=True)):
            rows.append((each["name"], c, Cell(f"{mean:.4f}", mean), Cell(f"{std:.4f}", std)))
    note = ("Pixels in 0..1 as they are before normalisation; their histograms differ by "
            f"{found['pixels']['distance']:.3f} (total variation of 16 bins).")  # fmt: skip
    return Markup(el("h3", "Pixels") + table(columns, rows, "Pixels of both sets", class_="narrow") +
                  el("p", note, class_="note"))  # fmt: skip
