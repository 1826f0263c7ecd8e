"""Runs what a table or a sweep still needs and writes its results, or says how far it is."""

import importlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.cli.tables import build_all, render, status
from cvdl_jax.cli.tables.execute import execute
from cvdl_jax.cli.tables.plan import Planned
from cvdl_jax.cli.tables.study import Study
from cvdl_jax.report import table_cells
from cvdl_jax.workdir.folder import replacing, write_whole
from cvdl_jax.workdir.run_state import state_of


def load(args: Any) -> tuple[Any, Study, Path]:
    """The module that plans what the command line names, the table or sweep itself, and its folder.

    Args:
        args: parsed by launch.py, its mode "table" or "sweep".

    Raises:
        ConfigError: for a mistake in the file.
    """
    spec = importlib.import_module(f"cvdl_jax.cli.{args.mode}s.spec")
    study = spec.load(getattr(args, args.mode))
    return spec, study, study.root(args.workdir)


def drive(
    study: Study,
    planned: Sequence[Planned],
    root: Path,
    args: Any,
    collect: Callable[[], dict[str, Any]],
) -> tuple[int, dict[str, Any] | None]:
    """Runs what is not done and writes the results; with --status prints how far the runs are.

    Args:
        study: the table or sweep.
        planned: all its runs.
        root: its folder.
        args: parsed by launch.py.
        collect: makes the results from the folders of the runs.

    Returns:
        (0 if every run is done, 1 if some failed, 75 or 130 if a signal stopped them; the results, which are written
        each time). With --status 0 and None.

    Raises:
        ConfigError: before the first run starts, for a run that could not, or a metric that it would not report.
    """
    if args.status:
        print(status.report(planned, args.workers))
        return 0, None
    todo = study.chosen(planned)
    states = Counter(state_of(run.workdir, run.config).state for run in todo)
    say(f"{study.title}: {len(todo)} runs in {root} ({', '.join(f'{n} {name}' for name, n in states.items())})")
    build_all.check(todo, study.metric["key"], say)
    code = execute(todo, args.workers, say, study.metric["key"])
    results = collect()
    publish(results, root)
    return code, results


def publish(results: dict[str, Any], root: Path) -> None:
    """Writes results in every form and prints them."""
    files = write_all(results, root)
    story = f"{results['caption']}\n\n" if "selected" in results else ""  # of a sweep: what was selected
    say(f"\n{render.console(results)}\n\n{story}results: {', '.join(str(path) for path in files)}")


def write_all(results: Mapping[str, Any], root: Path) -> list[Path]:
    """Writes results.json, .md, .tex, .csv and .html into a folder, each whole or not at all, whoever else writes it.

    Beside them costs.png and .svg, the metric over what the rows cost, where that differs.

    Returns:
        The files.
    """
    from cvdl_jax.report.pages import table_page

    root.mkdir(parents=True, exist_ok=True)
    texts = {
        "json": json.dumps(results, indent=2) + "\n", "md": render.markdown(results), "tex": render.latex(results),
        "csv": render.comma_separated(results),
    }  # fmt: skip
    for ending, text in texts.items():
        write_whole(root / f"results.{ending}", text.encode())
    table_page.write(dict(results), root / "results.html")
    return [root / f"results.{ending}" for ending in (*texts, "html")] + _draw_costs(results, root)


def _draw_costs(results: Mapping[str, Any], root: Path) -> list[Path]:
    """The metric of the measured rows over their parameters and multiply-accumulates; the files."""
    from cvdl_jax.analysis.figures import costs

    rows = [row for row in results["rows"] if row["mean"] is not None]
    points = [costs.Point(*map(row.get, ("name", "mean", "low", "high", "parameters", "macs"))) for row in rows]
    figure, files = costs.draw(points, table_cells.metric_label(results["metric"])), []
    for ending in ("png", "svg"):
        whole = root / f"costs.{ending}"
        if figure is None:
            whole.unlink(missing_ok=True)  # of rows that are no more
            continue
        with replacing(whole) as file:
            figure.savefig(file, format=ending, dpi=150)
        files.append(whole)
    return files


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)
