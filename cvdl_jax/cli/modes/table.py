"""`--table FILE`: runs what a table still needs, then writes it. Run again, it goes on; finished runs are kept."""

from collections import Counter
from typing import Any

from cvdl_jax.cli.tables import render, spec, status
from cvdl_jax.cli.tables.collect import collect
from cvdl_jax.cli.tables.execute import execute
from cvdl_jax.cli.tables.write import write_all
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import now
from cvdl_jax.workdir.run_state import state_of


def run(args: Any) -> int:
    """Runs the table, or prints how far it is.

    Returns:
        0 if every run is done, 1 if some failed, 75 or 130 if a signal stopped it; the results are written each time.

    Raises:
        ConfigError: for a mistake in the table, a configuration or a flag.
    """
    if args.config is not None:
        raise ConfigError("--table names its configs itself; leave --config out")
    table = spec.load(args.table)
    root = spec.root(table, args.workdir)
    planned = spec.planned(table, args.overrides, root)
    todo = spec.chosen(table, planned)
    if args.status:
        print(status.report(planned, args.workers))
        return 0
    states = Counter(state_of(each.workdir, each.config).state for each in todo)
    print(f"{table.title}: {len(todo)} runs in {root} ({', '.join(f'{n} {name}' for name, n in states.items())})")
    code = execute(todo, args.workers, say, table.metric["key"])
    results = collect(table, planned, args.overrides, args.workdir, now())
    files = write_all(results, root)
    print(f"\n{render.console(results)}\n\nresults: {', '.join(str(path) for path in files)}", flush=True)
    return code


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)
