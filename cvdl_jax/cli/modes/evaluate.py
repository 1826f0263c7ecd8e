"""`--mode eval`: any checkpoint of a run on any split, with its averaged or its raw weights, or on another data set.

The test split, and an external set, are counted and locked: see `cvdl_jax/workdir/test_set_ledger.py`.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cvdl_jax.analysis import data_differences, dataset_shift
from cvdl_jax.core import parallel
from cvdl_jax.core.task import State
from cvdl_jax.engine import external, kept, out_of_memory, runs
from cvdl_jax.engine.build import Run, make_program
from cvdl_jax.engine.evaluate import evaluate
from cvdl_jax.engine.finish import describe_metrics
from cvdl_jax.engine.program import Program
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.workdir import predictions, test_set_ledger
from cvdl_jax.workdir.folder import Workdir, write_json

FLAGS = ("workdir", "overrides", "split", "external", "checkpoint", "weights", "again", "out")  # that it reads


def run(args: Any) -> int:
    """Evaluates and prints; with `--out`, also writes the metrics as JSON."""
    built = kept.open_run(args.workdir, args.overrides)
    config = built.config
    path = runs.checkpoint_path(Path(args.workdir), args.checkpoint)
    if args.external:
        built = external.with_external(built, args.external, args.split or "all", config.data.get("data_dir", ""))
        names = [development(args, built, int(path.name)), external.NAME]
    else:
        built = with_split(built, args.split)
        names = choose(built.task.evals, args.split)
    kept.refuse_absent(built, names)
    with out_of_memory.explained(config):
        program = compiled(built, names)
        state = runs.with_weights(runs.restore_state(path, built), args.weights)
    looks = [look(args, built, name, int(path.name)) for name in names if built.task.evals[name].final]
    for new in looks:
        test_set_ledger.check(args.workdir, new, args.again)
    with out_of_memory.explained(config):
        results = measure(program, built, names, state)
    metrics = {f"{name}/{key}": value for name in names for key, value in results[name][0].items()}
    print(f"checkpoint {path}, weights {args.weights}")
    print(*describe_metrics(metrics), sep="\n")
    for new in looks if parallel.is_first_process() else ():
        mine = external.NAME if new.split.startswith(f"{external.NAME} ") else new.split
        own = {key: value for key, value in metrics.items() if key.startswith(f"{mine}/")}
        n = test_set_ledger.record(args.workdir, new, own)
        print(f"{new.split} of this run has been evaluated {test_set_ledger.times(n)}")
    if args.external and parallel.is_first_process():
        compare(args, built, names[0], results)
    if args.out:
        try:
            write_json(Path(args.out), {"checkpoint": str(path), "weights": args.weights, "metrics": metrics})
        except OSError as error:
            raise DataError(f"--out {args.out} cannot be written: {error.strerror}") from error
        print(f"written to {args.out}")
    return 0


def look(args: Any, built: Run, name: str, step: int) -> test_set_ledger.Look:
    """What the count of evaluations is told of this one."""
    split = external.described(args.external, args.split or "all") if name == external.NAME else name
    return test_set_ledger.look(built.config, split, step, args.weights, kept.changes(args.workdir, args.overrides))


def compiled(built: Run, names: list[str]) -> Program:
    """The program of a run, with these evaluations compiled."""
    program = make_program(built, reading=True)
    runs.compile_functions(program, [f"eval {name}" for name in names])
    return program


def measure(
    program: Program, built: Run, names: list[str], state: State
) -> dict[str, tuple[dict[str, float], dict[str, Any]]]:
    """Metrics and arrays of evaluations, {name: (metrics, arrays)}; see `evaluate`."""
    results = {}
    for name in names:
        data = built.task.evals[name].data
        split = built.data.splits[data] if isinstance(data, str) else None
        values, rows = evaluate(program, name, state, split, int(state.step))
        results[name] = {key: float(value) for key, value in values.items()}, rows
    return results


def with_split(built: Run, name: str) -> Run:
    """The run with an evaluation of a split that it does not evaluate itself, such as "train", as its test split is."""
    evals, splits = built.task.evals, built.data.splits if built.data is not None else {}
    like = [evaluation for evaluation in evals.values() if isinstance(evaluation.data, str)]
    if not like or name in evals or name not in splits:
        return built
    split = splits[name].for_evaluation()
    return built._replace(
        data=replace(built.data, splits={**splits, name: split}),
        task=built.task._replace(evals={**evals, name: like[-1]._replace(data=name, final=False)}),
    )


def choose(evals: Any, split: str) -> list[str]:
    """The evaluations asked for: all of them for "".

    Raises:
        ConfigError: naming the nearest one.
    """
    if not split:
        return list(evals)
    if split not in evals:
        raise ConfigError(f"--split={split!r} is not evaluated by this run; {nearest(split, evals)}")
    return [split]


# An external set ------------------------------------------------------------------------------------------------------


def development(args: Any, built: Run, step: int) -> str:
    """What an external set is compared with: the test split where this evaluation of it was made before.

    Otherwise validation, since a comparison is no reason to look at the test split again.

    Raises:
        ConfigError: for a run that has neither.
    """
    evals = built.task.evals
    finals = [name for name, evaluation in evals.items() if evaluation.final and name != external.NAME]
    for name in finals:
        if not test_set_ledger.is_new(args.workdir, look(args, built, name, step)):
            return name
    validations = [name for name in evals if not evals[name].final and isinstance(evals[name].data, str)]
    if not validations:
        raise ConfigError(
            f"--external={args.external!r}: {args.workdir} has neither a tested checkpoint nor a validation split to "
            "compare with; name one, --config.data.validation=SPLIT"
        )
    return validations[0]


def compare(args: Any, built: Run, name: str, results: Any) -> None:
    """Prints how the external set differs from the development set, and keeps it for the report."""
    title = external.described(args.external, args.split or "all")
    sets = []
    for key, shown in ((name, f"{built.data.name} {name}"), (external.NAME, title)):
        rows = external.rows_of(results[key], shown)
        split = built.data.splits[built.task.evals[key].data]
        performance = dataset_shift.performance(rows["label"], rows["scores"])
        sets.append({"name": shown, **performance, "pixels": dataset_shift.pixels(split)})
    comparison = dataset_shift.compare(*sets, built.info.class_names)
    print("development and external set:", *dataset_shift.lines(comparison), sep="\n")
    if comparison["pixels"]:
        stored = [data_differences.stored_images(built.data.splits[built.task.evals[key].data])
                  for key in (name, external.NAME)]  # fmt: skip
        if min(map(len, stored)) >= data_differences.LEAST:
            comparison["differences"] = data_differences.report(*stored, built.config.seed)
            print(*data_differences.lines(comparison["differences"]), sep="\n")
    folder, stem = Workdir(args.workdir), external.file_name(title)
    (folder.path / "external").mkdir(exist_ok=True)
    write_json(folder.path / "external" / f"{stem}.json", comparison)
    ids = np.asarray(built.data.splits[external.NAME].ids)
    predictions.write(folder.predictions / f"{stem}.npz", {"ids": ids, **results[external.NAME][1]})
    print(f"written to {folder.path / 'external' / f'{stem}.json'}; python launch.py --mode report shows it")
