"""Writes results/README.md from the runs under results/runs: `python results/summarise.py [RUN_FOLDER ...]`.

With arguments, the files of those run folders that prove a result (configuration, provenance, rows, final metrics) are
copied to results/runs first.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent
PROOF = ("config.json", "meta.json", "metrics.jsonl", "results.json")
HEAD = """# Results

Every number was measured by a run of this repository; the run's configuration, provenance and rows are in `runs/`. One
seed a run: the interval is the 95 % Wilson interval over test examples, where the metric is a proportion. The
checkpoint was selected on the validation split, the test split evaluated once. CIFAR-10 is a lossy copy (JPEG), so its
accuracies are not comparable with published ones to the last tenth. Seconds are wall time on two shared CPU cores, with
other programs running, and include evaluation.

| run | test metric | selected step | seconds | seed | commit | command |
|---|---|---|---|---|---|---|
"""


def collect(folder: Path) -> None:
    """Copies what proves a finished run."""
    if not (folder / "DONE").exists():
        raise SystemExit(f"{folder} is not finished; run its command again, then summarise")
    target = RESULTS / "runs" / folder.name
    target.mkdir(parents=True, exist_ok=True)
    for name in PROOF:
        shutil.copyfile(folder / name, target / name)


def metric(metrics: dict[str, float]) -> str:
    """The main metric of a run, with its interval where it has one."""
    if "test/accuracy_low" in metrics:
        value, low, high = (100 * metrics[f"test/accuracy{end}"] for end in ("", "_low", "_high"))
        return f"accuracy {value:.2f} % [{low:.2f}, {high:.2f}]"
    chosen = {
        name: value
        for name, value in metrics.items()
        if not name.startswith("validation/") and ("loss" not in name or "test/perplexity" in metrics)
    }
    return ", ".join(f"{name} {value:.4g}" for name, value in (chosen or metrics).items())


def row(folder: Path) -> str:
    """One line of the table."""
    results, meta = (json.loads((folder / name).read_text()) for name in ("results.json", "meta.json"))
    start = meta["starts"][0]
    rows = (folder / "metrics.jsonl").read_text().splitlines()
    seconds = json.loads(rows[-1]).get("time/seconds", float("nan"))
    commit = start["commit"][:10] + (" (dirty)" if start["dirty"] else "")
    again = "" if len(meta["starts"]) == 1 else f", {len(meta['starts'])} starts"
    command = shlex.join(start["argv"])
    cells = [
        folder.name,
        metric(results["metrics"]),
        results["selected_step"],
        f"{seconds:.0f}{again}",
        meta["seed"],
        commit,
    ]
    return "| " + " | ".join(str(cell) for cell in [*cells, f"`{command}`"]) + " |"


def main() -> None:
    """Copies, then writes the table."""
    for folder in sys.argv[1:]:
        collect(Path(folder))
    folders = sorted(path for path in (RESULTS / "runs").iterdir() if path.is_dir())
    (RESULTS / "README.md").write_text(HEAD + "\n".join(row(folder) for folder in folders) + "\n")


if __name__ == "__main__":
    main()
