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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from cvdl_jax.cli.tables.plan import Planned, make, slug
from cvdl_jax.cli.tables.study import Study, check_only, check_seeds, dashed, merged, read_file
from cvdl_jax.config.binding import check_name, check_value
from cvdl_jax.errors import ConfigError

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


@dataclass(frozen=True)
class Table(Study):
    """A table file, read and checked.

    Attributes:
        rows: dicts of ROW's keys, with the table's seeds, data and protocol where they have none of their own.
    """

    flag: ClassVar[str] = "table"
    rows: tuple[dict[str, Any], ...]


def load(text: str) -> Table:
    """Reads a table.

    Args:
        text: FILE or FILE:ARGS, as on the command line.

    Raises:
        ConfigError: for a missing file, or a key or value that is wrong, with the nearest right one.
    """
    named, values = read_file(text, "table")
    file = named["file"]
    values = _section(values, TABLE, file)
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
    table = Table(**named, title=values["title"], caption=values["caption"], metric=metric, rows=rows)
    check_only(table, [row["name"] for row in rows], "row")
    return table


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
    check_seeds(values["seeds"], where)
    values["recipe"] = _section(values["recipe"], RECIPE, f"{where}: recipe")
    if values["published"] is not None:
        values["published"] = _section(values["published"], PUBLISHED, f"{where}: published")
    values["overrides"] = dashed(values["overrides"])
    return values


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
