"""An order of the training split in which every batch has the classes' shares of the whole: `config.data.spread`."""

from dataclasses import replace

from cvdl_jax.data.episodes import classes_of_split
from cvdl_jax.data.order import Groups
from cvdl_jax.data.split import Split
from cvdl_jax.errors import ConfigError


def evenly(splits: dict[str, Split], entry: str) -> dict[str, Split]:
    """The splits, the training split in an order that spreads the classes of an entry evenly; themselves for ""."""
    if not entry:
        return splits
    if "train" not in splits:
        raise ConfigError(f"config.data.spread={entry!r} needs a training split; set config.data.train")
    split = splits["train"]
    feature = split.source.features.get(entry)
    if feature is None or feature.kind != "label" or feature.shape != ():
        able = [name for name, f in split.source.features.items() if f.kind == "label" and f.shape == ()]
        raise ConfigError(
            f"config.data.spread={entry!r} is no entry of {split.source.name} with a class of each example; it has "
            f"{', '.join(able) or 'none'}"
        )
    if split.groups is not None:
        raise ConfigError(
            f"config.data.spread={entry!r} and config.data.text.buckets or episodes both order the examples; set one"
        )
    return {**splits, "train": replace(split, groups=Groups(classes_of_split(split, entry), spread=True))}
