"""`--mode attack`: how many examples of a split a trained classifier still classifies rightly under attack.

    python launch.py --mode attack --workdir runs/mnist --method "pgd(eps=0.3, restarts=5) | autoattack(eps=0.3)"

Every attack is tried on every example that is classified rightly without one; "all of them" counts an example only if
all fail. Radii are in pixels of 0..1; normalisation is part of the model. The results are kept in
`attacks/SPLIT.json`, as a table and as images in the report of the run, and, with `--out`, as JSON.

The test split counts as looked at, as `--mode eval` counts it: another checkpoint than the selected one needs --again.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cvdl_jax.analysis.attacks import robustness
from cvdl_jax.analysis.figures import attacks as figures
from cvdl_jax.cli.modes import evaluate
from cvdl_jax.cli.modes.predict import with_statistics
from cvdl_jax.core import parallel
from cvdl_jax.data import stream
from cvdl_jax.engine import finish, kept, out_of_memory, runs
from cvdl_jax.engine.build import Run
from cvdl_jax.engine.program import to_unit
from cvdl_jax.errors import ConfigError, DataError, UserError
from cvdl_jax.report.pages import run_page
from cvdl_jax.workdir import test_set_ledger
from cvdl_jax.workdir.folder import Workdir, read_json, write_json

FLAGS = ("workdir", "overrides", "method", "split", "limit", "checkpoint", "weights", "again", "out")  # that it reads
CHUNK = 16  # batches whose images are on the host at once
SHOWN = 8  # changed images of an attack in the figure


def run(args: Any) -> int:
    """Attacks, prints, and keeps the results with the run."""
    if not args.method:
        raise ConfigError('--mode attack needs its attacks; for example --method "pgd(eps=0.3) | apgd(eps=0.3)"')
    if args.limit < 0:
        raise ConfigError(f"--limit={args.limit} must be a number of examples, or 0 for all of them")
    methods, name = robustness.methods(args.method), args.split or "test"
    built = evaluate.with_split(kept.open_run(args.workdir, args.overrides), name)
    evaluate.choose(built.task.evals, name)
    kept.refuse_absent(built, [name])
    if "image" not in built.info.spec:
        raise UserError("attacks keep pixels in 0..1, and this run was trained on features, which have no range")
    if "label" in built.info.spec and len(built.info.spec["label"].shape) > 1:
        raise UserError(
            "attacks take an image's class away, and the images of this run may have several each; attack a run of "
            "config.experiment=classify"
        )
    path = runs.checkpoint_path(Path(args.workdir), args.checkpoint)
    step = int(path.name)
    look = evaluate.look(args, built, name, step) if built.task.evals[name].final else None
    if look:
        test_set_ledger.check(args.workdir, look, args.again)
    with out_of_memory.explained(built.config):
        state = runs.with_weights(runs.restore_state(path, built), args.weights)
        logits_fn = runs.logits_of(built, with_statistics(args, built, state, step), built.config.batch_size)
        report, shown = attacked(built, logits_fn, name, methods, args.limit)
    metrics = report.metrics()
    print(f"checkpoint {path}, weights {args.weights}, {len(report.clean)} examples of {name}")
    print(report.table())
    if look and parallel.is_first_process():
        n = test_set_ledger.record(args.workdir, look, {f"{name}/accuracy": metrics["clean_accuracy"]})
        print(f"{name} of this run has been evaluated {test_set_ledger.times(n)}")
    if parallel.is_first_process():
        keep(args, built, name, step, report, shown)
    return 0


def attacked(built: Run, logits_fn: Any, name: str, methods: list[robustness.Method], limit: int) -> tuple:
    """(the report, for each attack the examples that it fooled: clean, changed, labels, predicted classes).

    Args:
        built: the run, with the data of the split.
        logits_fn: of the run.
        name: of the evaluation.
        methods: the attacks.
        limit: of examples; 0 for all.
    """
    key, reports = jax.random.key(built.config.seed), []
    shown: list[list[tuple]] = [[] for _ in methods]
    for k, (images, labels) in enumerate(chunks(built, name, logits_fn.batch_size, limit)):
        report = robustness.measure(
            logits_fn, images, labels, methods, jax.random.fold_in(key, k), batch=logits_fn.batch_size, examples=SHOWN
        )
        for have, outcome in zip(shown, report.outcomes, strict=True):
            have += outcome.shown(logits_fn, images, labels)[: SHOWN - len(have)]
        reports.append(report)
        print(f"{sum(len(report.clean) for report in reports)} examples attacked", flush=True)
    return robustness.merge(reports), shown


def chunks(built: Run, name: str, size: int, limit: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images float [m, h, w, c] in 0..1 and labels int [m] of a split, some batches at a time, in its order."""
    split = built.data.splits[built.task.evals[name].data]
    left, images, labels = limit or split.size, [], []
    for batch in stream.eval_batches(split, size):
        if "label" not in batch:
            raise DataError(f"split {name!r} has no labels; robust accuracy needs them")
        real = np.flatnonzero(batch["mask"] > 0)[:left]
        images.append(np.asarray(to_unit({"image": batch["image"][real]})["image"]))
        labels.append(np.asarray(batch["label"])[real])
        left -= len(real)
        if len(images) == CHUNK or left <= 0:
            yield np.concatenate(images), np.concatenate(labels)
            images, labels = [], []
        if left <= 0:
            return
    if images:
        yield np.concatenate(images), np.concatenate(labels)


def keep(args: Any, built: Run, name: str, step: int, report: robustness.Report, shown: list[list[tuple]]) -> None:
    """Writes the results into the folder of the run: numbers, a table and images, and its report anew."""
    folder, metrics = Workdir(args.workdir), report.metrics()
    path = folder.path / "attacks" / f"{name}.json"
    entry = {
        "step": step, "weights": args.weights, "examples": len(report.clean), "changes": list(args.overrides),
        "methods": [one.name for one in report.outcomes], "queries": [one.queries for one in report.outcomes],
        "metrics": metrics, "table": report.table(),
    }  # fmt: skip
    what = ("step", "weights", "examples", "changes", "methods")
    old = [one for one in (read_json(path) if path.exists() else []) if any(one[key] != entry[key] for key in what)]
    texts = [f"step {one['step']}, {one['examples']} examples\n{one['table']}" for one in [*old, entry]]
    drawn: dict[str, Any] = {f"attacks_{name}": "\n\n".join(texts)}
    figure = figures.changed({one.name: rows for one, rows in zip(report.outcomes, shown, strict=True)},
                             built.info.class_names or ())  # fmt: skip
    if figure is not None:
        drawn[f"adversarial_{name}"] = figure
    try:
        path.parent.mkdir(exist_ok=True)
        write_json(path, [*old, entry])
        finish.save_figures(folder, drawn, f"the first examples of {name}")
        if args.out:
            write_json(Path(args.out), entry)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be written: {error.strerror}") from error
    print(f"written to {path}{f' and {args.out}' if args.out else ''}; examples are in {run_page.write(folder.path)}")
