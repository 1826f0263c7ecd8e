"""Masks of instances on the host: after this, the value k of `instance_mask` is row k - 1 of the entries of objects.

A set says in `objects/mask_id` which value of the mask an object has; an example holds them together where the boxes
are padded (`config.data.max_boxes`). An object may lose all its pixels when a mask is resized. It stays an object, with
its box, which no mask finds; `instances_lost` counts these, and a run says so when it opens its data.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cvdl_jax.data.boxes import INSTANCES, MASK, NUMBER, group
from cvdl_jax.data.schema import Feature
from cvdl_jax.errors import DataError

LOST = "instances_lost"  # int32 [], how many objects of the example have no pixel in the mask


def number_entry(features: Mapping[str, Feature], max_boxes: int) -> str:
    """The name of the entry with the objects' numbers, where masks and padded boxes belong together; else ""."""
    names = [name for name in group(features) if name.split("/")[-1] == NUMBER]
    return names[0] if names and max_boxes and INSTANCES in features else ""


def describe(features: Mapping[str, Feature], max_boxes: int) -> dict[str, Feature]:
    """The entries that `finish` adds."""
    return {LOST: Feature("tensor", (), "int32")} if number_entry(features, max_boxes) else {}


def check(raw: Mapping[str, Any], features: Mapping[str, Feature], max_boxes: int, who: Callable[[], str]) -> str:
    """Refuses a mask whose values and objects do not fit each other.

    Args:
        raw: the example as it is stored.
        features: its entries.
        max_boxes: of `config.data`.
        who: returns the name of the example, for errors.

    Returns:
        As `number_entry`.

    Raises:
        DataError: for a mask of another size than its image, two objects of one number, an object of the number 0, or a
            value that no object has.
    """
    entry = number_entry(features, max_boxes)
    if not entry:
        return ""
    mask, numbers = np.asarray(raw[INSTANCES]), np.asarray(raw[entry])
    if "image" in raw and np.shape(raw["image"])[:2] != mask.shape[:2]:
        raise DataError(
            f"{who()}: {INSTANCES!r} has {mask.shape[0]}x{mask.shape[1]} pixels, its image {raw['image'].shape[0]}x"
            f"{raw['image'].shape[1]}; a mask needs the size of its image, write the set anew with such masks"
        )
    values = np.flatnonzero(np.bincount(mask.reshape(-1), minlength=256)[1:]) + 1
    strange = np.setdiff1d(values, numbers)
    if strange.size:
        raise DataError(
            f"{who()}: {INSTANCES!r} has the value {strange[0]}, which no object of {entry!r} has; it must be 0 where "
            "there is no object"
        )
    if len(np.unique(numbers)) < len(numbers) or (numbers < 1).any() or (numbers > 255).any():
        raise DataError(f"{who()}: {entry!r} is {numbers.tolist()}, and must be different numbers from 1 to 255")
    return entry


def finish(example: dict[str, Any], entry: str) -> dict[str, Any]:
    """Numbers the objects by their rows and counts those without a pixel.

    Args:
        example: after `boxes.finish`; pixels of objects that it dropped become 0.
        entry: from `check`; "" for an example without such masks, which is returned as it is.
    """
    if not entry:
        return example
    real = np.flatnonzero(example[MASK] > 0)
    table = np.zeros(256, np.uint8)
    table[example[entry][real]] = real + 1
    mask = table[example[INSTANCES]]
    pixels = np.bincount(mask.reshape(-1), minlength=len(real) + 1)[1:]
    numbers = np.zeros_like(example[entry])
    numbers[real] = real + 1
    return {**example, INSTANCES: mask, entry: numbers, LOST: np.asarray((pixels == 0).sum(), np.int32)}


def lost(split: Any) -> str:
    """How many objects of a split have no pixel, as a sentence; "" where none has been lost, or nothing is known."""
    if LOST not in split.delivered:
        return ""
    where = f"{split.source.name}, {split.source.split}"
    if split.arrays is None:
        return f"{where}: objects may lose all their pixels as masks are resized; {LOST!r} counts them"
    n, all_of_them = int(split.arrays[LOST].sum()), int(split.arrays[MASK].sum())
    if not n:
        return ""
    return f"{where}: {n} of {all_of_them} objects have no pixel left in the masks, and count as missed"
