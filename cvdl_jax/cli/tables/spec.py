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

`columns` are further metrics, with the keys of `metric`, which stand beside it; one that is `optional` may be missing
in some runs. A row's `published_columns` has a published number for any of them, by its key. A row that measures a run
which another command trains says so, `"needs": {"workdir": arg.workdir, "command": "python launch.py --config ..."}`;
it is refused with that command while the run is not finished.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from cvdl_jax.cli.tables.plan import Planned, make, slug
from cvdl_jax.cli.tables.study import Study, check_only, check_seeds, dashed, merged, read_file
from cvdl_jax.config.binding import check_name, check_value
from cvdl_jax.errors import ConfigError
from cvdl_jax.workdir.folder import Workdir
from cvdl_jax.workdir.run_state import DONE, state_of

REQUIRED = object()
TABLE = {
    "title": (str, REQUIRED), "caption": (str, ""), "metric": (Mapping, REQUIRED), "seeds": (tuple[int, ...], (0,)),
    "data": (str, REQUIRED), "protocol": (str, REQUIRED), "rows": (tuple, REQUIRED), "columns": (tuple, ()),
}  # fmt: skip
METRIC = {
    "key": (str, REQUIRED), "label": (str, REQUIRED), "unit": (str, ""), "better": (Literal["max", "min"], "max"),
    "scale": (float | None, None), "digits": (int | None, None),
    "interval": (str, "Wilson"),  # which one a run itself gives, over its examples
}  # fmt: skip
COLUMN = METRIC | {"optional": (bool, False), "better": (Literal["max", "min", "none"], "max")}  # none: no best row
ROW = {
    "name": (str, REQUIRED), "config": (str, REQUIRED), "overrides": (tuple[str, ...], ()),
    "seeds": (tuple[int, ...] | None, None), "recipe": (Mapping, {}), "published": (Mapping | None, None),
    "data": (str | None, None), "protocol": (str | None, None), "needs": (Mapping | None, None),
    "published_columns": (Mapping, {}),
}  # fmt: skip
NEEDS = {"workdir": (str, REQUIRED), "command": (str, REQUIRED)}
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
        columns: dicts of COLUMN's keys, the metrics beside the one that rows are compared by.
    """

    flag: ClassVar[str] = "table"
    rows: tuple[dict[str, Any], ...]
    columns: tuple[dict[str, Any], ...] = ()


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
    metric = _metric(values["metric"], METRIC, f"{file}: metric")
    columns = tuple(_metric(column, COLUMN, f"{file}: column {i}") for i, column in enumerate(values["columns"], 1))
    for what in ("key", "label"):
        names = [column[what] for column in (metric, *columns)]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ConfigError(f"{file}: two metrics have the {what} {twice!r}; give each its own")
    values |= {"metric": metric, "columns": columns}
    rows = tuple(_row(row, i, values, file) for i, row in enumerate(values["rows"], 1))
    slugs = [slug(row["name"]) for row in rows]
    twice = sorted({name for name in slugs if slugs.count(name) > 1})
    if twice:
        raise ConfigError(f"{file}: two rows are called {twice[0]!r} in file names; give each its own name")
    if not rows:
        raise ConfigError(f"{file}: rows is empty; a table needs one row or more")
    table = Table(**named, title=values["title"], caption=values["caption"], metric=metric, rows=rows,
                  columns=columns)  # fmt: skip
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


def _metric(values: Any, keys: Mapping[str, tuple], where: str) -> dict[str, Any]:
    """A metric with its defaults: what is in percent is measured in 0..1 and has two digits."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} must be a dict with a key and a label, got {values!r}")
    metric = _section(values, keys, where)
    percent = metric["unit"] == "%"
    metric["scale"] = metric["scale"] or (100.0 if percent else 1.0)
    metric["digits"] = (2 if percent else 4) if metric["digits"] is None else metric["digits"]
    return metric


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
    published, keys = values["published_columns"], [column["key"] for column in table["columns"]]
    for key in published:
        check_name(key, keys, f"{where}: published_columns: {key!r} is not the key of a column")
    values["published_columns"] = {
        key: _section(numbers, PUBLISHED, f"{where}: published_columns: {key}") for key, numbers in published.items()
    }
    if values["needs"] is not None:
        values["needs"] = _section(values["needs"], NEEDS, f"{where}: needs")
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


def refuse_missing(table: Table, planned: Iterable[Planned]) -> None:
    """Refuses to begin while a run that a row measures is not finished.

    Args:
        table: from `load`.
        planned: the runs that are asked for; those that are done need nothing any more.

    Raises:
        ConfigError: naming the row, the folder and the command that comes first.
    """
    needs = {row["name"]: row["needs"] for row in table.rows if row["needs"]}
    for run in planned:
        need = needs.get(run.row)
        if need is None or state_of(run.workdir, run.config).state == DONE:
            continue
        folder = Workdir(need["workdir"])
        if not folder.done.exists():
            how = "is not finished" if folder.path.exists() else "does not exist"
            raise ConfigError(f"{run.row} measures the run in {need['workdir']}, which {how}; first: {need['command']}")
