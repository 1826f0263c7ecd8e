"""What tables and sweeps share: their file and its arguments, the runs that are asked for, the command that goes on."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from cvdl_jax.cli.tables.plan import Planned, slug
from cvdl_jax.config import configs, places
from cvdl_jax.config.binding import UNITS, check_name
from cvdl_jax.config.parsing import plain
from cvdl_jax.errors import ConfigError, nearest


@dataclass(frozen=True)
class Study:
    """A table or a sweep, as its file describes it.

    Attributes:
        flag: "table" or "sweep".
        file: as typed.
        arg: what followed its colon, without `only`.
        only: slugs of the rows or trials to run; () for all.
        name: of its folder; the two-step version has a folder of its own, so that it replaces no real results.
        title: what people read.
        caption: a sentence or more.
        metric: key in results.json, label, unit, better ("max" or "min"), scale (measured times scale is in the unit),
            digits after the point.
    """

    flag: ClassVar[str]
    file: str
    arg: str
    only: tuple[str, ...]
    name: str
    title: str
    caption: str
    metric: dict[str, Any]

    def text(self, only: str = "") -> str:
        """What follows --table or --sweep, for these rows."""
        parts = [part for part in (self.arg, f"only={only}" if only else "") if part]
        return ":".join([self.file, ",".join(parts)]) if parts else self.file

    def command(self, only: str, overrides: Iterable[str], workdir: str | None) -> str:
        """The command line that goes on with these rows, or repeats them in another folder."""
        where = ["--workdir", workdir] if workdir else []
        return shlex.join([*places.command().split(), f"--{self.flag}", self.text(only), *overrides, *where])

    def root(self, workdir: str | Path | None = None) -> Path:
        """Its folder: --workdir, else runs/tables/NAME or runs/sweeps/NAME."""
        return Path(workdir) if workdir else Path("runs", f"{self.flag}s", self.name)

    def chosen(self, runs: Iterable[Planned]) -> list[Planned]:
        """Those runs that `only` asks for."""
        return [run for run in runs if not self.only or slug(run.row) in self.only]


def read_file(text: str, flag: str) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Reads the file of a table or sweep.

    Args:
        text: FILE or FILE:ARGS, as on the command line.
        flag: "table" or "sweep".

    Returns:
        (file, arg, only and name of the `Study`; what its function `get_table` or `get_sweep` returned).

    Raises:
        ConfigError: if there is no such file or function, or it returns no dict.
    """
    file, _, args = text.partition(":")
    arg, only = split_only(args)
    values = plain(function(file, f"get_{flag}", f"configs/{flag}s")(arg or None))
    if not isinstance(values, Mapping):
        raise ConfigError(f"{file}: get_{flag} must return a dict, got {type(values).__name__}")
    smoke = "_smoke" if re.search(r"(^|,)\s*smoke\s*(=\s*(True|true)\s*)?(,|$)", arg) else ""
    return {"file": file, "arg": arg, "only": only, "name": f"{values.get('name') or Path(file).stem}{smoke}"}, values


def split_only(args: str) -> tuple[str, tuple[str, ...]]:
    """Takes `only=A+B` out of the arguments of a file.

    Returns:
        (the other arguments, (A, B)).
    """
    parts = [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", args) if part.strip()]
    asked = [part.partition("=")[2] for part in parts if part.partition("=")[0].strip() == "only"]
    others = [part for part in parts if part.partition("=")[0].strip() != "only"]
    return ",".join(others), tuple(slug(name) for names in asked for name in names.split("+") if name.strip())


def function(file: str, name: str, folder: str) -> Callable[[str | None], Any]:
    """The function of a table or sweep file that is called with its arguments.

    Args:
        file: relative to the working directory, else to the root of the repository.
        name: "get_table" or "get_sweep".
        folder: where files of this kind are kept, for the message.

    Raises:
        ConfigError: if there is no such file or function.
    """
    paths = [path for path in (Path(file).expanduser(), configs.ROOT / file) if path.is_file()]
    if not paths:
        kept = (configs.ROOT / folder).glob("*.py")
        known = [path.relative_to(configs.ROOT).as_posix() for path in kept if path.stem != "__init__"]
        raise ConfigError(f"there is no file {file!r}; {nearest(file, known)}")
    module = configs.load_module(paths[0])
    if not hasattr(module, name):
        raise ConfigError(f"{paths[0]} defines no {name}(arg=None); see another file in {folder}/ for the form")
    return getattr(module, name)


def check_only(study: Study, names: Sequence[str], what: str) -> None:
    """Refuses `only` of a row or trial that does not exist, with the nearest one."""
    for name in study.only:
        check_name(name, [slug(known) for known in names], f"{study.file}:only={name}: there is no such {what}")


def check_seeds(seeds: Sequence[int], where: str) -> None:
    """Refuses no seed, and one that is given twice."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise ConfigError(f"{where}: seeds={seeds} must be one number or more, each once")


def dashed(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides as on the command line, with or without their dashes in the file."""
    return tuple(f"--{override.lstrip('-')}" for override in overrides)


def merged(own: Iterable[str], command_line: Iterable[str]) -> tuple[str, ...]:
    """The overrides of a row and of the command line, which wins; a duration replaces one in another unit."""

    def key(override: str) -> str:
        return re.sub(rf"_({'|'.join(UNITS)})$", "", override.lstrip("-").partition("=")[0])

    command_line = tuple(command_line)
    replaced = {key(override) for override in command_line}
    return (*(override for override in own if key(override) not in replaced), *command_line)
