"""Which code another machine runs: a commit, so that its results can be traced to it."""

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from cvdl_jax.config import configs
from cvdl_jax.errors import UserError


def commit() -> str:
    """The commit that is checked out.

    Raises:
        UserError: outside a git checkout.
    """
    return _git("rev-parse", "HEAD")


def differs(words: Iterable[str]) -> str:
    """What of the working tree is not in the commit, in words; "" if nothing that a run could read.

    Args:
        words: of the command line; those that name a file of the repository, such as a config, must be committed.
    """
    changed = _git("status", "--porcelain", "--untracked-files=no")
    if changed:
        return f"changes that are not committed ({', '.join(line[2:].strip() for line in changed.splitlines()[:5])})"
    for word in dict.fromkeys(words):
        file = word.removeprefix("--config=").partition(":")[0]
        paths = [path for path in (Path(file), configs.ROOT / file) if path.suffix == ".py" and path.is_file()]
        if paths and not _git("ls-files", "--", str(paths[0].resolve())):
            return f"a file that is not committed ({file})"
    return ""


def bundle(commit: str) -> Path:
    """Where the file is, or will be, that carries a commit and its history."""
    return Path(tempfile.gettempdir()) / f"cvdl_jax-{commit[:12]}.bundle"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(configs.ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", "") or str(error)
        raise UserError(
            f"{configs.ROOT} is no git checkout that can be copied ({said.strip()}); clone the repository and launch "
            "from there"
        ) from error
    return done.stdout.strip()
