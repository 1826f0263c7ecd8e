"""The data folder: which sets are prepared in it, whether their files are all there, and which ones configs ask for."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cvdl_jax.cli.doctor.items import NOTE, OK, PROBLEM, Item
from cvdl_jax.core.formatting import binary, count

INFO = "dataset_info.json"


def folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The data folder of a run that names none: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(environment.get("TFDS_DATA_DIR", "") or "~/tensorflow_datasets").expanduser()


def data_sets(environment: Mapping[str, str] = os.environ) -> Iterator[Item]:
    """Whether the data folder exists, and whether every set in it is complete."""
    root, given = folder(environment), environment.get("TFDS_DATA_DIR", "")
    if not root.is_dir():
        if given:
            fix = f"mkdir -p {root}, or export TFDS_DATA_DIR=/the/folder/that/holds/them, or unset TFDS_DATA_DIR"
            yield Item(PROBLEM, f"TFDS_DATA_DIR={given} does not exist", fix)
        else:
            yield Item(OK, f"{root} does not exist; sets of ours need none, they are made in the cache")
        return
    infos = sorted(p for pattern in (f"*/*/{INFO}", f"*/*/*/{INFO}") for p in root.glob(pattern))
    yield Item(OK, f"{root}: {len(infos)} set{'s' if len(infos) != 1 else ''} prepared")
    for info in infos:
        yield _data_set(info, root)


def _data_set(info: Path, root: Path) -> Item:
    name = str(info.parent.relative_to(root))
    try:
        facts = json.loads(info.read_text())
        splits = {s["name"]: [int(n) for n in s.get("shardLengths", ())] for s in facts["splits"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Item(PROBLEM, f"{name}: {INFO} cannot be read ({type(error).__name__}: {error})", _again(name, root))
    files = [p for p in info.parent.iterdir() if p.is_file()]
    missing = [file for s in facts["splits"] for file in _shards(facts, s) if not (info.parent / file).is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        return Item(PROBLEM, f"{name}: {missing[0]}{more} missing", _again(name, root))
    sizes = ", ".join(f"{split} {count(sum(lengths))}" for split, lengths in splits.items())
    container = facts.get("fileFormat", "tfrecord")
    return Item(OK, f"{name}: {sizes} examples, {container}, {binary(sum(p.stat().st_size for p in files))}")


def _shards(facts: Mapping[str, Any], split: Mapping[str, Any]) -> list[str]:
    """File names of a split, as TFDS makes them from its template."""
    n = len(split.get("shardLengths", ()))
    template = split.get("filepathTemplate", "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}")
    words = {"DATASET": facts["name"], "SPLIT": split["name"], "FILEFORMAT": facts.get("fileFormat", "tfrecord")}
    for word, value in words.items():
        template = template.replace(f"{{{word}}}", value)
    return [
        template.replace("{SHARD_X_OF_Y}", f"{i:05d}-of-{n:05d}").replace("{SHARD_INDEX}", f"{i:05d}").replace(
            "{NUM_SHARDS}", f"{n:05d}"
        )
        for i in range(n)
    ]  # fmt: skip


def _again(name: str, root: Path) -> str:
    parts = name.split("/")
    base = "/".join(parts[:-1])
    build = f"tfds build {base} --data_dir {root} --file_format array_record"
    return f"copy {root / name} again, or: rm -r {root / name} && {build}"


def wanted(root: Path, environment: Mapping[str, str] = os.environ) -> Iterator[Item]:
    """Sets that configs name and that are neither prepared nor made by us.

    Args:
        root: of the repository.
        environment: of this process.
    """
    from cvdl_jax.data import prepare, text, toys

    own, place = {*prepare.ours(), *toys.generators(), *text.GENERATED}, folder(environment)
    asked: dict[str, set[str]] = {}
    for path in sorted((root / "configs").rglob("*.py")):
        for name in re.findall(r"\b(?:data|text) ?= ?\{\"name\": \"([a-z]\w*)", path.read_text()):
            asked.setdefault(name, set()).add(path.stem)
    missing = sorted(name for name in asked if name not in own and not any(place.glob(f"{name}/**/{INFO}")))
    for name in missing:
        fix = (
            f"on a machine with network and TensorFlow: tfds build {name} --data_dir {place} --file_format array_record"
        )
        yield Item(NOTE, f"configs of {name!r} need it, and it is not in {place}", fix)
