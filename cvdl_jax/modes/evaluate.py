"""`--mode eval`: any checkpoint of a run on any split, with its averaged or its raw weights."""

import json
from typing import Any

from cvdl_jax import configs, runs
from cvdl_jax.build import build, make_program
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.evaluate import evaluate
from cvdl_jax.finish import describe_metrics


def run(args: Any) -> int:
    """Evaluates and prints; with `--out`, also writes the metrics as JSON."""
    config = configs.apply_overrides(runs.read_config(args.workdir), args.overrides)
    config = configs.from_plain(configs.to_plain(config))
    built = build(config)
    names = choose(built.task.evals, args.split)
    path = runs.checkpoint_path(runs.Workdir(args.workdir).path, args.checkpoint)
    program = make_program(built)
    runs.compile_functions(program, [f"eval {name}" for name in names])
    state = runs.with_weights(runs.restore_state(path, built), args.weights)
    metrics = {}
    for name in names:
        data = built.task.evals[name].data
        split = built.data.splits[data] if isinstance(data, str) else None
        values, _ = evaluate(program, name, state, split, int(path.name))
        metrics.update({f"{name}/{key}": float(value) for key, value in values.items()})
    print(f"checkpoint {path}, weights {args.weights}")
    for line in describe_metrics(metrics):
        print(line)
    if args.out:
        with open(args.out, "w") as file:
            json.dump({"checkpoint": str(path), "weights": args.weights, "metrics": metrics}, file, indent=2)
        print(f"written to {args.out}")
    return 0


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
