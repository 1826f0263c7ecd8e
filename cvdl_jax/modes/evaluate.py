"""`--mode eval`: any checkpoint of a run on any split, with its averaged or its raw weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from cvdl_jax import configs, exhausted, runs
from cvdl_jax.build import Run, build, make_program
from cvdl_jax.errors import ConfigError, DataError, nearest
from cvdl_jax.evaluate import evaluate
from cvdl_jax.finish import describe_metrics
from cvdl_jax.refuse import refuse_config
from cvdl_jax.workdir import write_json


def run(args: Any) -> int:
    """Evaluates and prints; with `--out`, also writes the metrics as JSON."""
    refuse_config(args, overrides=False)
    config = configs.apply_overrides(runs.read_config(args.workdir), args.overrides)
    config = configs.from_plain(configs.to_plain(config))
    built = with_split(build(config), args.split)
    names = choose(built.task.evals, args.split)
    path = runs.checkpoint_path(runs.Workdir(args.workdir).path, args.checkpoint)
    with exhausted.explained(config):
        metrics = measure(built, names, path, args.weights)
    print(f"checkpoint {path}, weights {args.weights}")
    for line in describe_metrics(metrics):
        print(line)
    if args.out:
        try:
            write_json(Path(args.out), {"checkpoint": str(path), "weights": args.weights, "metrics": metrics})
        except OSError as error:
            raise DataError(f"--out {args.out} cannot be written: {error.strerror}") from error
        print(f"written to {args.out}")
    return 0


def measure(built: Run, names: list[str], path: Path, weights: str) -> dict[str, float]:
    """The metrics of evaluations, of the checkpoint at `path`."""
    program = make_program(built)
    runs.compile_functions(program, [f"eval {name}" for name in names])
    state = runs.with_weights(runs.restore_state(path, built), weights)
    metrics = {}
    for name in names:
        data = built.task.evals[name].data
        split = built.data.splits[data] if isinstance(data, str) else None
        values, _ = evaluate(program, name, state, split, int(path.name))
        metrics.update({f"{name}/{key}": float(value) for key, value in values.items()})
    return metrics


def with_split(built: Run, name: str) -> Run:
    """The run with an evaluation of a split that it does not evaluate itself, such as "train", as its test split is."""
    evals, splits = built.task.evals, built.data.splits if built.data is not None else {}
    like = [each for each in evals.values() if isinstance(each.data, str)]
    if not like or name in evals or name not in splits:
        return built
    split = replace(splits[name], stage=splits[name].stage.for_evaluation())
    return built._replace(
        data=replace(built.data, splits={**splits, name: split}),
        task=built.task._replace(evals={**evals, name: like[-1]._replace(data=name)}),
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
