"""`--sweep FILE`: runs what a sweep still needs, then writes its table. Run again, it goes on; done runs are kept."""

from collections import Counter
from pathlib import Path
from typing import Any

from cvdl_jax.cli.sweeps import build_all, halving, spec, summary
from cvdl_jax.cli.tables import render, status
from cvdl_jax.cli.tables.execute import execute
from cvdl_jax.cli.tables.write import write_all
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import now
from cvdl_jax.workdir.run_state import state_of


def run(args: Any) -> int:
    """Runs the sweep, or prints how far it is.

    Returns:
        0 if every run is done, 1 if some failed, 75 or 130 if a signal stopped it; the results are written each time.

    Raises:
        ConfigError: for a mistake in the sweep, in any of its configurations, or in a flag.
    """
    if args.config is not None:
        raise ConfigError("--sweep names its config itself; leave --config out")
    sweep = spec.load(args.sweep)
    root = spec.root(sweep, args.workdir)
    return halve(sweep, root, args) if sweep.halving else once(sweep, root, args)[0]


def once(sweep: spec.Sweep, root: Path, args: Any) -> tuple[int, dict[str, Any]]:
    """Runs the trials of a sweep, or of one rung of it, and writes their table.

    Returns:
        The exit code, and the results; with --status nothing is run or written.
    """
    planned = spec.planned(sweep, args.overrides, root)
    todo = spec.chosen(sweep, planned)
    if args.status:
        print(status.report(planned, args.workers))
        return 0, summary.collect(sweep, planned, args.overrides, args.workdir, now())
    states = Counter(state_of(each.workdir, each.config).state for each in todo)
    say(f"{sweep.title}: {len(todo)} runs in {root} ({', '.join(f'{n} {name}' for name, n in states.items())})")
    build_all.check(todo, sweep.metric["key"], say)
    code = execute(todo, args.workers, say, sweep.metric["key"])
    results = summary.collect(sweep, planned, args.overrides, args.workdir, now())
    report(results, root)
    return code, results


def halve(sweep: spec.Sweep, root: Path, args: Any) -> int:
    """Runs rung after rung, each in its folder; the table of the last one is that of the sweep."""
    if sweep.only:
        raise ConfigError(f"{sweep.file}: a trial of a halved sweep is judged beside the others; leave :only= out")
    names, found = None, []
    for k, budget in enumerate(halving.budgets(sweep.halving)):
        if found and args.status and not all(row["n"] == len(row["runs"]) for row in found[-1]["rows"]):
            print(f"rung {k + 1} begins when this one is done")
            return 0
        names = halving.survivors(found[-1]["rows"], sweep.halving.factor) if found else None
        code, results = once(halving.rung(sweep, k, names), root / f"rung{k + 1}_{budget}", args)
        if code:
            say("the next rung begins when all runs of this one are done; the same command goes on")
            return code
        found.append(results)
    if not args.status:
        story = f"{found[-1]['caption']} {halving.told(found)}"
        report({**found[-1], "title": sweep.title, "caption": story, "varied": found[0]["varied"]}, root)
    return 0


def report(results: dict[str, Any], root: Path) -> None:
    """Writes a table and prints it."""
    files = write_all(results, root)
    say(f"\n{render.console(results)}\n\n{results['caption']}\n\nresults: {', '.join(str(path) for path in files)}")


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)
