"""`--mode report`: writes the page of a run, report.html, anew from its files; of a run that is not finished too."""

from typing import Any

from cvdl_jax.report.pages import run_page

FLAGS = ("workdir",)  # that it reads


def run(args: Any) -> int:
    """Writes `workdir/report.html` and says so."""
    print(f"report: {run_page.write(args.workdir)}")
    return 0
