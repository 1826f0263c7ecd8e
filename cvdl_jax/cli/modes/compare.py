"""`--compare runs/a runs/b ...`: which run is better, by how much, and whether that is more than chance."""

from pathlib import Path
from typing import Any

from cvdl_jax.errors import DataError
from cvdl_jax.report.compare import methods, results, text
from cvdl_jax.workdir.folder import write_json

FLAGS = ("compare", "split", "out")  # that it reads


def run(args: Any) -> int:
    """Compares and prints; with `--out`, also writes all numbers as JSON.

    Raises:
        ConfigError: for runs or a split that do not exist.
        DataError: for runs that cannot be compared, naming them and what differs.
    """
    comparison = results.compare(methods.methods(args.compare), args.split or "test")
    print(text.lines(comparison), flush=True)
    if args.out:
        try:
            write_json(Path(args.out), comparison)
        except OSError as error:
            raise DataError(f"--out {args.out} cannot be written: {error.strerror}") from error
        print(f"written to {args.out}")
    return 0
