"""`--mode report`: writes the page of a run, report.html, anew from its files; of a run that is not finished too."""

from typing import Any

from cvdl_jax.errors import ConfigError
from cvdl_jax.report import run_page


def run(args: Any) -> int:
    """Writes `workdir/report.html` and says so.

    Raises:
        ConfigError: for flags that it has no use for.
    """
    if args.config is not None or args.overrides:
        raise ConfigError("--mode report shows a run as it is; leave out --config and --config.KEY=VALUE")
    print(f"report: {run_page.write(args.workdir)}")
    return 0
