"""The target of domain adaptation: another set with the classes of the run, whose images stay with the run."""

from typing import Any

import numpy as np
from ml_collections import ConfigDict

from cvdl_jax.core.info import Info
from cvdl_jax.engine import recipe
from cvdl_jax.errors import ConfigError


def target_images(config: ConfigDict, info: Info, labelled: bool) -> dict[str, dict[str, Any]]:
    """What a run keeps of the set of `config.target`, a section as `config.data`.

    Args:
        config: of the run.
        info: of its own set, the source.
        labelled: whether the labels of the training split are kept; else nothing can read them.

    Returns:
        {"target": {"image" [n, h, w, c], "label"? [n]} of its training split, "target_test": {"image", "label"}}, as
        they are stored.

    Raises:
        ConfigError: for a set of other classes or sizes than the source.
        DataError: if data are missing or damaged.
    """
    data, splits = recipe.whole_splits(config.target, "config.target", ("train", "test"))
    names, ours = (data.class_names, info.class_names), info.spec["image"].shape[1:]
    theirs = splits["train"]["image"].shape[1:]
    if data.num_classes != info.num_classes or (all(names) and tuple(names[0]) != tuple(names[1])):
        raise ConfigError(
            f"config.target.name={config.target.name!r} has other classes than {config.data.name!r}; name a set with "
            "the same classes in the same order"
        )
    if theirs != ours:
        raise ConfigError(
            f"images of config.target are {list(theirs)}, those of config.data {list(ours)}; set "
            f"config.target.image_size={tuple(ours[:2])} and config.target.channels={ours[2]}"
        )
    kept = ("image", "label") if labelled else ("image",)
    return {
        "target": {key: np.asarray(splits["train"][key]) for key in kept},
        "target_test": {key: np.asarray(splits["test"][key]) for key in ("image", "label")},
    }
