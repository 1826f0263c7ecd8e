"""The communication of a compiled program: every collective, how much it moves, over which axis of the mesh."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import NamedTuple

from cvdl_jax.cli.check.groups import axis_groups, replica_groups

_KINDS = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip
_COLLECTIVE = re.compile(rf"= (?P<shape>.*?) (?P<kind>{'|'.join(_KINDS)})(?P<start>-start)?\(")
_ARRAY = re.compile(r"\b(pred|[a-z]+\d+\w*)\[([\d,<=]*)\]")
_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLED = re.compile(r"\b(?:calls|to_apply|body|condition|branch_computations|\w+_computation)=(\{[^}]*\}|[%\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')


class Collective(NamedTuple):
    """Collectives of one kind over one axis, together.

    Attributes:
        kind: "all-reduce", "all-gather" ...
        axis: of the mesh: "data", "fsdp", "data and fsdp", or "groups of n" where it is none of these.
        devices: of a group.
        count: how many of them a step runs.
        bytes: of their whole arrays: of the sum, of what was gathered, of what is scattered.
    """

    kind: str
    axis: str
    devices: int
    count: int
    bytes: int


def parse(text: str, mesh: Mapping[str, int]) -> list[Collective]:
    """The collectives of a program, those that move most first.

    Args:
        text: `compiled.as_text()`, the program of one device.
        mesh: {axis: size} in the order of the mesh, as `jax.sharding.Mesh.shape`.

    Returns:
        One row for each kind and axis. What is inside a loop of known length counts for each of its passes.
    """
    devices = math.prod(mesh.values())
    axes = axis_groups(mesh)
    times, fused = _call_counts(text)
    found: Counter = Counter()
    counts: Counter = Counter()
    seen: set[tuple[str, str]] = set()
    for computation, line, match in _lines(text):
        groups = replica_groups(line, devices)
        size = max(map(len, groups))
        kind, amount = match["kind"], _bytes(match, size)
        if size == 1 or not times[computation]:
            continue
        if computation in fused:  # an asynchronous one is written once for its start, its end and whatever overlaps
            channel = re.search(r"channel_id=(\d+)", line)
            name = (kind, channel[1] if channel else line)
            if name in seen:
                continue
            seen.add(name)
        if "all-reduce-scatter" in computation:  # a TPU's fusion of an all-reduce and the slice that is kept
            kind = "reduce-scatter"
        key = (kind, axes.get(groups, f"groups of {size}"), size)
        found[key] += times[computation] * amount
        counts[key] += times[computation]
    return [Collective(*key, counts[key], amount) for key, amount in found.most_common()]


def has_loops(text: str) -> bool:
    """Whether a program has loops, whose bodies XLA's own analysis counts once."""
    return bool(re.search(r" while\(", text))


def _bytes(match: re.Match, devices: int) -> int:
    sizes = [_array_bytes(*array) for array in _ARRAY.findall(match["shape"])]
    kind = match["kind"]
    if match["start"] and kind == "collective-permute":  # (operand, result, context ...)
        sizes = sizes[1:2]
    elif match["start"] and kind == "all-gather":  # (operands, results)
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes) * (devices if kind == "reduce-scatter" else 1)


def _array_bytes(dtype: str, dims: str) -> int:
    bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
    return math.prod(int(n) for n in re.findall(r"\d+", dims)) * bits // 8


def _lines(text: str):
    """(computation, line, match) of every collective."""
    computation = ""
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computation = header[2]
        elif "-done(" not in line and (match := _COLLECTIVE.search(line)):
            yield computation, line, match


def _call_counts(text: str) -> tuple[dict[str, int], set[str]]:
    """How often each computation runs in a step, and which of them are bodies of fusions."""
    callers: dict[str, list[tuple[str, int]]] = defaultdict(list)
    computation, entry, fused = "", "", set()
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computation = header[2]
            entry = computation if header[1] else entry
            continue
        trips = int(m[1]) if " while(" in line and (m := _TRIPS.search(line)) else 1
        for names in _CALLED.findall(line):
            for name in re.findall(r"[\w.\-]+", names):
                callers[name].append((computation, trips))
                fused |= {name} if " fusion(" in line else set()
    counts: dict[str, int] = {entry: 1}

    def count(name: str) -> int:
        if name not in counts:
            counts[name] = 0  # recursion is not possible in HLO
            counts[name] = sum(times * count(caller) for caller, times in callers[name])
        return counts[name]

    return defaultdict(int, {name: count(name) for name in [*callers, entry]}), fused
