"""Gathers the run folders of a table in one plain dict, which is results.json and all that the writers read."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from cvdl_jax.cli.tables.plan import Planned, command, slug
from cvdl_jax.cli.tables.spec import Table
from cvdl_jax.cli.tables.study import Study
from cvdl_jax.config import configs
from cvdl_jax.core.formatting import count
from cvdl_jax.errors import ConfigError, nearest
from cvdl_jax.metrics.stats.intervals import TOO_FEW, student_t_within
from cvdl_jax.report import verdicts
from cvdl_jax.workdir.folder import Workdir, read_json
from cvdl_jax.workdir.metric_log import read
from cvdl_jax.workdir.run_state import DONE, seconds, state_of


def collect(
    table: Table, planned: Sequence[Planned], overrides: Iterable[str], workdir: str | None, generated: str
) -> dict[str, Any]:
    """The results of a table.

    Args:
        table: from `spec.load`.
        planned: all its runs.
        overrides: of the command line.
        workdir: of the command line; None for the default.
        generated: the time, UTC.

    Raises:
        ConfigError: if a finished run has no such metric, naming the nearest one that it has.
    """
    rows = []
    for entry in table.rows:
        mine = [run for run in planned if run.row == entry["name"]]
        runs = [run_facts(run, table.metric, table.columns) for run in mine]
        facts = row_facts(entry, runs, mine[0].config, table.metric)
        facts["columns"] = [column_facts(column, entry, runs) for column in table.columns]
        rows.append({**facts, "command": table.command(slug(entry["name"]), overrides, workdir)})
    for row in rows:
        row["comparison"] = verdicts.with_published(row, table.metric)
    verdicts.with_best(rows, table.metric)
    return results_of(table, rows, overrides, workdir, generated) | {"columns": list(table.columns)}


def results_of(
    study: Study, rows: Sequence[Mapping[str, Any]], overrides: Iterable[str], workdir: str | None, generated: str
) -> dict[str, Any]:
    """What the results of a table and of a sweep hold; arguments as for `collect`."""
    kinds = list(dict.fromkeys(row["interval"] for row in rows if row["interval"]))
    return {
        "name": study.name,
        "title": study.title,
        "caption": study.caption,
        "command": study.command("", overrides, workdir),
        "overrides": list(overrides),
        "generated": generated,
        "metric": study.metric,
        "interval": "95 % interval: " + "; ".join(kinds) if kinds else "95 % interval",
        "rows": [{**row, "runs": [public(run) for run in row["runs"]]} for row in rows],
        "warnings": warnings(rows),
    }


# One run ------------------------------------------------------------------------------------------------------------


def run_facts(planned: Planned, metric: Mapping[str, Any], columns: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """All that a table tells of one run; what is not known is None."""
    folder = Workdir(planned.workdir)
    state = state_of(planned.workdir, planned.config)
    meta = folder.read_meta() if state.state == DONE else {}
    starts = meta.get("starts", [])
    facts = {
        "seed": planned.seed, "workdir": str(planned.workdir), "state": state.state, "message": state.message,
        "step": state.step, "total_steps": state.total_steps, "value": None, "low": None, "high": None,
        "examples": None, "selected_step": None, "seconds": None, "steps": None, "epochs": None,
        "starts": len(starts), "command": command(planned),
        "parameters": (meta.get("model") or {}).get("parameters"), "macs": (meta.get("model") or {}).get("macs"),
        "hardware": [hardware(start) for start in starts], "commits": [start.get("commit") for start in starts],
        "dirty": any(start.get("dirty") for start in starts), "data": meta.get("data"),
        "columns": {},
    }  # fmt: skip
    if state.state != DONE:
        return facts
    results, rows = read_json(folder.results), read(folder.metrics)
    return facts | {
        **measured(results["metrics"], metric, folder.results),
        "columns": {column["key"]: beside(results["metrics"], column, folder.results) for column in columns},
        "selected_step": results["selected_step"],
        "steps": results["step"],
        "epochs": next((row["epoch"] for row in reversed(rows) if "epoch" in row), None),
        "seconds": seconds(rows),
    }


def measured(metrics: Mapping[str, float], metric: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The metric of a run in the table's unit, with the interval that the run made over its test examples.

    Raises:
        ConfigError: if the run has no such metric.
    """
    key, scale = metric["key"], metric["scale"]
    if key not in metrics:
        raise ConfigError(f"metric key {key!r} is not in {path}; {nearest(key, metrics)}")
    ends = [metrics.get(f"{key}_{end}") for end in ("low", "high")]
    low, high = (None if end is None else scale * end for end in ends)
    examples = metrics.get(f"{key.partition('/')[0]}/examples")
    return {
        "value": scale * metrics[key],
        "low": low,
        "high": high,
        "examples": None if examples is None else int(examples),
    }


def beside(metrics: Mapping[str, float], column: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    """As `measured`, of a further metric; None of an optional one that the run does not have."""
    if column["optional"] and column["key"] not in metrics:
        return None
    return measured(metrics, column, path)


def hardware(start: Mapping[str, Any]) -> str:
    """Where a run was computed: "2 CPU cores, x86_64", "8 x NVIDIA H100"."""
    if start.get("backend") == "cpu":
        machine = re.search(r"x86_64|aarch64|arm64|ppc64le|riscv64|AMD64", start.get("platform", ""))
        return f"{start.get('cpus')} CPU cores" + (f", {machine[0]}" if machine else "")
    devices = start.get("devices", [])
    kinds = list(dict.fromkeys(devices))
    return ", ".join(f"{devices.count(kind)} x {kind}" for kind in kinds)


def public(run: Mapping[str, Any]) -> dict[str, Any]:
    """A run as results.json has it."""
    return {**run, "hardware": "; ".join(unique(run["hardware"])), "commits": unique(run["commits"])}


def unique(values: Iterable[Any]) -> list[Any]:
    """The different ones in their order, None left out."""
    different: list[Any] = []
    for value in values:
        if value is not None and value not in different:
            different.append(value)
    return different


# One row ------------------------------------------------------------------------------------------------------------


def row_facts(
    row: Mapping[str, Any], runs: list[dict[str, Any]], config: Any, metric: Mapping[str, Any]
) -> dict[str, Any]:
    """What a table says of a row, from its finished runs; None where there is none.

    Args:
        row: of the table file.
        runs: from `run_facts`, one per seed.
        config: of any of its seeds.
        metric: of the table.
    """
    done = [run for run in runs if run["state"] == DONE]
    values = [run["value"] for run in done]
    data = unique(run["data"] for run in done)
    commits = unique(commit for run in done for commit in run["commits"])
    without_seed = {key: value for key, value in config.items() if key != "seed"}
    return {
        "name": row["name"], "config": row["config"], "overrides": list(row["overrides"]),
        "seeds": list(row["seeds"]), "n": len(done), "values": values,
        **spread(done, metric),
        "parameters": first(run["parameters"] for run in done), "macs": first(run["macs"] for run in done),
        "epochs": mean(run["epochs"] for run in done), "steps": mean(run["steps"] for run in done),
        "recipe": {key: row["recipe"][key] for key in ("epochs", "steps")},
        "recipe_memory": row["recipe"]["memory"], "seconds": mean(run["seconds"] for run in done),
        "hardware": "; ".join(unique(machine for run in done for machine in run["hardware"])) or None,
        "commit": ", ".join(commit[:10] for commit in commits) or None,
        "dirty": any(run["dirty"] for run in done) if done else None,
        "config_digest": configs.digest(without_seed), "data": data[0] if data else None,
        "protocol": row["protocol"], "data_name": row["data"],
        "published": dict(row["published"]) if row["published"] else None,
        "comparison": "", "significance": "", "p": None, "runs": runs,
    }  # fmt: skip


def column_facts(
    column: Mapping[str, Any], row: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """A further metric of a row, from those of its finished runs that have it.

    Args:
        column: of the table.
        row: of the table file.
        runs: from `run_facts`.
    """
    known = [run["columns"].get(column["key"]) for run in runs]
    measured_runs = [one for one in known if one is not None]
    facts = {"key": column["key"], "n": len(measured_runs), **spread(measured_runs, column)}
    facts["published"] = row["published_columns"].get(column["key"])
    ours = {"data_name": row["data"], "protocol": row["protocol"]}
    return facts | {"comparison": verdicts.with_published(facts | ours, column)}


def spread(done: Sequence[Mapping[str, Any]], metric: Mapping[str, Any], what: str = "seeds") -> dict[str, Any]:
    """Mean, standard deviation and interval: over seeds, or of a single run over its test examples.

    Args:
        done: finished runs.
        metric: of the table; one in percent lies in 0..100, or in 0..1 before scaling.
        what: the values are of, for the interval's name.
    """
    values = [run["value"] for run in done]
    if not values:
        return {"mean": None, "std": None, "low": None, "high": None, "interval": ""}
    if len(values) == 1:
        run = done[0]
        kind = metric.get("interval", "Wilson")
        examples = (
            f"{kind} over {count(run['examples'])} examples" if run["examples"] and run["low"] is not None else ""
        )
        return {"mean": values[0], "std": None, "low": run["low"], "high": run["high"], "interval": examples}
    range_ = (0.0, metric["scale"]) if metric["unit"] == "%" else (-math.inf, math.inf)
    ends = student_t_within(values, *range_) if all(map(math.isfinite, values)) else (math.nan, math.nan)
    kind = f"Student-t over {len(values)} {what}" if ends else TOO_FEW.format(what=what)
    low, high = ends or (None, None)
    return {"mean": fmean(values), "std": stdev(values), "low": low, "high": high, "interval": kind}


def first(values: Iterable[Any]) -> Any:
    """The first that is known."""
    return next((value for value in values if value is not None), None)


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known; whole where they are equal and whole."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return known[0] if all(value == known[0] for value in known) else fmean(known)


# What a reader must know --------------------------------------------------------------------------------------------


def warnings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What makes rows less comparable than they look."""
    done = [(row["name"], run) for row in rows for run in row["runs"] if run["state"] == DONE]
    told = []
    commits = unique(commit for _, run in done for commit in run["commits"])
    if len(commits) > 1:
        told.append(f"the runs were made at {len(commits)} commits: {', '.join(c[:10] for c in commits)}")
    dirty = unique(name for name, run in done if run["dirty"])
    if dirty:
        told.append(f"made with uncommitted changes: {', '.join(dirty)}")
    machines = unique(machine for _, run in done for machine in run["hardware"])
    if len(machines) > 1:
        told.append(f"seconds were measured on different hardware: {'; '.join(machines)}")
    for key, what in (("data", "data"), ("parameters", "numbers of parameters")):
        differing = [row["name"] for row in rows if len(unique(r[key] for n, r in done if n == row["name"])) > 1]
        if differing:
            told.append(f"runs of one row have different {what}: {', '.join(differing)}")
    again = unique(name for name, run in done if run["starts"] > 1)
    if again:
        told.append(f"continued after a stop, so that their seconds are the sum over their starts: {', '.join(again)}")
    return told
