"""How often the test set was looked at, and how the run does on external sets: sections of the page of a run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.metrics.stats.paired_tests import format_p
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, el, section, table
from cvdl_jax.workdir import test_set_ledger
from cvdl_jax.workdir.folder import read_json

SIDES = ("development", "external")


def show(folder: Path) -> list[Markup]:
    """The section of the evaluations that are counted, and one for each external set.

    Args:
        folder: of the run.
    """
    return [part for part in [counted(folder), *map(_external, _files(folder))] if part is not None]


def _files(folder: Path) -> list[Path]:
    return sorted((folder / test_set_ledger.EXTERNAL).glob("*.json"))


def counted(folder: Path) -> Markup | None:
    """How often the test split and every external set were evaluated, and as what; None before the first time."""
    path = folder / test_set_ledger.NAME
    later = [look["split"] for look in read_json(path)] if path.exists() else []
    splits = list(dict.fromkeys(["test", *later]))
    looks = {split: test_set_ledger.looks(folder, split) for split in splits}
    looks = {split: made for split, made in looks.items() if made}
    if not looks:
        return None
    said = [_said(split, len(made)) for split, made in looks.items()]
    columns = [Column("set"), Column("step", True), Column("weights"), Column("changes"), Column("accuracy", True),
               Column("when")]  # fmt: skip
    rows = [_row(look) for made in looks.values() for look in made]
    shown = table(columns, rows, "Evaluations of test sets", class_="narrow") if len(rows) > 1 else None
    return section("looks", "Test sets", el("p", " ".join(said)), shown)


def _said(split: str, n: int) -> str:
    name = "Test set" if split == "test" else split[:1].upper() + split[1:]
    warning = "; the figures after the first are no longer of an untouched set" if n > 1 else ""
    return f"{name} evaluated {test_set_ledger.times(n)}{warning}."


def _row(look: Mapping[str, Any]) -> Sequence[Any]:
    accuracy = next((x for key, x in look["metrics"].items() if key.endswith("/accuracy")), None)
    shown = numbers.NO_NUMBER if accuracy is None else Cell(numbers.percent(accuracy), accuracy)
    changes = " ".join(look["changes"]) or "none"
    return look["split"], look["step"], look["weights"], changes, shown, look["time"]


def _external(path: Path) -> Markup:
    """Development and external set side by side."""
    comparison = read_json(path)
    sets, change, labels = [comparison[side] for side in SIDES], comparison["difference"], comparison["labels"]
    rows = [(side["name"], side["n"], _share(side, "accuracy")) for side in sets]
    said = numbers.minus(
        f"External minus development: {100 * change['value']:+.2f} points [{100 * change['low']:+.2f}, "
        f"{100 * change['high']:+.2f}] (Newcombe's 95 % interval), {format_p(change['p'])} (z test of two independent "
        f"proportions). The distributions of the classes differ by {labels['distance']:.3f} (total variation), "
        f"{format_p(labels['p'])} (chi-squared, {labels['degrees']} degrees of freedom)."
    )
    name = comparison["external"]["name"]
    columns = [Column("set"), Column("examples", True), Column("accuracy", True)]
    return section(
        f"external-{path.stem}",
        f"Representativeness: {name}",
        table(columns, rows, f"Accuracy on the development set and on {name}", class_="narrow"),
        el("p", said),
        el("h3", "Recall of each class"),
        _classes(comparison["classes"], name),
        _pixels(comparison, sets),
        _differences(comparison.get("differences")),
    )


def _share(side: Mapping[str, Any], name: str) -> Cell:
    return numbers.proportion(side[name], side["low"], side["high"])


def _classes(classes: Sequence[Mapping[str, Any]], name: str) -> Markup:
    """Recall of every class in both sets."""
    columns = [Column("class"), Column("examples", True), Column("recall", True), Column("external examples", True),
               Column("external recall", True), Column("difference", True), Column("p", True)]  # fmt: skip
    rows = []
    for i, row in enumerate(classes):
        change = row["difference"]
        moved = numbers.NO_NUMBER if change is None else Cell(numbers.minus(f"{100 * change:+.1f}"), change)
        recalls = [cell for side in SIDES for cell in (row[side]["n"], _share(row[side], "recall"))]
        rows.append((Cell(row["name"], i), *recalls, moved, numbers.p_value(row["p"])))
    note = f"Brackets: Wilson's 95 % intervals; p of {len(rows)} tests, not corrected for their number."
    return Markup(table(columns, rows, f"Recall of each class, {name}") + el("p", note, class_="note"))


def _pixels(comparison: Mapping[str, Any], sets: Sequence[Mapping[str, Any]]) -> Markup | None:
    """Brightness of the images in both sets."""
    if not comparison["pixels"]:
        return None
    columns = [Column("set"), Column("channel", True), Column("mean", True), Column("standard deviation", True)]
    rows = []
    for side in sets:
        for c, (mean, std) in enumerate(zip(side["pixels"]["mean"], side["pixels"]["std"], strict=True)):
            rows.append((side["name"], c, Cell(f"{mean:.4f}", mean), Cell(f"{std:.4f}", std)))
    note = ("Pixels in 0..1 as they are before normalisation; their histograms differ by "
            f"{comparison['pixels']['distance']:.3f} (total variation of 16 bins).")  # fmt: skip
    return Markup(el("h3", "Pixels") + table(columns, rows, "Pixels of both sets", class_="narrow") +
                  el("p", note, class_="note"))  # fmt: skip


def _differences(differences: Mapping[str, Any] | None) -> Markup | None:
    """Resolution, light, colour and scale of the stored images of both sets."""
    if differences is None:
        return None
    columns = [Column("measure"), Column("median", True), Column("external median", True),
               Column("Cliff's delta", True), Column("p", True)]  # fmt: skip
    rows = []
    for i, (name, row) in enumerate(differences["measures"].items()):
        medians = [Cell(f"{x:.4g}", x) for x in row["medians"]]
        delta = Cell(numbers.minus(f"{row['delta']:+.2f}"), row["delta"])
        rows.append((Cell(name, i), *medians, delta, numbers.p_value(row["corrected"])))
    note = "Images as they are stored; p of Kolmogorov and Smirnov's test, corrected for their number (Holm)."
    if differences["classifier"]:
        told, mmd = differences["classifier"], differences["discrepancy"]
        note += (
            f" From all measures a logistic regression tells {told['right']} of {told['n']} images apart, "
            f"{format_p(told['p'])}; squared maximum mean discrepancy {mmd['value']:.4f}, {format_p(mmd['p'])}."
        )
    return Markup(el("h3", "Images") + table(columns, rows, "Images of both sets", class_="narrow") +
                  el("p", note, class_="note"))  # fmt: skip
