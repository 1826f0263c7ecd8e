"""The page of a run: `write(workdir)` makes WORKDIR/report.html from the files of the run alone.

It works on every kind of run, also on one that is running, was stopped or failed; parts without files say so.
"""

import shlex
import time
from collections.abc import Mapping
from pathlib import Path

from cvdl_jax.config import places
from cvdl_jax.core import formatting
from cvdl_jax.report.pages import (
    classes,
    curves,
    evaluations,
    figures,
    numbers,
    page,
    parameters,
    provenance,
    replica_scores,
    scores,
    subgroups,
)
from cvdl_jax.report.pages.markup import Cell, Column, Markup, code_block, copied, details, el, section, table
from cvdl_jax.report.pages.run_files import RunFiles, read_run
from cvdl_jax.report.pages.run_header import header, interval, is_analysis, name, replicas, selected_by
from cvdl_jax.report.pages.temperature import fitted
from cvdl_jax.workdir import predictions

NAME = "report.html"


def write(workdir: str | Path) -> Path:
    """Writes the page of a run.

    Args:
        workdir: folder of the run.

    Returns:
        The file that was written.

    Raises:
        UserError: if the folder holds no run, or a file of it is damaged.
    """
    run = read_run(Path(workdir))
    return page.write(run.path / NAME, render(run))


def render(run: RunFiles) -> str:
    """The page of a run as text."""
    analysis = is_analysis(run)
    shown, data = curves.show(run.rows, run.results.get("selected_step"), selected_by(run), analysis)
    sections = [
        failure(run),
        results(run),
        *evaluations.show(run.path),
        shown,
        *classifications(run),
        figures.show(run.path / "figures"),
        parameters.show(run.facts, run.meta.get("model")),
        provenance.time_split(run.results.get("time_split") or {}, run.seconds, analysis),
        provenance.config_section(run.config),
        provenance.provenance_section(run.meta),
        files(run.path),
    ]
    made = f"Written {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} UTC from the files in {run.path}"
    again = f"{places.command()} --mode report --workdir {shlex.quote(str(run.path))}"
    footer = [el("span", made, ". Again: ", el("code", again)), data]
    return page.render(f"{name(run)}: {run.state.state}", header(run), sections, footer, ("page.js", "curves.js"))


def failure(run: RunFiles) -> Markup | None:
    """What went wrong, and the end of what was printed."""
    if run.state.state == "running" or not (run.failed or run.state.state == "failed"):
        return None
    failed, message = run.failed, run.failed.get("message") or run.state.message
    at = f" at step {numbers.count(failed['step'])}" if failed.get("step") is not None else ""
    when = f", {failed['time']}" if failed.get("time") else ""
    return section(
        "failure",
        "Failure",
        el("p", el("strong", failed.get("error") or "error"), at, when),
        code_block(message, "message", class_="wrap error"),
        details("The end of console.log", code_block(run.console, "console.log")) if run.console else None,
    )


def results(run: RunFiles) -> Markup | None:
    """All final metrics, a column for each evaluation."""
    metrics = run.results.get("metrics")
    if not metrics:
        return None
    if replicas(run):
        return replica_scores.results(metrics, run.config["replicas"]["seeds"])
    splits = list(dict.fromkeys(key.partition("/")[0] for key in metrics))
    names = list(dict.fromkeys(key.partition("/")[2] for key in metrics if not key.endswith(("_low", "_high"))))
    rows = [[metric, *(_metric(f"{split}/{metric}", metrics) for split in splits)] for metric in names]
    columns = [Column("metric"), *(Column(split, True) for split in splits)]
    notes = ["Brackets: 95 % interval over examples."] if any(interval(k, metrics) for k in metrics) else []
    return section("results", "Results", table(columns, rows, "Final metrics of the selected step", class_="narrow"),
                   [el("p", note, class_="note") for note in notes])  # fmt: skip


def _metric(key: str, metrics: Mapping[str, float]) -> Cell:
    if key not in metrics:
        return numbers.NO_NUMBER
    x, ends = metrics[key], interval(key, metrics)
    return Cell(numbers.value(x), x) if ends is None else numbers.proportion(x, *ends)


def classifications(run: RunFiles) -> list[Markup | None]:
    """Two sections for each evaluation that classified whole examples, and a note for each file that cannot be read."""
    saved, names = run.facts.get("mistakes") or {}, run.facts.get("class_names") or ()
    read, shown = list(predictions.evaluations(run.path / "predictions")), []
    readable = [evaluation for evaluation in read if isinstance(evaluation, predictions.Classified)]
    temperature = fitted(readable, scores.MOST_SCORES)
    for evaluation in read:
        if isinstance(evaluation, predictions.Classified):
            shown.append(classes.show(evaluation.name, evaluation, names, saved.get(evaluation.name), temperature))
            shown.append(subgroups.show(evaluation, names, run.config.get("subgroups") or {}))
        else:
            shown.append(section(f"damaged-{len(shown)}", "Predictions", el("p", evaluation, class_="note")))
    return shown


def files(folder: Path) -> Markup:
    """What lies in the folder."""
    paths = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and path.name != NAME]
    rows = []
    for path in paths:
        inside = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
        size = sum(map(_size, inside))
        many = f"{numbers.count(len(inside))} files" if path.is_dir() else ""
        rows.append((f"{path.name}/" if path.is_dir() else path.name, many, Cell(formatting.binary(size, 1), size)))
    columns = [Column("name"), Column("holds"), Column("size", True)]
    where = el("p", copied(folder.absolute(), "path", 500))
    return section("files", "Files", where, table(columns, rows, "Files of the run", class_="mono narrow"))


def _size(path: Path) -> int:
    """Bytes of a file; 0 if a run that goes on has removed it meanwhile."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
