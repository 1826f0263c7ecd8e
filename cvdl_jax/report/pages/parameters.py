"""The parameters of a run's model: a tree of modules with their sizes, and every array."""

from collections.abc import Mapping, Sequence
from typing import Any

from cvdl_jax.core.formatting import natural
from cvdl_jax.report.pages import numbers
from cvdl_jax.report.pages.markup import Column, Markup, code_block, details, el, section, table

OPEN = 40  # a tree with at most so many modules is shown open
OTHERS = {"opt": "optimizer", "extra": "other state", "rows": "state per row"}


def show(facts: Mapping[str, Any], model: Mapping[str, Any] | None) -> Markup | None:
    """The section of the parameters.

    Args:
        facts: as `report_facts.collect` saved them.
        model: parameters and MACs that `meta.json` has; None without.
    """
    leaves = facts.get("parameters")
    if leaves is None and not model:
        return None
    said = []
    if leaves is not None:
        total = sum(leaf["count"] for leaf in leaves)
        said.append(f"{numbers.count(total)} values in {_arrays(len(leaves))}")
    elif model.get("parameters") is not None:
        said.append(f"{numbers.count(model['parameters'])} values")
    if model and model.get("macs") is not None:
        said.append(f"{numbers.count(model['macs'])} multiply-accumulates for one example")
    parts: list[Any] = [el("p", "; ".join(said), ".")]
    if leaves:
        parts += [
            tree(leaves),
            details("The array" if len(leaves) == 1 else f"All {_arrays(len(leaves))}", arrays(leaves)),
        ]
    if facts.get("optimizer"):
        parts.append(details("How each is trained", code_block(facts["optimizer"], "table")))
    others = {name: sizes for name, sizes in (facts.get("others") or {}).items() if sizes["values"]}
    if others:
        sizes = [f"{OTHERS.get(name, name)}: {numbers.count(sizes['values'])} values" for name, sizes in others.items()]
        parts.append(el("p", f"Besides, in checkpoints only: {'; '.join(sizes)}.", class_="note"))
    elif leaves is None:
        parts.append(el("p", "Names and shapes are saved when a run ends.", class_="note"))
    return section("parameters", "Parameters", parts)


def _arrays(n: int) -> str:
    return f"{numbers.count(n)} array{'' if n == 1 else 's'}"


def tree(leaves: Sequence[Mapping[str, Any]]) -> Markup:
    """The modules, each with the number of values in it and below, and its arrays."""
    root: dict[str, Any] = {}
    for leaf in leaves:
        *path, last = leaf["name"].split("/")
        node = root
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf
    total = max(_count(root), 1)
    return el("div", _children(root, total, _modules(root) <= OPEN), class_="tree")


def _is_leaf(node: Mapping[str, Any]) -> bool:
    return isinstance(node.get("count"), int)


def _count(node: Mapping[str, Any]) -> int:
    return node["count"] if _is_leaf(node) else sum(map(_count, node.values()))


def _modules(node: Mapping[str, Any]) -> int:
    return 0 if _is_leaf(node) else 1 + sum(map(_modules, node.values()))


def _children(node: Mapping[str, Any], total: int, open_: bool) -> list[Markup]:
    """A module's parts, in the order of their numbers: block2 comes before block10."""
    shown = []
    for name in sorted(node, key=natural):
        child, count = node[name], _count(node[name])
        if _is_leaf(child):
            shape = "×".join(map(str, child["shape"])) or "scalar"
            what = el("span", name, " ", el("small", f"{shape} {child['dtype']}"), class_="name")
            shown.append(el("div", what, _size(count, total), class_="leaf"))
        else:
            line = el("span", el("span", name, class_="name"), _size(count, total), class_="line")
            shown.append(details(line, _children(child, total, open_), open_=open_))
    return shown


def _size(count: int, total: int) -> Markup:
    share = count / total
    bar = el("span", el("span", style=f"width:{100 * share:.1f}%"), class_="bar", aria_hidden="true")
    return el("span", bar, el("span", numbers.count(count), class_="count"),
              el("span", numbers.percent(share, 1), class_="share"), class_="size")  # fmt: skip


def arrays(leaves: Sequence[Mapping[str, Any]]) -> Markup:
    """Every array with its shape, dtype and number of values, as a table."""
    columns = [Column("name"), Column("shape"), Column("dtype"), Column("values", True)]
    rows = [
        (leaf["name"], "×".join(map(str, leaf["shape"])) or "scalar", leaf["dtype"], leaf["count"]) for leaf in leaves
    ]
    return table(columns, rows, "Arrays of parameters", class_="mono")
