"""Training batches of some classes with equally many examples of each: for pairs, triplets and few-shot episodes.

    config.data.episodes = dict(classes=16, images=4)          # a batch of 64: four examples each of 16 classes

What a batch holds is drawn from (seed, step), see `order.Episodes`: a run that goes on sees the batches that it would
have seen, but an epoch is only a number of examples, of which some come twice and some not at all.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from cvdl_jax.config import configs
from cvdl_jax.config.binding import Size
from cvdl_jax.data import views
from cvdl_jax.data.order import Episodes
from cvdl_jax.data.split import Split
from cvdl_jax.errors import ConfigError

PATH = "config.data.episodes"
_CHUNK = 1024  # examples whose class is read at a time


class EpisodeSettings(NamedTuple):
    """The arguments of `config.data.episodes`.

    Attributes:
        classes: of a batch.
        images: of each class in a batch.
        entry: the whole number that says the class of an example: a label, or who is in the image.
    """

    classes: Size
    images: Size
    entry: str = "label"


def grouped(splits: Mapping[str, Split], section: Mapping[str, Any]) -> dict[str, Split]:
    """The splits, with a training split whose batches are episodes.

    Args:
        splits: of the data set.
        section: `config.data.episodes`.

    Raises:
        ConfigError: without a training split or the entry, for texts in groups, repeated examples, or more classes or
            images than there are.
    """
    settings = configs.call(EpisodeSettings, section, PATH)
    train = splits.get("train")
    if train is None or train.groups is not None:
        why = "there is no training split; set config.data.train" if train is None else (
            "batches are of texts of a similar length already; leave out config.data.text.buckets"
        )  # fmt: skip
        raise ConfigError(f"{PATH}: {why}")
    places = getattr(train.source, "indices", ())
    if len(np.unique(places)) < len(places):
        raise ConfigError(
            f"{PATH}: config.data.resample='oversample' repeats examples, and those of an episode have to differ; leave"
            " it out, a batch has as many examples of each class anyway"
        )
    try:
        return {
            **splits,
            "train": replace(train, groups=Episodes(classes_of_split(train, settings.entry), *settings[:2])),
        }
    except ConfigError as error:
        raise ConfigError(f"{PATH}: {error}") from None


def classes_of_split(split: Split, entry: str) -> np.ndarray:
    """The classes of all examples of a split, int [n]."""
    feature = split.source.features.get(entry)
    if feature is None or feature.shape != () or not np.issubdtype(np.dtype(feature.dtype), np.integer):
        able = [name for name, f in split.source.features.items() if f.shape == () and f.dtype.startswith("int")]
        raise ConfigError(f"{entry!r} is no whole number of an example; use entry={' or '.join(map(repr, able))}")
    known = split.source.labels() if entry == "label" else None
    if known is not None:
        return known
    starts = range(0, split.size, _CHUNK)
    parts = [split.source.read_entries(range(s, min(s + _CHUNK, split.size)), [entry]) for s in starts]
    return np.asarray([int(row[entry]) for part in parts for row in part])


def settings_of(config: Any, spec: Mapping[str, Any]) -> EpisodeSettings:
    """The settings that an experiment whose loss couples the rows of an episode needs.

    Args:
        config: of the run.
        spec: {name: shape and dtype} of a batch.

    Raises:
        ConfigError: where they are missing, a batch is not one episode or is cut by accumulation, the images or classes
            are not delivered, or an augmentation makes rows of others.
    """
    section = config.data.get("episodes")
    if not section:
        raise ConfigError(
            f"{PATH} is missing; {config.experiment!r} needs several examples of a class in a batch: set "
            "config.data.episodes.classes and config.data.episodes.images"
        )
    settings = configs.call(EpisodeSettings, section, PATH)
    if "image" not in spec or settings.entry not in spec:
        raise ConfigError(
            f"config.data.name={config.data.get('name')!r}: {config.experiment!r} needs 'image' and "
            f"{settings.entry!r}, and is given {', '.join(spec) or 'nothing'}; set config.data.features to both"
        )
    size = settings.classes * settings.images
    if config.batch_size != size:
        raise ConfigError(
            f"config.batch_size={config.batch_size} must be {settings.classes} classes x {settings.images} images of "
            f"{PATH}; set config.batch_size={size}"
        )
    if "accumulate" in config.grad:
        raise ConfigError(f"config.grad={config.grad!r} would take an episode apart; leave accumulate out")
    why = "makes rows of others, and those of an episode have their classes and places"
    views.refuse(config.augment, "config.augment", why)
    return settings


def classes_of(batch: Mapping[str, Any], entry: str) -> Any:
    """The classes of a batch, int [b].

    Args:
        batch: after its augmentation.
        entry: see `EpisodeSettings`.

    Raises:
        ConfigError: for examples that were mixed, which have no class.
    """
    if batch[entry].ndim != 1:
        raise ConfigError("config.augment mixes images of different classes, which then have none; leave it out there")
    return batch[entry]
