"""The site's settings: what a cluster is called and how a job asks for it.

They are read from a TOML file with a section per launcher: the one that CVDL_SITE names, else
`~/.config/cvdl_jax/site.toml` where it exists. `--launcher slurm:partition=gpu,time=04:00:00` goes before the file.
`docs/launchers.md` lists the keys.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.config import configs
from cvdl_jax.config.binding import check_name
from cvdl_jax.errors import ConfigError

VARIABLE = "CVDL_SITE"
DEFAULT = "~/.config/cvdl_jax/site.toml"
LAUNCHERS = ("gke", "slurm", "tpu_vm")


def load(launcher: str, options: type, required: Mapping[str, str], arg: str = "") -> Any:
    """The options of a launcher.

    Args:
        launcher: one of LAUNCHERS.
        options: a NamedTuple class with annotated fields that all have defaults.
        required: {field that may not stay empty: an example of its value}.
        arg: "key=value,..." from the command line.

    Returns:
        An instance of `options`.

    Raises:
        ConfigError: for a file that cannot be read, a misspelt key, a wrong type, or a required value that is missing.
    """
    file = path()
    section = read(file).get(launcher, {})
    try:
        if not isinstance(section, Mapping):
            raise ConfigError(f"{launcher} must be a section; write [{launcher}] on a line of its own")
        given = configs.bind(options, section, launcher)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    try:
        values = configs.parse_arg(arg, **{**options._field_defaults, **given})
    except ConfigError as error:
        raise ConfigError(f"--launcher {launcher}: {error}") from error
    chosen = configs.call(options, values, launcher)
    for key, example in required.items():
        if not getattr(chosen, key):
            where = file if file is not None else DEFAULT
            raise ConfigError(
                f'{launcher} needs {key}: write {key} = "{example}" below [{launcher}] in {where}, or type '
                f"--launcher {launcher}:{key}={example}"
            )
    return chosen


def path() -> Path | None:
    """The file of the site; None where there is none.

    Raises:
        ConfigError: if CVDL_SITE names a file that does not exist.
    """
    named = os.environ.get(VARIABLE, "")
    file = Path(named or DEFAULT).expanduser()
    if file.is_file():
        return file
    if named:
        raise ConfigError(f"{VARIABLE}={named}: there is no such file; docs/launchers.md shows what is in it")
    return None


def read(file: Path | None) -> dict[str, Any]:
    """The sections of the file, {} without one.

    Raises:
        ConfigError: if it is not TOML, or holds a section of no launcher.
    """
    import tomllib

    if file is None:
        return {}
    try:
        sections = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file} cannot be read as TOML: {error}") from error
    for name in sections:
        check_name(name, LAUNCHERS, f"{file}: [{name}] is not a section of a site")
    return sections
