"""`--table FILE`: runs what a table still needs, then writes it. Run again, it goes on; finished runs are kept."""

from typing import Any

from cvdl_jax.cli.tables.collect import collect
from cvdl_jax.cli.tables.drive import drive, load
from cvdl_jax.workdir.folder import now

FLAGS = ("table", "overrides", "workdir", "workers", "status", "launcher")  # that it reads


def run(args: Any) -> int:
    """Runs the table, or prints how far it is.

    Returns:
        0 if every run is done, 1 if some failed, 75 or 130 if a signal stopped it; the results are written each time.

    Raises:
        ConfigError: for a mistake in the table, a configuration or a flag.
    """
    spec, table, root = load(args)
    planned = spec.planned(table, args.overrides, root)
    if not args.status:
        spec.refuse_missing(table, table.chosen(planned))
    return drive(table, planned, root, args, lambda: collect(table, planned, args.overrides, args.workdir, now()))[0]
