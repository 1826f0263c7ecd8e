"""Reads the file of a table: `get_table(arg=None)` returns plain numbers and strings, checked here key by key.

    def get_table(arg=None):                                     # configs/tables/mine.py
        arg = configs.parse_arg(arg, smoke=False, seeds=(0, 1, 2, 3, 4))
        return {
            "title": "Digits", "caption": "...", "seeds": arg.seeds,
            "metric": {"key": "test/accuracy", "label": "test accuracy", "unit": "%", "better": "max"},
            "data": "digits", "protocol": "trained on 1,149 images, selected on 289, tested on 359",
            "rows": [{"name": "MLP", "config": "configs/classify/mlp.py", "overrides": ["config.optim.lr=0.01"],
                      "recipe": {"epochs": 40}, "published": {"value": 97.0, "source": "...", ...}}],
        }

`data`, `protocol` and the metric's label are what a published number must agree with to be compared; a row may have its
own. `--table FILE:only=NAME` runs some of the rows (NAME+NAME, in the spelling of their folders) and writes the whole
table.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cvdl_jax.cli.tables.plan import Planned, make, slug
from cvdl_jax.config import configs
from cvdl_jax.config.binding import UNITS, check_name, check_value
from cvdl_jax.config.parsing import plain
from cvdl_jax.errors import ConfigError, nearest

FOLDER = Path("runs") / "tables"
REQUIRED = object()
TABLE = {
    "title": (str, REQUIRED), "caption": (str, ""), "metric": (Mapping, REQUIRED), "seeds": (tuple[int, ...], (0,)),
    "data": (str, REQUIRED), "protocol": (str, REQUIRED), "rows": (tuple, REQUIRED),
}  # fmt: skip
METRIC = {
    "key": (str, REQUIRED), "label": (str, REQUIRED), "unit": (str, ""), "better": (Literal["max", "min"], "max"),
    "scale": (float | None, None), "digits": (int | None, None),
}  # fmt: skip
ROW = {
    "name": (str, REQUIRED), "config": (str, REQUIRED), "overrides": (tuple[str, ...], ()),
    "seeds": (tuple[int, ...] | None, None), "recipe": (Mapping, {}), "published": (Mapping | None, None),
    "data": (str | None, None), "protocol": (str | None, None),
}  # fmt: skip
RECIPE = {"epochs": (float | None, None), "steps": (int | None, None), "memory": (bool, False)}
PUBLISHED = {
    "value": (float, REQUIRED), "source": (str, REQUIRED), "data": (str, REQUIRED), "metric": (str, REQUIRED),
    "protocol": (str, REQUIRED), "memory": (bool, False),
}  # fmt: skip


class Table(NamedTuple):
    """A table file, read and checked.

    Attributes:
        file: as typed.
        arg: what followed its colon, without `only`.
        only: slugs of the rows to run; () for all.
        smoke: whether `arg` asks for the two-step version, whose files must not replace the real ones.
        title: of the table.
        caption: a sentence or more.
        metric: key in results.json, label, unit, better ("max" or "min"), scale (measured times scale is in the unit),
            digits after the point.
        rows: dicts of ROW's keys, with the table's seeds, data and protocol where they have none of their own.
    """

    file: str
    arg: str
    only: tuple[str, ...]
    smoke: bool
    title: str
    caption: str
    metric: dict[str, Any]
    rows: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """Of the table's folder."""
        return Path(self.file).stem + ("_smoke" if self.smoke else "")

    def text(self, only: str = "") -> str:
        """What follows --table, for these rows."""
        parts = [part for part in (self.arg, f"only={only}" if only else "") if part]
        return ":".join([self.file, ",".join(parts)]) if parts else self.file


def load(text: str) -> Table:
    """Reads a table.

    Args:
        text: FILE or FILE:ARGS, as on the command line.

    Raises:
        ConfigError: for a missing file, or a key or value that is wrong, with the nearest right one.
    """
    file, _, args = text.partition(":")
    arg, only = split_only(args)
    found = plain(function(file, "get_table", "configs/tables")(arg or None))
    if not isinstance(found, Mapping):
        raise ConfigError(f"{file}: get_table must return a dict, got {type(found).__name__}")
    values = _section(found, TABLE, file)
    metric = _section(values["metric"], METRIC, f"{file}: metric")
    percent = metric["unit"] == "%"
    metric["scale"] = metric["scale"] or (100.0 if percent else 1.0)
    metric["digits"] = (2 if percent else 4) if metric["digits"] is None else metric["digits"]
    rows = tuple(_row(row, i, values, file) for i, row in enumerate(values["rows"], 1))
    slugs = [slug(row["name"]) for row in rows]
    twice = sorted({name for name in slugs if slugs.count(name) > 1})
    if twice:
        raise ConfigError(f"{file}: two rows are called {twice[0]!r} in file names; give each its own name")
    if not rows:
        raise ConfigError(f"{file}: rows is empty; a table needs one row or more")
    for name in only:
        check_name(name, slugs, f"{file}:only={name}: there is no such row")
    smoke = bool(re.search(r"(^|,)\s*smoke\s*(=\s*(True|true)\s*)?(,|$)", arg))
    return Table(file, arg, only, smoke, values["title"], values["caption"], metric, rows)


def split_only(args: str) -> tuple[str, tuple[str, ...]]:
    """Takes `only=A+B` out of the arguments of a table.

    Returns:
        (the other arguments, (A, B)).
    """
    parts = [part.strip() for part in re.split(r",(?![^(\[]*[)\]])", args) if part.strip()]
    chosen = [part.partition("=")[2] for part in parts if part.partition("=")[0].strip() == "only"]
    others = [part for part in parts if part.partition("=")[0].strip() != "only"]
    return ",".join(others), tuple(slug(name) for each in chosen for name in each.split("+") if name.strip())


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


def _section(values: Mapping[str, Any], keys: Mapping[str, tuple], where: str) -> dict[str, Any]:
    """A part of the table with its defaults, every name and type checked."""
    for key in values:
        check_name(key, keys, f"{where}: {key!r} is not a key of it")
    section = {}
    for key, (kind, default) in keys.items():
        if key not in values and default is REQUIRED:
            raise ConfigError(f"{where}: {key!r} is missing")
        section[key] = check_value(values[key], kind, f"{where}: {key}") if key in values else default
    return section


def _row(row: Any, number: int, table: Mapping[str, Any], file: str) -> dict[str, Any]:
    """A row with what it takes from the table."""
    name = row.get("name", f"row {number}") if isinstance(row, Mapping) else f"row {number}"
    where = f"{file}: {name}"
    if not isinstance(row, Mapping):
        raise ConfigError(f"{where} must be a dict with a name and a config, got {row!r}")
    values = _section(row, ROW, where)
    for key in ("seeds", "data", "protocol"):
        values[key] = table[key] if values[key] is None else values[key]
    if not values["seeds"] or len(set(values["seeds"])) != len(values["seeds"]):
        raise ConfigError(f"{where}: seeds={values['seeds']} must be one number or more, each once")
    values["recipe"] = _section(values["recipe"], RECIPE, f"{where}: recipe")
    if values["published"] is not None:
        values["published"] = _section(values["published"], PUBLISHED, f"{where}: published")
    values["overrides"] = tuple(f"--{each.lstrip('-')}" for each in values["overrides"])
    return values


def root(table: Table, workdir: str | Path | None = None) -> Path:
    """The folder of a table: --workdir, else runs/tables/NAME."""
    return Path(workdir) if workdir else FOLDER / table.name


def planned(table: Table, overrides: Iterable[str], folder: str | Path) -> list[Planned]:
    """The runs of a table, row by row and seed by seed.

    Args:
        table: from `load`.
        overrides: of the command line, for every row; they replace a row's own of the same key.
        folder: of the table.

    Raises:
        ConfigError: for a configuration that is wrong, naming the row.
    """
    return [
        make(row["name"], row["name"], row["config"], merged(row["overrides"], overrides), seed, folder)
        for row in table.rows
        for seed in row["seeds"]
    ]


def chosen(table: Table, runs: Iterable[Planned]) -> list[Planned]:
    """Those runs that `only` asks for."""
    return [each for each in runs if not table.only or slug(each.row) in table.only]


def merged(row: Iterable[str], command_line: Iterable[str]) -> tuple[str, ...]:
    """The overrides of a row and of the command line, which wins; a duration replaces one in another unit."""

    def key(override: str) -> str:
        return re.sub(rf"_({'|'.join(UNITS)})$", "", override.lstrip("-").partition("=")[0])

    command_line = tuple(command_line)
    set_there = {key(each) for each in command_line}
    return (*(each for each in row if key(each) not in set_there), *command_line)
