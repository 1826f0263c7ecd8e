"""The end of a run: every evaluation once on the selected checkpoint, predictions, figures, results, DONE, its page."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.core.parallel import is_first_process, to_host
from cvdl_jax.core.task import State
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.errors import CheckpointError
from cvdl_jax.metrics.stats.intervals import wilson
from cvdl_jax.workdir.checkpoint import restore_step
from cvdl_jax.workdir.folder import now, write_json


def finish(loop: Any) -> int:
    """Evaluates the selected step on every split, the test split for the only time, and writes what is reported.

    Args:
        loop: a `train.Loop` whose last step is saved.

    Returns:
        The exit code; that of the signal if one came, and then the next start does this again.
    """
    loop.checkpoints.wait()
    step, state = select(loop)
    metrics: dict[str, float] = {}
    with loop.progress.phase("evaluate"):
        for name in loop.task.evals:
            result = evaluate(loop.program, name, state, loop.split(name), step, loop.flagged, loop.progress.evaluated)
            if result is None:
                return loop.leave()
            values, rows = result
            metrics.update({f"{name}/{key}": float(value) for key, value in values.items()})
            save_predictions(loop, name, rows)
    prepared = loop.program.prepared  # by the last evaluation's pass over a split
    shown = prepared[2] if prepared is not None and prepared[1] is state else state
    if jax.process_count() > 1:
        state, shown = to_host((state, shown))  # what one process alone may compute with
    if not is_first_process():
        return 0
    draw(loop, shown)
    save_facts(loop, state)
    results = {
        "step": loop.step,
        "selected_step": step,
        "selected_by": loop.config.select.metric if loop.memory["best_step"] is not None else "last step",
        "metrics": metrics,
        "time_split": loop.progress.time_split(),
    }
    write_json(loop.workdir.results, results)
    loop.workdir.done.write_text(now() + "\n")
    loop.progress.finish()
    write_page(loop.workdir)
    print_results(loop, results)
    return 0


def select(loop: Any) -> tuple[int, State]:
    """The step that validation chose, or the last one where nothing chose, and its state."""
    best = loop.memory["best_step"]
    if best is None or best == loop.step:
        return loop.step, loop.state
    path = loop.checkpoints.folder / str(best)
    try:
        tree, _ = restore_step(path, loop.program.abstract_tree())
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}\nValidation chose this step, so the run cannot end without it: put {path} back from a copy, or "
            f"train anew in another --workdir. For the figures of the last step type: python launch.py --mode eval "
            f"--workdir {loop.workdir.path} --checkpoint latest"
        ) from error
    return best, tree["state"]


def save_predictions(loop: Any, name: str, rows: dict[str, np.ndarray]) -> None:
    """Writes `predictions/<evaluation>.npz`: ids and the per-example arrays, in the order of the split."""
    if not rows or not is_first_process():
        return
    loop.workdir.predictions.mkdir(exist_ok=True)
    split = loop.split(name)
    ids = {"ids": np.asarray(split.ids)} if split is not None else {}
    temporary = loop.workdir.predictions / f"{name}.tmp.npz"
    np.savez(temporary, **ids, **rows)
    temporary.replace(loop.workdir.predictions / f"{name}.npz")


def draw(loop: Any, state: State) -> None:
    """Saves what the task reports of one batch: figures as PNG, texts as they are."""
    if loop.task.report is None:
        return
    batch = report_batch(loop)
    key = jax.random.fold_in(jax.random.key(loop.config.seed), loop.step)
    for name, shown in loop.task.report(state, batch, key).items():
        loop.workdir.figures.mkdir(exist_ok=True)
        if isinstance(shown, str):
            (loop.workdir.figures / f"{name}.txt").write_text(shown, encoding="utf-8", newline="\n")
        else:
            shown.savefig(loop.workdir.figures / f"{name}.png", dpi=120, bbox_inches="tight")


def save_facts(loop: Any, state: State) -> None:
    """Saves what the page of the run shows and its other files do not hold."""
    from cvdl_jax.workdir import report_facts

    def example(name: str, index: int) -> dict[str, np.ndarray]:
        split = loop.split(name) if name in loop.task.evals else None
        return split.example(index) if split is not None else {}

    collected = report_facts.collect(loop.workdir.predictions, state, loop.info.class_names, example)
    loop.workdir.figures.mkdir(exist_ok=True)
    write_json(loop.workdir.figures / report_facts.NAME, collected)


def write_page(workdir: Any) -> None:
    """Writes report.html. What goes wrong here is said, and does not change how the run ended."""
    from cvdl_jax.report.pages import run_page

    try:
        run_page.write(workdir.path)
    except Exception as error:
        again = f"python launch.py --mode report --workdir {workdir.path}"
        print(
            f"report.html could not be written ({type(error).__name__}: {error}); try again with: {again}", flush=True
        )


def report_batch(loop: Any) -> dict[str, Any]:
    """The first examples of the validation split, else of the training split; {} without data."""
    from cvdl_jax.engine.program import to_unit

    if loop.built.data is None:
        return {}
    splits = loop.built.data.splits
    split = splits.get("validation", splits["train"])
    examples = [split.example(i) for i in range(min(32, split.size))]
    return to_unit({name: jnp.stack([jnp.asarray(e[name]) for e in examples]) for name in examples[0]})


def print_results(loop: Any, results: dict[str, Any]) -> None:
    """Prints each evaluation's metrics and where everything lies."""
    print(f"selected step {results['selected_step']} of {results['step']} (by {results['selected_by']})")
    for line in describe_metrics(results["metrics"]):
        print(line)
    print(f"results: {loop.workdir.results}; report.html, predictions and checkpoints are beside it", flush=True)


def describe_metrics(metrics: dict[str, float]) -> list[str]:
    """A line per metric, with its interval where the evaluation made one ("name_low", "name_high").

    An interval is called Wilson's where it is that of the share of the evaluation's examples; other kinds of interval,
    such as those over seeds, have no name here.
    """
    lines = []
    for name, value in metrics.items():
        if name.endswith(("_low", "_high", "/examples")):
            continue
        text = f"  {name} = {value:.4f}"
        if f"{name}_low" in metrics:
            ends = metrics[f"{name}_low"], metrics[f"{name}_high"]
            n = metrics.get(f"{name.partition('/')[0]}/examples", 0)
            of_examples = n > 0 and 0 <= value <= 1 and np.allclose(wilson(round(value * n), n), ends, atol=1e-6)
            percent = of_examples or name.endswith("accuracy")
            scale, digits, unit = (100, 2, " %") if percent else (1, 4, "")
            low, high = (f"{scale * end:.{digits}f}" for end in ends)
            text = f"  {name} = {scale * value:.{digits}f}{unit}, 95 % interval [{low}, {high}]"
            text += f" (Wilson, {n:.0f} examples)" if of_examples else ""
        lines.append(text)
    return lines
