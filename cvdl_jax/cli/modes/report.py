"""`--mode report`: writes the page of a run, report.html, anew from its files; of a run that is not finished too."""

from typing import Any

from cvdl_jax.cli.modes.flags import refuse_config
from cvdl_jax.report.pages import run_page


def run(args: Any) -> int:
    """Writes `workdir/report.html` and says so.

    Raises:
        ConfigError: for flags that it has no use for.
    """
    refuse_config(args)
    print(f"report: {run_page.write(args.workdir)}")
    return 0
