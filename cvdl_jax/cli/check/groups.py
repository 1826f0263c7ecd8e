"""Which devices a collective joins, read from XLA's notations, and which axis of the mesh that is."""

import math
import re
from collections.abc import Iterable, Mapping

import numpy as np

Groups = frozenset[frozenset[int]]


def axis_groups(mesh: Mapping[str, int]) -> dict[Groups, str]:
    """{the groups of devices that differ in nothing but one axis, or in all of them: its name}."""
    ids = np.arange(math.prod(mesh.values())).reshape(tuple(mesh.values()))
    named = {}
    if all(size > 1 for size in mesh.values()):
        named[_frozen(ids.reshape(1, -1))] = " and ".join(mesh)
    for place, (name, size) in enumerate(mesh.items()):
        if size > 1:
            named.setdefault(_frozen(np.moveaxis(ids, place, -1).reshape(-1, size)), name)
    return named


def _frozen(rows: Iterable[Iterable[int | str]]) -> Groups:
    return frozenset(frozenset(int(i) for i in row) for row in rows)


def replica_groups(line: str, devices: int) -> Groups:
    """The groups of devices that an HLO instruction joins, in any of XLA's notations.

    `{{0,1},{2,3}}`, `[2,2]<=[4]`, `[2,2]<=[2,2]T(1,0)`, `mesh['a'=2,'b'=2] {'a'}`, or `source_target_pairs`.
    """
    pairs = re.search(r"source_target_pairs=\{([\d,{} ]*)\}", line)
    if pairs:  # permutes along rings: the group is whoever is connected
        return _connected(re.findall(r"\{(\d+),\s*(\d+)\}", pairs[1]), devices)
    named = re.search(r"replica_groups=mesh\[(.*?)\](?:, ?device_ids=\((.*?)\))? \{(.*?)\}", line)
    if named:
        return _mesh_groups(*named.groups())
    iota = re.search(r"replica_groups=(\[[\d,]+\](?:<=\[[\d,]+\])?(?:T\([\d,]+\))?)", line)
    if iota:
        return _frozen(_iota(iota[1]))
    listed = re.search(r"replica_groups=\{(\{[\d,{} ]*\})\}", line)
    if listed:
        return _frozen(part.split(",") for part in re.findall(r"\{([\d, ]+)\}", listed[1]))
    return _frozen([range(devices)])  # `replica_groups={}`: all of them


def _iota(text: str) -> np.ndarray:
    """The array that `[4,2]<=[2,4]T(1,0)` stands for."""
    shape, _, source = text.partition("<=")
    dims = _numbers(source.partition("T")[0] or shape.partition("T")[0])
    ids = np.arange(math.prod(dims)).reshape(dims)
    if "T(" in text:
        ids = ids.transpose(_numbers(text.partition("T")[2]))
    return ids.reshape(_numbers(shape)) if source else ids


def _mesh_groups(axes: str, ids: str | None, used: str) -> Groups:
    """Groups of `mesh['a'=2,'b'=4], device_ids=(...) {'a','b':(1)2}`: a part of axis b is its first 2 of (2, 2)."""
    sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", axes)}
    parts = re.findall(r"'([^']+)'(?::\((\d+)\)(\d+))?", used)
    grouped = {name: (int(pre or 1), int(size or 0)) for name, pre, size in parts}
    dims, kept = [], []
    for name, size in sizes.items():
        pre, own = grouped.get(name, (1, 1))
        own = own or size
        kept += [len(dims) + 1] if name in grouped else []
        dims += [pre, own, size // pre // own]
    flat = np.arange(math.prod(sizes.values()))
    if ids:
        flat = _iota(ids).reshape(-1) if ids.startswith("[") else np.array(_numbers(ids))
    array = np.moveaxis(flat.reshape(dims), kept, range(len(dims) - len(kept), len(dims)))
    return _frozen(array.reshape(-1, math.prod(dims[i] for i in kept)))


def _connected(pairs: list[tuple[str, str]], devices: int) -> Groups:
    groups = {i: {i} for i in range(devices)}
    for a, b in pairs:
        union = groups[int(a)] | groups[int(b)]
        groups |= dict.fromkeys(union, union)
    return _frozen(groups.values())


def _numbers(text: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", text)]
