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
from cvdl_jax.errors import ConfigError, UserError
from cvdl_jax.workdir.run_state import NOT_RUN, state_of


def check(planned: Sequence[Planned], metric: str, say: Callable[[str], None]) -> None:
    """Refuses runs that could not start; those that have begun are not looked at, and one seed stands for all.

    Args:
        planned: the runs of a sweep.
        metric: what they are compared by.
        say: gets a line.

    Raises:
        ConfigError: naming the trial, the key and the nearest right one.
    """
    new = [run for run in planned if state_of(run.workdir, run.config).state == NOT_RUN]
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


def build(metric: str, jobs: Sequence[Sequence[Any]]) -> None:
    """Builds each task, and looks for the evaluation of the objective.

    Args:
        metric: such as validation/accuracy.
        jobs: (name, spec, overrides).

    Raises:
        ConfigError: for the first mistake, with the name in front.
    """
    from cvdl_jax.engine import preflight
    from cvdl_jax.engine.build import find_experiment, fitted, load_data, make_info

    data: dict[str, Any] = {}
    for name, spec, overrides in jobs:
        try:
            config = configs.load(spec, overrides)
            key = configs.digest(config.data)
            if key not in data:
                data = {key: load_data(config)}  # the newest only: sets may be large
            task = find_experiment(config.experiment)(fitted(config, data[key]), make_info(config, data[key]))
            periodic = [name for name, evaluation in task.evals.items() if not evaluation.final]
            if metric.partition("/")[0] not in periodic:
                raise ConfigError(
                    f"objective.metric={metric!r} is not evaluated during training; evaluated: "
                    f"{', '.join(f'{name}/...' for name in periodic) or 'nothing'}"
                )
            preflight.check_metric(config.select.metric, periodic)
        except UserError as error:
            raise ConfigError(f"{name}: {error}") from error


if __name__ == "__main__":
    try:
        build(*json.load(sys.stdin))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
