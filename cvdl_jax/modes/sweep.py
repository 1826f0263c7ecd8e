"""`--sweep FILE`: runs what a sweep still needs, then writes its table. Run again, it goes on; done runs are kept."""

from collections import Counter
from typing import Any

from cvdl_jax.errors import ConfigError
from cvdl_jax.sweeps import build_all, spec, summary
from cvdl_jax.tables import render, status
from cvdl_jax.tables.execute import execute
from cvdl_jax.tables.state import state_of
from cvdl_jax.tables.write import write_all
from cvdl_jax.workdir import now


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
    planned = spec.planned(sweep, args.overrides, root)
    todo = spec.chosen(sweep, planned)
    if args.status:
        print(status.report(planned, args.workers))
        return 0
    states = Counter(state_of(each.workdir, each.config).state for each in todo)
    say(f"{sweep.title}: {len(todo)} runs in {root} ({', '.join(f'{n} {name}' for name, n in states.items())})")
    build_all.check(todo, sweep.metric["key"], say)
    code = execute(todo, args.workers, say, sweep.metric["key"])
    results = summary.collect(sweep, planned, args.overrides, args.workdir, now())
    files = write_all(results, root)
    say(f"\n{render.console(results)}\n\n{results['caption']}\n\nresults: {', '.join(str(path) for path in files)}")
    return code


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)
