"""Writes results/README.md from results/runs and results/tables: `python results/summarise.py [FOLDER ...]`.

With arguments, what proves a result is copied first: of a run its configuration, provenance, rows and final metrics, to
results/runs; of a table (a folder that `--table` wrote) its results in every format, and the same files of its runs, to
results/tables.
"""

import json
import shlex
import shutil
import sys
from pathlib import Path

RESULTS = Path(__file__).resolve().parent
PROOF = ("config.json", "meta.json", "metrics.jsonl", "results.json")
FORMATS = ("md", "tex", "csv", "html", "json")
HEAD = """# Results

Every number was measured by a run of this repository; the configuration, provenance and rows of each are beside it.

## Tables

Written by `python launch.py --table configs/tables/NAME.py`, in five formats each, with the runs they are made of.

TABLES

## Single runs

One seed a run: the interval is the 95 % Wilson interval over test examples, where the metric is a proportion. The
checkpoint was selected on the validation split, the test split evaluated once. CIFAR-10 is a lossy copy (JPEG), so its
accuracies are not comparable with published ones to the last tenth. Seconds are wall time on two shared CPU cores, with
other programs running, and include evaluation. The files of each run are in `runs/`.

A command is that of the commit in its row, and so are the paths of configs in the tables; today they are found so:

| then | now |
|---|---|
| `configs/digits/NAME.py`, `configs/mnist/NAME.py`, `configs/cifar10/NAME.py` | `configs/classify/NAME.py:data=SET` |
| `configs/SET/dcgan.py`, `configs/SET/wgan_gp.py` | `configs/generate/NAME.py:data=SET` |
| `configs/digits/pca.py`, `configs/digits/tsne.py` | `configs/explain/NAME.py` |
| `configs/shapes/detect.py` | `configs/detect/anchors.py` |
| `configs/tiny_shakespeare/CELL.py` | `configs/sequence/char_rnn.py:cell=CELL` |
| `configs/cartpole/dqn.py`, `configs/gridworld/qlearn.py` | `configs/rl/NAME.py` |
| `configs/toy/SET.py` of blobs, circles, spirals, xor | `configs/toy/mlp.py:data=SET` |

| run | test metric | selected step | seconds | seed | commit | command |
|---|---|---|---|---|---|---|
"""


def collect(folder: Path) -> None:
    """Copies what proves a finished run, or a table and its finished runs."""
    if (folder / "results.md").exists():
        for run in sorted(path.parent for path in folder.glob("*/DONE")):
            copy(run, RESULTS / "tables" / folder.name / run.name, PROOF)
        copy(folder, RESULTS / "tables" / folder.name, tuple(f"results.{each}" for each in FORMATS))
    elif (folder / "DONE").exists():
        copy(folder, RESULTS / "runs" / folder.name, PROOF)
    else:
        raise SystemExit(f"{folder} is not finished; run its command again, then summarise")


def copy(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Copies files of one folder to another."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(source / name, target / name)


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
    seconds = json.loads(rows[-1]).get("time/seconds") if rows else None  # a run without steps has no rows
    commit = start["commit"][:10] + (" (dirty)" if start["dirty"] else "")
    again = "" if len(meta["starts"]) == 1 else f", {len(meta['starts'])} starts"
    command = shlex.join(start["argv"])
    cells = [
        folder.name,
        metric(results["metrics"]),
        results["selected_step"],
        f"{seconds:.0f}{again}" if seconds is not None else "not recorded",
        meta["seed"],
        commit,
    ]
    return "| " + " | ".join(str(cell) for cell in [*cells, f"`{command}`"]) + " |"


def main() -> None:
    """Copies, then writes the table."""
    for folder in sys.argv[1:]:
        collect(Path(folder))
    folders = sorted(path for path in (RESULTS / "runs").iterdir() if path.is_dir())
    tables = sorted((RESULTS / "tables").glob("*/results.md"))
    listed = [f"- [{path.parent.name}](tables/{path.parent.name}/results.md)" for path in tables]
    text = HEAD.replace("TABLES", "\n".join(listed)) + "\n".join(row(folder) for folder in folders) + "\n"
    (RESULTS / "README.md").write_text(text)


if __name__ == "__main__":
    main()
