"""`--ensemble RUN RUN ...`: classifies a split by several runs together, and compares them with each alone.

Their saved predictions are read; a run that has none of the split is evaluated, and so is every run where overrides
such as `--config.data.test=test` name another one. What is written: results.json, results.md, report.html and
predictions/SPLIT.npz.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.config import configs, places
from cvdl_jax.errors import ConfigError
from cvdl_jax.metrics.stats.paired_tests import format_p
from cvdl_jax.report import ensembles
from cvdl_jax.report.pages import ensemble_page
from cvdl_jax.workdir import data_facts, predictions, report_facts, test_set_ledger
from cvdl_jax.workdir.folder import now, read_json, write_json

FLAGS = ("ensemble", "overrides", "workdir", "split", "checkpoint", "weights", "again")  # that it reads
FOLDER = Path("runs") / "ensembles"


def run(args: Any) -> int:
    """Combines the runs, prints and writes what comes of it.

    Raises:
        ConfigError: for a run named twice, or another look at a locked test split.
        DataError: for folders without runs, or predictions that do not belong together.
    """
    split, runs = args.split or "test", ensembles.folders(args.ensemble)
    saved = [None if args.overrides else ensembles.read(folder, split) for folder in runs]
    members = [member or evaluated(run, split, args) for run, member in zip(runs, saved, strict=True)]
    results, arrays = ensembles.combine(ensembles.aligned(members))
    folder = Path(args.workdir) if args.workdir else FOLDER / name(runs, split, args.overrides)
    folder.mkdir(parents=True, exist_ok=True)
    about = {"split": split, "overrides": list(args.overrides), "command": places.argv(), "generated": now()}
    results = {**about, **results}
    write_json(folder / "results.json", results)
    (folder / "results.md").write_text("\n".join(lines(results)) + "\n", encoding="utf-8")
    predictions.write(folder / "predictions" / f"{split}.npz", arrays)
    kept = [] if args.overrides else [report_facts.seen(run, split) for run in runs]  # else of another set
    seen = {key: shown for one in kept for key, shown in one.items()}
    ensemble_page.write(results, arrays, class_names(runs), folder / "report.html", seen)
    files = f"{folder / 'results.json'}, results.md, report.html, predictions/{split}.npz"
    print(*lines(results), f"\nresults: {files}", sep="\n")
    return 0


def class_names(folders: Sequence[Path]) -> Sequence[str]:
    """The names of the classes as the first run kept them, or the first that has ended saved them; () without one."""
    kept = data_facts.class_names(folders[0])
    if kept:
        return kept
    saved = [path for folder in folders if (path := folder / "figures" / report_facts.NAME).is_file()]
    return read_json(saved[0]).get("class_names", ()) if saved else ()


def name(folders: list[Path], split: str, overrides: list[str]) -> str:
    """A folder's name that other members do not have."""
    words = {"members": sorted(str(path.resolve()) for path in folders), "split": split, "overrides": overrides}
    return f"{folders[0].name}_and_{len(folders) - 1}_more_{configs.digest(words)[:8]}"


def evaluated(folder: Path, split: str, args: Any) -> ensembles.Member:
    """The predictions of a run that saved none: its selected checkpoint, evaluated; counted where it is a test split.

    Raises:
        ConfigError: if the run has no such split, or has been tested on it otherwise and `--again` is not given.
    """
    from cvdl_jax.cli.modes import evaluate
    from cvdl_jax.data import described
    from cvdl_jax.engine import kept, out_of_memory, runs

    built = evaluate.with_split(kept.open_run(folder, args.overrides), split)
    config = built.config
    if split not in built.task.evals:
        raise ConfigError(
            f"--ensemble: {folder} has no {split} split ({', '.join(built.task.evals) or 'nothing'} evaluated); name "
            f"one for all runs, --config.data.{split}=SPLIT, or choose another with --split"
        )
    kept.refuse_absent(built, [split])
    path = runs.checkpoint_path(folder, args.checkpoint)
    one = test_set_ledger.look(config, split, int(path.name), args.weights, kept.changes(folder, args.overrides))
    final = built.task.evals[split].final
    if final:
        test_set_ledger.check(folder, one, args.again)
    print(f"evaluating {path} on {split}", flush=True)
    with out_of_memory.explained(config):
        program = evaluate.compiled(built, [split])
        state = runs.with_weights(runs.restore_state(path, built), args.weights)
        metrics, rows = evaluate.measure(program, built, [split], state)[split]
    if final:
        test_set_ledger.record(folder, one, {f"{split}/{key}": value for key, value in metrics.items()})
    ids = np.asarray(built.data.splits[built.task.evals[split].data].ids)
    digest = described.fingerprint(built.data.splits[built.task.evals[split].data].source)
    return ensembles.member(folder, {"ids": ids, **rows}, f"{folder}, {split}", digest)


def lines(results: Mapping[str, Any]) -> list[str]:
    """The results as a Markdown table, and what it says."""
    split, members = results["split"], results["members"]
    rows = [
        (f"mean probability of {len(members)}", results["average"], ""),
        (f"majority vote of {len(members)}", results["vote"], ""),
        *((member["workdir"], member, format_p(member["p"])) for member in members),
    ]
    shown = [
        f"| {who} | {100 * one['accuracy']:.2f} % | [{100 * one['low']:.2f}, {100 * one['high']:.2f}] | "
        + (f"{one['loss']:.4f}" if "loss" in one else "")
        + f" | {p} |"
        for who, one, p in rows
    ]
    return [
        f"| {split}, {results['examples']} examples | accuracy | 95 % interval | NLL | against the mean probability |",
        "|---|---|---|---|---|",
        *shown,
        "",
        f"A member alone: {100 * results['mean']:.2f} % in the mean; two members disagree on "
        f"{100 * results['disagreement']:.2f} % of the examples. Intervals: Wilson; p: McNemar's exact test. Ties of "
        "votes go to the larger mean probability.",
    ]
