"""The end of a run: every evaluation once on the selected checkpoint, predictions, figures, results, DONE, its page."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.core.formatting import interval, score
from cvdl_jax.core.parallel import is_first_process, to_host
from cvdl_jax.core.task import Added, State, unwrapped
from cvdl_jax.data import subgroups
from cvdl_jax.data.load import Data
from cvdl_jax.engine import kept, preflight
from cvdl_jax.engine.context import FinishedRun, RunContext
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.engine.program import to_unit
from cvdl_jax.engine.progress import Progress
from cvdl_jax.errors import CheckpointError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.optim import param_groups
from cvdl_jax.workdir import metric_log, predictions
from cvdl_jax.workdir.checkpoint import restore_step
from cvdl_jax.workdir.folder import Workdir, now, replacing, write_json, write_whole

PageWriter = Callable[[Path], Any]  # writes report.html into the folder of a run


def finish(
    run: FinishedRun,
    write_page: PageWriter,
    interrupted: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
) -> bool:
    """Evaluates the selected step on every split, the test split for the only time, and writes what is reported.

    Args:
        run: whose last step is saved.
        write_page: called with the run's folder when everything else is in it.
        interrupted: asked between batches of an evaluation.
        progress: shows and times the evaluations; None for a run without times of its own.

    Returns:
        Whether the run is done; False if it was interrupted, and then the next start does this again.
    """
    context = run.context
    context.checkpoints.wait()
    step, state = select(run)
    with progress.phase("evaluate") if progress is not None else contextlib.nullcontext():
        on_batch = progress.evaluated if progress is not None else lambda examples: None
        metrics = evaluate_all(context, step, state, interrupted, on_batch)
    if metrics is None:
        return False
    prepared = context.program.prepared  # by the last evaluation's pass over a split
    shown = prepared[2] if prepared is not None and prepared[1] is state else state
    if jax.process_count() > 1:
        state, shown = to_host((state, shown))  # what one process alone may compute with
    if not is_first_process():
        return True
    draw(run, shown)
    save_facts(context, state)
    if context.built.config.batch_stats == "exact" and prepared is not None:
        kept.save_statistics(context.workdir, step, shown)
    results = {
        "step": run.step,
        "selected_step": step,
        "selected_by": context.built.config.select.metric if run.best_step is not None else "last step",
        "metrics": metrics,
        "time_split": progress.time_split() if progress is not None else {},
    }
    write_json(context.workdir.results, results)
    to_tensorboard(run, results)
    context.workdir.done.write_text(now() + "\n")
    if progress is not None:
        progress.finish()
    try_page(context.workdir, write_page)
    print_results(context.workdir, results)
    return True


def select(run: FinishedRun) -> tuple[int, State]:
    """The step that validation chose, or the last one where nothing chose, and its state."""
    best, context = run.best_step, run.context
    if best is None or best == run.step:
        return run.step, run.state
    path = context.checkpoints.folder / str(best)
    try:
        tree, _ = restore_step(path, context.program.abstract_tree())
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\nValidation chose this step, so the run cannot end without it: put {path} back from a copy, or "
            f"train anew in another --workdir. For the figures of the last step type: python launch.py --mode eval "
            f"--workdir {context.workdir.path} --checkpoint latest"
        ) from error
    return best, tree["state"]


def evaluate_all(
    context: RunContext,
    step: int,
    state: State,
    interrupted: Callable[[], bool],
    on_batch: Callable[[int], None],
) -> dict[str, float] | None:
    """Runs every evaluation and saves its predictions, and the figures and texts that it drew.

    Args:
        context: of the run.
        step: of the state, for the keys of stochastic evaluations.
        state: the weights to evaluate.
        interrupted: asked between batches.
        on_batch: told the number of examples after each batch.

    Returns:
        {"evaluation/metric": value}, or None if interrupted.
    """
    metrics: dict[str, float] = {}
    for name, evaluation in context.built.task.evals.items():
        split = context.split(name)
        result = evaluate(context.program, name, state, split, step, interrupted, on_batch)
        if result is None:
            return None
        values, rows = result
        metrics.update({f"{name}/{key}": float(value) for key, value in values.items()})
        if is_first_process():
            save_predictions(context, name, rows)
            drawn = evaluation.draw(values, unwrapped(rows)) if evaluation.draw is not None else {}
            save_figures(context.workdir, drawn, f"examples of {name}")
    return metrics


def save_predictions(context: RunContext, name: str, rows: dict[str, Any]) -> None:
    """Writes `predictions/<evaluation>.npz`: ids, groups and the per-example arrays, in the order of the split."""
    rows = {key: x for key, x in rows.items() if not isinstance(x, Added)}
    if not rows:
        return
    split = context.split(name)
    about = {"ids": np.asarray(split.ids)} if split is not None else {}
    for entry in context.built.config.subgroups.get("entries", ()) if split is not None else ():
        names = subgroups.names_of(split.source, entry, split.size, preflight.ENTRIES)
        about[f"{predictions.GROUP}{entry}"] = names
    predictions.write(context.workdir.predictions / f"{name}.npz", {**about, **rows})


def draw(run: FinishedRun, state: State) -> None:
    """Saves what the task reports of one batch."""
    built = run.context.built
    if built.task.report is None:
        return
    key = jax.random.fold_in(jax.random.key(built.config.seed), run.step)
    split, batch = report_batch(built.data)
    save_figures(run.context.workdir, built.task.report(state, batch, key), f"the first examples of {split}")


def save_figures(workdir: Workdir, figures: Mapping[str, Any], of: str) -> None:
    """Saves figures as `figures/<name>.png`, and for dark pages as `figures/dark/<name>.png`; texts as they are.

    An animation is an animated PNG, the same on every page.

    Args:
        workdir: of the run.
        figures: {name: matplotlib figure, Animation or text}.
        of: of which split they are; a figure of examples keeps it as its description.
    """
    from cvdl_jax.analysis.figures import images

    for name, shown in figures.items():
        dark = workdir.figures / "dark"
        (workdir.figures if isinstance(shown, str) else dark).mkdir(parents=True, exist_ok=True)
        if isinstance(shown, str):
            write_whole(workdir.figures / f"{name}.txt", shown.encode())
            continue
        if isinstance(shown, images.Animation):
            write_whole(workdir.figures / f"{name}.png", shown.png())
            continue
        about = {"Description": of} if shown.get_label() == images.EXAMPLES else {}
        with replacing(workdir.figures / f"{name}.png") as file:
            shown.savefig(file, format="png", dpi=120, bbox_inches="tight", metadata=about)
        images.darken(shown)
        with replacing(dark / f"{name}.png") as file:
            shown.savefig(file, format="png", dpi=120, bbox_inches="tight")


def to_tensorboard(run: FinishedRun, results: Mapping[str, Any]) -> None:
    """Adds to TensorBoard what is known at the end: hyper-parameters with the final metrics, and the figures."""
    context = run.context
    if is_first_process() and context.built.config.log.tensorboard:
        board = metric_log.TensorBoard(context.workdir.path / "tb")
        board.summary(results["selected_step"], configs.to_plain(context.built.config), results["metrics"])
        for path in sorted(context.workdir.figures.glob("*.png")):
            board.image(path.stem, path, results["selected_step"])
        board.close()


def save_facts(context: RunContext, state: State) -> None:
    """Saves what the page of the run shows and its other files do not hold."""
    from cvdl_jax.workdir import report_facts

    def example(name: str, index: int) -> dict[str, np.ndarray]:
        split = context.split(name) if name in context.built.task.evals else None
        return split.example(index) if split is not None else {}

    workdir = context.workdir
    collected = report_facts.collect(workdir.predictions, state, context.built.info.class_names, example)
    optim = context.built.config.optim
    collected["optimizer"] = param_groups.describe(optim, state.params) if optim else ""
    workdir.figures.mkdir(exist_ok=True)
    write_json(workdir.figures / report_facts.NAME, collected)


def try_page(workdir: Workdir, write_page: PageWriter) -> None:
    """Writes report.html. What goes wrong here is said, and does not change how the run ended."""
    try:
        write_page(workdir.path)
    except Exception as error:
        again = f"python launch.py --mode report --workdir {workdir.path}"
        print(
            f"report.html could not be written ({type(error).__name__}: {error}); try again with: {again}", flush=True
        )


def report_batch(data: Data | None) -> tuple[str, dict[str, Any]]:
    """The first examples of the validation split, else of the training split, and which it is; {} without data."""
    if data is None:
        return "", {}
    name = "validation" if "validation" in data.splits else "train"
    split = data.splits[name]
    examples = [split.example(i) for i in range(min(32, split.size))]
    return name, to_unit({key: jnp.stack([jnp.asarray(e[key]) for e in examples]) for key in examples[0]})


def print_results(workdir: Workdir, results: dict[str, Any]) -> None:
    """Prints each evaluation's metrics and where everything lies."""
    print(f"selected step {results['selected_step']} of {results['step']} (by {results['selected_by']})")
    for line in describe_metrics(results["metrics"]):
        print(line)
    print(f"results: {workdir.results}; report.html, predictions and checkpoints are beside it", flush=True)


def describe_metrics(metrics: dict[str, float]) -> list[str]:
    """A line per metric, with its interval where the evaluation made one ("name_low", "name_high").

    An interval is called Wilson's where it is that of the share of the evaluation's examples; other kinds of interval,
    such as those over seeds, have no name here.
    """
    lines = []
    for name, value in metrics.items():
        if name.endswith(("_low", "_high", "/examples")):
            continue
        text = f"  {name} = {score(value, as_percent=False)}"
        if f"{name}_low" in metrics:
            ends = metrics[f"{name}_low"], metrics[f"{name}_high"]
            n = metrics.get(f"{name.partition('/')[0]}/examples", 0)
            of_examples = n > 0 and 0 <= value <= 1 and np.allclose(wilson(round(value * n), n), ends, atol=1e-6)
            as_percent = of_examples or name.endswith("accuracy")
            text = f"  {name} = {score(value, as_percent)}, 95 % interval {interval(*ends, as_percent)}"
            text += f" (Wilson, {n:.0f} examples)" if of_examples else ""
        lines.append(text)
    return lines
