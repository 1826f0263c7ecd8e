"""A data set in two halves by its classes, of which one is the source of a transfer and the other its target."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError

SPLITS = ("train", "validation", "test")


def load(
    section: Mapping[str, Any], source: Sequence[str], target: Sequence[str], path: str = "config.study"
) -> tuple[dict[str, dict[str, jax.Array]], int]:
    """The training images of some classes, and all images of others.

    Args:
        section: as `config.data`, with train, validation and test.
        source: names of classes.
        target: names of others, two or more.
        path: of the section that holds `data`, `source` and `target`, for messages.

    Returns:
        ({"source", "train", "validation", "test": {"image" [n, h, w, c] as stored, "label" int32 [n]}}, the number of
        target classes); labels count the classes of the source, and those of the target, from 0.

    Raises:
        ConfigError: for a class in both or twice, fewer than two, one without training images, and as of
            `recipe.whole_splits`.
    """
    if len({*source, *target}) < len(source) + len(target) or min(len(source), len(target)) < 2:
        raise ConfigError(
            f"{path}.source={tuple(source)} and target={tuple(target)} must be two classes or more each, none in both "
            "and none twice"
        )
    where, given = f"{path}.data", dict(section)
    opened, splits = recipe.whole_splits({**given, "only": tuple(target)}, where, SPLITS)
    splits["source"] = recipe.whole_splits({**given, "only": tuple(source)}, where, SPLITS[:1])[1]["train"]
    data = {}
    for name, batch in splits.items():
        part = "source" if name == "source" else "target"
        chosen = source if name == "source" else target
        known = np.sort([opened.class_names.index(one) for one in chosen])
        missing = np.setdiff1d(known, batch["label"]) if name in ("source", "train") else ()
        if len(missing):
            raise ConfigError(
                f"{path}.{part}={tuple(chosen)}: there is no training image of {opened.class_names[missing[0]]!r}"
            )
        label = np.searchsorted(known, batch["label"]).astype(np.int32)
        data[name] = {"image": jnp.asarray(batch["image"]), "label": jnp.asarray(label)}
    return data, len(target)
