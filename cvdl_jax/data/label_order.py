"""Parts of sets that stand in the order of their classes, as a folder of class folders does.

`train[80%:]` of such a set is the last classes alone. It is refused, with the line that cuts the set at random.
"""

from collections.abc import Mapping

import numpy as np

from cvdl_jax.data.sources import Source
from cvdl_jax.errors import ConfigError


def check(sources: Mapping[str, Source]) -> None:
    """Refuses parts of whole splits that are in the order of their classes, unless they hold all classes alike.

    One range must hold each class in its proportion, at most one example off; of several ranges, which somebody chose
    with care, none may lack a class.

    Args:
        sources: {"train", "validation", "test": Source}, not cut yet.

    Raises:
        ConfigError: naming the part, a class, and what to type.
    """
    for key, source in sources.items():
        for split in {interval.split: None for interval in source.intervals}:
            ranges = [interval for interval in source.intervals if interval.split == split]
            labels = source.whole_labels(split) if "[" in source.split else None
            if labels is None or (np.diff(labels) < 0).any():
                continue
            chosen = np.concatenate([labels[start:stop] for _, start, stop in ranges])
            classes, counts = np.unique(labels, return_counts=True)
            share = counts * len(chosen) / len(labels)
            have = np.array([(chosen == c).sum() for c in classes])
            wrong = (have == 0) & (share >= 1) | (np.abs(have - share) > 1 if len(ranges) == 1 else False)
            if wrong.any():
                first = int(np.argmax(np.where(wrong, share - have, -np.inf)))
                name = (source.features["label"].class_names or classes.astype(str))[int(classes[first])]
                raise ConfigError(
                    f"config.data.{key}={source.split!r}: {source.name} stands in the order of its classes, so that "
                    f"this part has {have[first]} examples of {name!r}, where its share would be {share[first]:.3g}; "
                    f"cut the set at random instead: {_line(sources, split)}"
                )


def _line(sources: Mapping[str, Source], split: str) -> str:
    """The overrides that cut a split at random into parts of the sizes asked for."""
    parts = {key: len(s) for key, s in sources.items() if any(i.split == split for i in s.intervals)}
    total = sum(parts.values())
    fractions = [round(n / total, 2) for n in list(parts.values())[1:]] or [0.2]
    fractions = [round(1 - sum(fractions), 2), *fractions]
    emptied = [key for key in ("validation", "test") if key in parts or key == "validation"]
    return " ".join(
        [f"--config.data.train={split}", *(f"--config.data.{key}=" for key in emptied),
         f"--config.data.split.fractions={','.join(f'{f:g}' for f in fractions)}",
         "--config.data.split.stratified=True"]
    )  # fmt: skip
