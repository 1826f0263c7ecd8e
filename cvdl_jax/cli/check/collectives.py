"""The communication of a compiled program: every collective, how much it moves, over which axis of the mesh.

JAX's own analyses (`cost_analysis`, `memory_analysis`) say nothing of communication, so it is read from the text of the
program, where every computation stands above those that call it.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

_KINDS = r"all-reduce|all-gather|reduce-scatter|(?:ragged-)?all-to-all|collective-\w+"
_COLLECTIVE = re.compile(rf"= (?P<shape>.*?) (?P<kind>{_KINDS})(?P<start>-start)?\(")
ENTRY = "ENTRY"
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
    axes, devices = axis_groups(mesh), math.prod(mesh.values())
    passes = Counter({ENTRY: 1})  # how often every computation runs in a step
    fused, seen = set(), set()
    moved: Counter = Counter()
    counts: Counter = Counter()
    for computation, lines in reversed(_computations(text)):  # callers before what they call
        for line in lines:
            trips = int(m[1]) if " while(" in line and (m := _TRIPS.search(line)) else 1
            called = [name for names in _CALLED.findall(line) for name in re.findall(r"[\w.\-]+", names)]
            for name in called:
                passes[name] += passes[computation] * trips
            fused.update(called if " fusion(" in line else ())
            match = _COLLECTIVE.search(line)
            if not match or "-done(" in line or not passes[computation]:
                continue
            if computation in fused:  # an asynchronous one is written for its start, its end and whatever overlaps
                channel = (match["kind"], (re.search(r"channel_id=\d+", line) or [line])[0])
                if channel in seen:
                    continue
                seen.add(channel)
            # A TPU fuses an all-reduce with the slice that is kept.
            kind = "reduce-scatter" if "all-reduce-scatter" in computation else match["kind"]
            group = first_group(line, devices)
            if len(group) > 1:
                key = (kind, axes.get(group, f"groups of {len(group)}"), len(group))
                moved[key] += passes[computation] * _bytes(match, len(group))
                counts[key] += passes[computation]
    return [Collective(*key, counts[key], amount) for key, amount in moved.most_common()]


def has_loops(text: str) -> bool:
    """Whether a program has loops, whose bodies XLA's own analysis counts once."""
    return " while(" in text


def _computations(text: str) -> list[tuple[str, list[str]]]:
    """(name, lines) of every computation in the order of the text; the one that a step begins with is named ENTRY."""
    computations: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            computations.append((ENTRY if header[1] else header[2], []))
        elif computations:
            computations[-1][1].append(line)
    return computations


def _bytes(match: re.Match, devices: int) -> int:
    sizes = []
    for dtype, dims in _ARRAY.findall(match["shape"]):
        bits = 8 if dtype == "pred" else int(re.search(r"\d+", dtype)[0])
        sizes.append(math.prod(_numbers(dims)) * bits // 8)
    kind = match["kind"]
    if match["start"] and kind == "collective-permute":  # (operand, result, context ...)
        sizes = sizes[1:2]
    elif match["start"] and kind == "all-gather":  # (operands, results)
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes) * (devices if kind == "reduce-scatter" else 1)


# Which devices a collective joins -------------------------------------------------------------------------------------


def axis_groups(mesh: Mapping[str, int]) -> dict[frozenset[int], str]:
    """{the devices that device 0 is joined with along one axis, or along all of them: the name of the axis}."""
    ids = np.arange(math.prod(mesh.values())).reshape(tuple(mesh.values()))
    along = [tuple(slice(None) if axis == name else 0 for axis in mesh) for name in mesh]
    named = {frozenset(ids[place].tolist()): name for place, name in zip(along, mesh, strict=True) if mesh[name] > 1}
    return named if len(named) == 1 else named | {frozenset(ids.reshape(-1).tolist()): " and ".join(mesh)}


def first_group(line: str, devices: int) -> frozenset[int]:
    """A group of devices that an HLO instruction joins, that of device 0 if listed, in any of XLA's notations.

    `{{0,1},{2,3}}`, `[2,2]<=[4]`, `[2,2]<=[2,2]T(1,0)`, `mesh['a'=2,'b'=2] {'a'}`, or `source_target_pairs`.
    """
    if pairs := re.search(r"source_target_pairs=\{([\d,{} ]*)\}", line):
        return _connected(re.findall(r"\{(\d+),\s*(\d+)\}", pairs[1]))
    if named := re.search(r"replica_groups=mesh\[(.*?)\](?:, ?device_ids=\((.*?)\))? \{(.*?)\}", line):
        return _mesh_group(*named.groups())
    if iota := re.search(r"replica_groups=(\[[\d,]+\]<=\[[\d,]+\](?:T\([\d,]+\))?)", line):
        return frozenset(_iota(iota[1])[0].tolist())
    listed = re.search(r"replica_groups=\{((?:\{[\d, ]+\},? ?)+)\}", line)
    if not listed:
        return frozenset(range(devices))  # `replica_groups={}`: all of them
    groups = [frozenset(_numbers(group)) for group in re.findall(r"\{([\d, ]+)\}", listed[1])]
    return next((group for group in groups if 0 in group), groups[0])


def _iota(text: str) -> np.ndarray:
    """The array that `[4,2]<=[2,4]T(1,0)` stands for; `[2,4]T(1,0)` is the same without its shape."""
    shape, _, source = text.rpartition("<=")
    dims, _, order = source.partition("T")
    ids = np.arange(math.prod(_numbers(dims))).reshape(_numbers(dims))
    ids = ids.transpose(_numbers(order)) if order else ids
    return ids.reshape(_numbers(shape)) if shape else ids


def _mesh_group(axes: str, ids: str | None, joined: str) -> frozenset[int]:
    """The group of `mesh['a'=2,'b'=4], device_ids=(...) {'a','b':(1)2}`: a part of b is its first 2 of (2, 2)."""
    dims = []
    for name, size in re.findall(r"'([^']+)'=(\d+)", axes):  # each axis as what is before, in and behind the group
        part = re.search(rf"'{name}'(?::\((\d+)\)(\d+))?", joined)
        before, own = (int(part[1] or 1), int(part[2] or size)) if part else (1, 1)
        dims += [before, own, int(size) // before // own]
    order = ids or f"[{math.prod(dims)}]"
    flat = _iota(order).reshape(-1) if order.startswith("[") else np.array(_numbers(order))
    return frozenset(flat.reshape(dims)[(0, slice(None), 0) * (len(dims) // 3)].reshape(-1).tolist())


def _connected(pairs: list[tuple[str, str]]) -> frozenset[int]:
    """The most devices that a permutation links, directly or through others; none, where it moves nothing."""
    groups: dict[int, frozenset[int]] = {}
    for source, target in pairs:
        both = frozenset({int(source), int(target)})
        union = both.union(*(groups.get(device, both) for device in both))
        groups |= dict.fromkeys(union, union)
    return max(groups.values(), key=len, default=frozenset())


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]
