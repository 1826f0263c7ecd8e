"""Bounding boxes of an example on the host: checked, and padded to a fixed number so that examples can be stacked.

Boxes and the entries beside them, such as `objects/bbox` and `objects/label`, share the name before the slash, and
their first axis varies. Boxes are [ymin, xmin, ymax, xmax] in 0..1, so that resizing an image does not change them.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import ConfigError, DataError
from cvdl_jax.ops.anchors import wanted

# What says of a box that it stands for no single object to be found: a crowd (COCO), or one too hard (PASCAL VOC).
FLAGS = ("is_crowd", "is_difficult")
INSTANCES = "instance_mask"  # an object's number for every pixel
NUMBER = "mask_id"  # of an object in it
PROPOSALS = "proposals/bbox"  # float32 [n, 4], regions that may hold an object; zero for padding
MASK = "boxes_mask"  # float32 [max_boxes], 1 where a box is real
ROUNDING = 1e-5  # tolerance for boxes that leave the image
DROPPED = "boxes_dropped"  # int32 [], how many boxes of the example had no area
_CHUNK = 256  # examples looked at at a time


def targets(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a detector is to find: the "boxes" [b, n, 4] of a batch, their "labels" [b, n] and "mask" [b, n].

    A box with one of FLAGS is left out of the mask: what lies on it is background for the losses, as in Detectron and
    torchvision, and neither right nor wrong for the scores.
    """
    flags = [batch[f"objects/{flag}"] for flag in FLAGS if f"objects/{flag}" in batch]
    mask = wanted(batch[MASK], flags)
    return {"boxes": batch["objects/bbox"], "labels": batch["objects/label"], "mask": mask}


def truth_of(batch: Mapping[str, Any]) -> dict[str, Any]:
    """The true boxes of a batch, in the form of detections; "crowd" and "difficult" where the set has them."""
    flags = {flag.removeprefix("is_"): batch[f"objects/{flag}"] for flag in FLAGS if f"objects/{flag}" in batch}
    return {"boxes": batch["objects/bbox"], "classes": batch["objects/label"], "mask": batch[MASK], **flags}


def group(features: Mapping[str, Feature]) -> list[str]:
    """The names of the entries with boxes of varying number, and of the entries beside them; [] without such boxes.

    Raises:
        ConfigError: if there are two such groups.
    """
    varying = {n: f for n, f in features.items() if f.kind not in ("image", "mask") and f.shape[:1] == (None,)}
    prefixes = sorted({name.rpartition("/")[0] for name, feature in varying.items() if feature.kind == "box"})
    if len(prefixes) > 1:
        raise ConfigError(f"boxes under {prefixes} vary in number; choose one of them with config.data.features")
    return [name for name in varying if prefixes and name.rpartition("/")[0] == prefixes[0]]


def with_flags(chosen: Sequence[str], features: Mapping[str, Feature]) -> list[str]:
    """The chosen entries, and beside chosen boxes the set's flags: training and scores are wrong without them.

    Beside boxes and `instance_mask`, the entry that says which value of the mask is whose comes, too.
    """
    prefixes = [name.rpartition("/")[0] for name in chosen if features[name].kind == "box" and "/" in name]
    with_masks = (NUMBER,) if INSTANCES in chosen else ()
    flags = [f"{prefix}/{flag}" for prefix in prefixes for flag in (*FLAGS, *with_masks)]
    return [*chosen, *(name for name in flags if name in features and name not in chosen)]


def check(features: Mapping[str, Feature], max_boxes: int, drop_degenerate: bool) -> None:
    """Refuses settings that do not apply to these entries. Raises ConfigError."""
    if max_boxes < 0:
        raise ConfigError(f"config.data.max_boxes={max_boxes} must be 0 (not padded) or more")
    if (max_boxes or drop_degenerate) and not group(features):
        setting = f"max_boxes={max_boxes}" if max_boxes else "drop_degenerate=True"
        raise ConfigError(f"config.data.{setting}: the entries {sorted(features)} hold no boxes of varying number")


def describe(features: Mapping[str, Feature], max_boxes: int, drop_degenerate: bool) -> dict[str, Feature]:
    """The features as `finish` leaves them."""
    out = dict(features)
    if max_boxes:
        for name in group(features):
            out[name] = replace(features[name], shape=(max_boxes, *features[name].shape[1:]))
        out[MASK] = Feature("tensor", (max_boxes,), "float32")
    if drop_degenerate:
        out[DROPPED] = Feature("tensor", (), "int32")
    return out


def finish(
    example: dict[str, Any],
    features: Mapping[str, Feature],
    max_boxes: int,
    drop_degenerate: bool,
    who: Callable[[], str],
    most: Callable[[], int] | None = None,
) -> dict[str, Any]:
    """Checks the boxes of an example, drops those without area if asked to, and pads them.

    Args:
        example: {name: array}.
        features: its entries.
        max_boxes: rows of the padded entries; 0 for no padding.
        drop_degenerate: drop boxes without area instead of refusing them.
        who: returns the name of the example, for errors.
        most: returns the largest number of boxes of an example of the set, for errors.

    Returns:
        The example. Padded rows are zero. `boxes_mask` is added with padding, `boxes_dropped` with dropping.

    Raises:
        DataError: for a box out of 0..1 or without area, or more boxes than `max_boxes`.
    """
    names = group(features)
    keep = np.ones(len(example[names[0]]) if names else 0, bool)
    for name, feature in features.items():
        if feature.kind != "box":
            continue
        _check_range(name, example[name], who)
        has_area = np.all(example[name][..., 2:] > example[name][..., :2], axis=-1)
        if drop_degenerate and name in names:
            keep &= has_area
        elif not np.all(has_area):
            box = example[name].reshape(-1, 4)[np.flatnonzero(~np.atleast_1d(has_area))[0]].tolist()
            raise DataError(
                f"{who()}: the box {box} of {name!r} has no area ([ymin, xmin, ymax, xmax]); mend it, or set "
                "config.data.drop_degenerate=True"
            )
    if not names:
        return example
    out = {**example, **{name: example[name][keep] for name in names}}
    if drop_degenerate:
        out[DROPPED] = np.asarray((~keep).sum(), np.int32)
    n = int(keep.sum())
    if not max_boxes:
        return out
    if n > max_boxes:
        raise DataError(
            f"{who()} has {n} boxes, config.data.max_boxes={max_boxes} is too small"
            f"{'' if most is None else f'; no example has more than {most()}'}; set "
            f"--config.data.max_boxes={n if most is None else max(n, most())}"
        )
    for name in names:
        padding = np.zeros((max_boxes - n, *out[name].shape[1:]), out[name].dtype)
        out[name] = np.concatenate([out[name], padding])  # [max_boxes, ...]
    out[MASK] = (np.arange(max_boxes) < n).astype(np.float32)
    return out


def _check_range(name: str, boxes: np.ndarray, who: Callable[[], str]) -> None:
    """Raises DataError for the first box that is not in 0..1, up to rounding."""
    inside = np.all((boxes >= -ROUNDING) & (boxes <= 1 + ROUNDING), axis=-1)
    if not np.all(inside):
        box = boxes.reshape(-1, 4)[np.flatnonzero(~np.atleast_1d(inside))[0]].tolist()
        raise DataError(
            f"{who()}: the box {box} of {name!r} reaches out of the image, [ymin, xmin, ymax, xmax] in 0..1; divide "
            "pixels by the height and width of the image, or cut the box off, and prepare the data set again"
        )


def most_of(sources: Mapping[str, Any]) -> Callable[[], int]:
    """A function that says how many boxes an example has at most; all examples are looked at once, without images.

    Args:
        sources: {split: Source} with boxes.
    """
    lock = threading.Lock()

    @lru_cache(maxsize=1)
    def count() -> int:
        sizes = [0]
        for source in sources.values():
            name = group(source.features)[0]
            for start in range(0, len(source), _CHUNK):
                rows = source.read_entries(range(start, min(start + _CHUNK, len(source))), [name])
                sizes += [len(row[name]) for row in rows]
        return max(sizes)

    def most() -> int:
        with lock:  # several threads may find an example with too many at once
            return count()

    return most
