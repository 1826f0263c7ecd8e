"""`--sweep FILE`: runs what a sweep still needs, then writes its table. Run again, it goes on; done runs are kept."""

from pathlib import Path
from typing import Any

from cvdl_jax.cli.sweeps import halving, summary
from cvdl_jax.cli.sweeps.spec import Sweep, planned
from cvdl_jax.cli.tables.drive import drive, load, publish, say
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import now

FLAGS = ("sweep", "overrides", "workdir", "workers", "status", "launcher")  # that it reads


def run(args: Any) -> int:
    """Runs the sweep, or prints how far it is.

    Returns:
        0 if every run is done, 1 if some failed, 75 or 130 if a signal stopped it; the results are written each time.

    Raises:
        ConfigError: for a mistake in the sweep, in any of its configurations, or in a flag.
    """
    _, sweep, root = load(args)
    return halve(sweep, root, args) if sweep.halving else once(sweep, root, args)[0]


def once(sweep: Sweep, root: Path, args: Any) -> tuple[int, dict[str, Any]]:
    """Runs the trials of a sweep, or of one rung of it, and writes their table.

    Returns:
        The exit code, and the results; with --status nothing is run or written.
    """
    runs = planned(sweep, args.overrides, root)

    def collect() -> dict[str, Any]:
        return summary.collect(sweep, runs, args.overrides, args.workdir, now())

    code, results = drive(sweep, runs, root, args, collect)
    return code, collect() if results is None else results


def halve(sweep: Sweep, root: Path, args: Any) -> int:
    """Runs rung after rung, each in its folder; the table of the last one is that of the sweep."""
    if sweep.only:
        raise ConfigError(f"{sweep.file}: a trial of a halved sweep is judged beside the others; leave :only= out")
    rungs: list[dict[str, Any]] = []
    for k, budget in enumerate(halving.budgets(sweep.halving)):
        if rungs and args.status and not all(row["n"] == len(row["runs"]) for row in rungs[-1]["rows"]):
            print(f"rung {k + 1} begins when this one is done")
            return 0
        names = halving.survivors(rungs[-1]["rows"], sweep.halving.factor) if rungs else None
        code, results = once(halving.rung(sweep, k, names), root / f"rung{k + 1}_{budget}", args)
        if code:
            say("the next rung begins when all runs of this one are done; the same command goes on")
            return code
        rungs.append(results)
    if not args.status:
        story = f"{rungs[-1]['caption']} {halving.told(rungs)}"
        whole = {"title": sweep.title, "caption": story, "varied": rungs[0]["varied"], "trials": halving.trials(rungs)}
        unit = sweep.halving.budget.removeprefix("total_")
        lengths = [f"{budget} {unit}" for budget in halving.budgets(sweep.halving)]
        publish({**rungs[-1], **whole, "rungs": lengths}, root)
    return 0
