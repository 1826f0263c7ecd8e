"""`--mode report`: writes the page of a run, report.html, anew from its files; of a run that is not finished too."""

import errno
from typing import Any

from cvdl_jax.errors import DataError
from cvdl_jax.report.pages import run_page

FLAGS = ("workdir",)  # that it reads


def run(args: Any) -> int:
    """Writes `workdir/report.html` and says so.

    Raises:
        DataError: for a folder that cannot be written to.
    """
    try:
        print(f"report: {run_page.write(args.workdir)}")
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise DataError(f"the page of {args.workdir} cannot be written: {error.strerror}: {error.filename}") from error
    return 0
