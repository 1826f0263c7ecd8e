"""What a run's folder holds, read for its page: anything but the configuration may be missing."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from cvdl_jax.errors import UserError
from cvdl_jax.workdir import report_facts
from cvdl_jax.workdir.folder import Workdir, read_json
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import RunState, seconds, state_of

CONSOLE_BYTES = 8000  # of the end of console.log


class RunFiles(NamedTuple):
    """The files of a run.

    Attributes:
        path: of the folder.
        state: how far the run is.
        config: the resolved configuration.
        meta: provenance, {} before the first start.
        rows: of metrics.jsonl.
        results: final metrics; {} before the end.
        failed: error, message, step and time of a failure; {} without one.
        facts: what was saved for the page at the end; {} before it.
        seconds: of all starts together; None without rows.
        console: the end of what was printed, where the run had a console.log.
    """

    path: Path
    state: RunState
    config: dict[str, Any]
    meta: dict[str, Any]
    rows: list[dict[str, float]]
    results: dict[str, Any]
    failed: dict[str, Any]
    facts: dict[str, Any]
    seconds: float | None
    console: str


def read_run(folder: Path) -> RunFiles:
    """Reads a run's folder.

    Raises:
        UserError: if it is not one, or a file of it is damaged.
    """
    workdir = Workdir(folder)
    config = read_json(workdir.config)
    rows = read(workdir.metrics)
    results = _json(workdir.results)
    return RunFiles(
        path=Path(folder),
        state=state_of(folder, config, ended=workdir.holder() == os.getpid()),
        config=config,
        meta=workdir.read_meta(),
        rows=rows,
        results=results,
        failed=_json(workdir.failed),
        facts=_json(workdir.figures / report_facts.NAME),
        seconds=seconds(rows),
        console=_tail(Path(folder) / "console.log"),
    )


def _json(path: Path) -> dict[str, Any]:
    """The dictionary of a JSON file, {} where there is none."""
    content = read_json(path) if path.exists() else {}
    if not isinstance(content, dict):
        raise UserError(f"{path} is damaged (it holds no dictionary); restore it, or use a fresh --workdir")
    return content


def _tail(path: Path) -> str:
    """The last lines of a text file."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(size - CONSOLE_BYTES, 0))
        text = file.read().decode("utf-8", "replace")
    return text.partition("\n")[2] if size > CONSOLE_BYTES else text
