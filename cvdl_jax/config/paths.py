"""Paths that a user types: `~` is the home folder, and a bucket is no folder. Imports nothing heavy."""

import os
import re
from pathlib import Path

from cvdl_jax.errors import ConfigError

_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # gs://bucket, and gs:/bucket, which pathlib makes of it


def local(path: str | os.PathLike, what: str) -> Path:
    """A path of this machine's file system.

    Args:
        path: as typed.
        what: the flag or setting, for messages.

    Raises:
        ConfigError: for a URL such as gs://bucket/run, and a home folder that nobody has.
    """
    text = os.fspath(path)
    if _REMOTE.match(text):
        raise ConfigError(
            f"{what} {text}: only folders of a file system are supported; mount the bucket (gcsfuse, mountpoint-s3) "
            f"and name the folder below the mount point, as in {what} /mnt/bucket/run"
        )
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{what} {text}: there is no such home folder; write the whole path") from error
