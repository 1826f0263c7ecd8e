"""Builds the task of every configuration without running it: a mistake in one of them is said before any of them runs.

`configs.load` knows the keys of the config; what an optimizer or a model takes is known by their functions only, which
need JAX. So this is a process of its own, on the CPU: the process that starts the runs must not hold their devices.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from cvdl_jax.cli.tables.plan import Planned
from cvdl_jax.config import configs
from cvdl_jax.config.defaults import DEFAULTS
from cvdl_jax.errors import ConfigError, DataError, UserError
from cvdl_jax.workdir.run_state import FAILED, NOT_RUN, state_of

MISSING = "missing data: "  # begins a line of the process that checks


def check(planned: Sequence[Planned], metric: str, say: Callable[[str], None]) -> None:
    """Refuses runs that could not start; those that have begun are not looked at, and one seed stands for all.

    Args:
        planned: the runs of a table or a sweep.
        metric: what they are compared by.
        say: gets a line.

    Raises:
        ConfigError: naming the row or trial, the key and the nearest right one.
    """
    new = [run for run in planned if state_of(run.workdir, run.config).state in (NOT_RUN, FAILED)]
    first = {(run.row, *map(str, map(run.config.data.get, ("validation", "split")))): run for run in reversed(new)}
    jobs = [[run.label, run.spec, list(run.overrides)] for run in reversed(first.values())]
    if not jobs:
        return
    say(f"checking {len(jobs)} configuration{'s' if len(jobs) > 1 else ''}")
    paths = os.pathsep.join(filter(None, [str(configs.ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps([metric, jobs]),
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": paths},
        check=False,
    )
    if done.returncode == UserError.exit_code and done.stderr:
        raise ConfigError(done.stderr.strip().splitlines()[-1].removeprefix("error: "))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        say(f"the configurations could not be checked beforehand ({last}); the runs will tell")
    for line in done.stdout.splitlines():
        if line.startswith(MISSING):
            say(f"{line.removeprefix(MISSING)}; the other runs go ahead")


def build(metric: str, jobs: Sequence[Sequence[Any]]) -> None:
    """Builds each task, traces its step and evaluations, and looks for the metric.

    Args:
        metric: such as validation/accuracy.
        jobs: (name, spec, overrides).

    Raises:
        ConfigError: for the first mistake, with the name in front. Missing data are one only if no run has its own.
    """
    from cvdl_jax.engine import build, preflight

    data: dict[str, Any] = {}
    missing: list[str] = []
    for name, spec, overrides in jobs:
        try:
            config = configs.load(spec, overrides)
            key = configs.digest(config.data)
            experiment = build.experiment_of(config)
            if key not in data:
                data = {key: build.load_data(config)}  # the newest only: sets may be large
            config.parallel = DEFAULTS["parallel"]  # the devices of the runs are not here
            built = build.with_data(config, experiment, data[key])
            periodic = [name for name, evaluation in built.task.evals.items() if not evaluation.final]
            preflight.check_metric(config.select.metric, periodic)
            program = build.make_program(built)
            preflight.check_metrics(config, program)
            preflight.check_averages(config, program, begun=False)
            preflight.check_subgroups(built, program)
            preflight.check_reported(metric, preflight.metrics(program, list(built.task.evals)), "its metric")
        except DataError as error:
            missing.append(f"{name}: {error}")
        except UserError as error:
            raise ConfigError(f"{name}: {error}") from error
    if len(missing) == len(jobs):
        raise ConfigError(missing[0])
    for text in missing:
        print(f"{MISSING}{text}")


if __name__ == "__main__":
    try:
        build(*json.load(sys.stdin))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
