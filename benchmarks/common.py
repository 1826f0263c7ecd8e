"""What the benchmarks share: rounds that alternate between the things compared, and a record of what was measured.

A machine's clock drifts and other programs come and go, so two things are only compared when both were measured in one
run, in turn. The figure of a thing is the median over its rounds, and a ratio is the median of the ratios of rounds.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cvdl_jax.core.formatting import columns

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def seconds_per_call(call: Callable[[], Any], seconds: float = 2.0, warm_up: int = 3) -> float:
    """Mean seconds of a call that waits for its own result, over about so many seconds.

    Args:
        call: does the work and waits for it.
        seconds: how long to measure.
        warm_up: calls that are not counted.
    """
    for _ in range(warm_up):
        call()
    calls, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        call()
        calls += 1
    return (time.perf_counter() - start) / calls


def child(module: str, *arguments: str, python: str = sys.executable) -> dict[str, Any]:
    """Runs `python -m module arguments` and reads the JSON of its last line.

    Raises:
        SystemExit: with what it printed, if it failed.
    """
    command = [python, "-m", module, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def rounds(things: Mapping[str, Callable[[], float]], n: int) -> dict[str, list[float]]:
    """Measures every thing once a round, in turn.

    Args:
        things: {name: function that returns its figure}.
        n: rounds.

    Returns:
        {name: [figure of each round]}.
    """
    figures: dict[str, list[float]] = {name: [] for name in things}
    for i in range(n):
        order = list(things) if i % 2 == 0 else list(reversed(things))  # who comes first has a cooler machine
        for name in order:
            figures[name].append(things[name]())
    return figures


def median_ratio(over: Sequence[float], under: Sequence[float]) -> float:
    """The median of the ratios of rounds."""
    return statistics.median(a / b for a, b in zip(over, under, strict=True))


def machine() -> dict[str, Any]:
    """The machine and the versions."""
    from importlib import metadata

    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = names[0] if names else cpu
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load = os.getloadavg()[0]
    versions = {name: metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax")}
    return {"cpu": cpu, "cores": cores, "load_before": round(load, 2), "python": platform.python_version(), **versions}


def report(name: str, header: Sequence[str], rows: Iterable[Sequence[Any]], facts: Mapping[str, Any]) -> None:
    """Prints a table and writes `benchmarks/results/<name>.json`.

    Args:
        name: of the benchmark.
        header: of the table.
        rows: of the table.
        facts: what the file keeps besides: machine, rounds.
    """
    rows = [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    print("\n".join(columns(rows, head=header)))
    RESULTS.mkdir(exist_ok=True)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    commit = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
    record = {"table": table, "commit": commit.stdout.strip(), **facts}
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
