"""Where a run comes from and where its time went: configuration, commit, versions, machine, data, starts."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from cvdl_jax.config import configs
from cvdl_jax.core import formatting
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Cell, Column, Markup, code_block, copied, details, el, pairs, section, table

HASH = 20  # characters of a hash that are shown
PHASES = {
    "train": "training steps",
    "data_wait": "waiting for data",
    "evaluate": "evaluation",
    "save": "checkpoints",
    "compile": "compilation",
}


def command(start: Mapping[str, Any]) -> str:
    """The command line of a start, to be typed again."""
    return shlex.join(start.get("argv") or [])


def time_split(split: Mapping[str, float], seconds: float | None, analysis: bool = False) -> Markup:
    """The section of the time: a bar of phases and its table.

    Args:
        split: fractions by phase, {} if the run has not ended.
        seconds: of all starts together; None if nothing was logged.
        analysis: whether there are no training steps.
    """
    whole = f"{formatting.seconds(seconds)} until the last row, all starts together." if seconds is not None else None
    if not split:
        body = el("p", whole, " The split is written when a run ends.", class_="note")
        return section("time", "Time", body)
    words = PHASES | ({"train": "the analysis"} if analysis else {})
    parts = [(name, x) for name, x in split.items() if not (analysis and name == "data_wait")]
    bar = el("div", [el("span", class_=f"phase phase-{i}", style=f"flex-grow:{max(x, 0):.5f}", title=words.get(n, n))
                     for i, (n, x) in enumerate(parts)], class_="split", aria_hidden="true")  # fmt: skip
    columns = [Column("phase"), Column("share", True)]
    rows = [
        (el("span", el("i", class_=f"swatch phase-{i}"), words.get(name, name)), Cell(numbers.percent(x, 1), x))
        for i, (name, x) in enumerate(parts)
    ]
    shown = table(columns, rows, "Shares of the time of the last start", class_="narrow")
    return section("time", "Time", el("p", whole), bar, shown)


def config_section(config: Mapping[str, Any]) -> Markup:
    """The section of the configuration: every key that is set, and the file."""
    flat = configs.flat(config)
    off = sorted(key for key, value in flat.items() if value in ({}, None, ""))
    shown = [(el("code", key), el("code", _plain(value))) for key, value in sorted(flat.items()) if key not in off]
    return section(
        "config",
        "Configuration",
        pairs(shown),
        el("p", "Switched off or unset: ", ", ".join(off), ".", class_="note") if off else None,
        details("config.json", code_block(json.dumps(config, indent=2), "config.json")),
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def provenance_section(meta: Mapping[str, Any]) -> Markup:
    """The section of the provenance, from meta.json."""
    starts = meta.get("starts") or []
    if not starts:
        return section("provenance", "Provenance", el("p", "The run has not been started.", class_="note"))
    last, data = starts[-1], meta.get("data") or {}
    commit, dirty = last.get("commit"), [" ", el("em", "and uncommitted changes")] if last.get("dirty") else None
    facts = {
        "commit": [copied(commit, "commit", HASH), dirty] if commit else "unknown",
        "seed": meta.get("seed"),
        "configuration": copied(meta.get("config_digest"), "digest of the configuration"),
        "data": f"{data['name']} {data.get('version') or ''}" if data else "none",
        "data fingerprint": copied(data.get("fingerprint"), "fingerprint of the data", HASH),
        "devices": _devices(last),
        "machine": f"{last.get('host')}, {last.get('cpus')} CPUs, {last.get('platform')}",
        "python": last.get("python"),
        **(last.get("versions") or {}),
        "steps per call": meta.get("steps_per_call"),
    }
    return section("provenance", "Provenance", pairs(facts), _starts(starts))


def _devices(start: Mapping[str, Any]) -> str:
    kinds = start.get("devices") or []
    shown = ", ".join(f"{kinds.count(kind)} × {kind}" for kind in dict.fromkeys(kinds)) or "unknown"
    processes = start.get("processes") or 1
    return f"{shown} ({start.get('backend')})" + (f", {processes} processes" if processes > 1 else "")


def _starts(starts: list[Mapping[str, Any]]) -> Markup:
    columns = [Column("start", True), Column("time (UTC)"), Column("commit"), Column("devices"), Column("command")]
    rows = [
        (i, el("span", start.get("time"), class_="nowrap"), el("code", (start.get("commit") or "unknown")[:10],
         "+" if start.get("dirty") else ""), _devices(start), el("code", command(start), class_="command"))
        for i, start in enumerate(starts, 1)
    ]  # fmt: skip
    said = "one start" if len(starts) == 1 else f"{len(starts)} starts"
    return details(f"Starts ({said})", table(columns, rows, "Starts of the run; + marks uncommitted changes"))
