"""Finds the source of a data set by its name: the one place that knows every kind of source.

A data set is named by `mnist`, `mnist:3.0.1`, `name/config:version` (TFDS), `digits`, `shapes(size=96)` and any other
file of `builders/` (prepared offline on first use), `spirals` and any other generator of `toys.py`, `folder:/path`, or
`csv:/path/labels.csv`.
A split is named as in TFDS: `train`, `train[90%:]`, `train[:100]+test`.
"""

import re

from cvdl_jax.data import folder, listed, prepare, tfds_source, toys
from cvdl_jax.data.presence import present
from cvdl_jax.data.sources import Renamed, Source, data_folder
from cvdl_jax.errors import ConfigError, DataError

FOLDER, TABLE = "folder:", "csv:"
OF_USERS = (FOLDER, TABLE)  # two of them may have one name


def open_source(
    name: str,
    split: str,
    data_dir: str = "",
    label: str = "",
    empty_classes: folder.Empty = "refuse",
    skip_bad: bool = False,
    label_set: str = "",
) -> Source:
    """Opens one split of a data set.

    Args:
        name: see the module's docstring.
        split: see the module's docstring.
        data_dir: the data folder; see `data_folder`.
        label: the entry with the class, where it is not called "label".
        empty_classes: of images of your own, see `FolderSource`.
        skip_bad: of images of your own, see `FolderSource`.
        label_set: the entry with the classes of each example, where it may have several.

    Raises:
        DataError: if the data or the split do not exist; the message names the folder looked in, what was expected,
            what was found and what to type next.
        ConfigError: for a label that is none, or a setting without effect.
    """
    if not name.startswith(FOLDER) and empty_classes not in ("refuse", "keep" if name.startswith(TABLE) else ""):
        raise ConfigError(f"config.data.empty_classes={empty_classes!r} is for folder:/path; leave it out")
    if label and label_set:
        raise ConfigError(
            f"config.data.label={label!r} and config.data.label_set={label_set!r} would both be the entry 'label'; "
            "leave one of them out"
        )
    return present(labelled(_open(name, split, data_dir, empty_classes, skip_bad), label), label_set)


def labelled(source: Source, label: str) -> Source:
    """The source with an entry under the name "label"; itself for "".

    Raises:
        ConfigError: if there is no such entry, or it is not the class of a whole example.
    """
    if not label:
        return source
    feature = source.features.get(label)
    if feature is None or feature.kind != "label" or feature.shape != ():
        able = [name for name, f in source.features.items() if f.kind == "label" and f.shape == ()]
        what = "is not an entry of" if feature is None else f"is a {feature.kind} of shape {feature.shape} in"
        raise ConfigError(
            f"config.data.label={label!r} {what} {source.name}; its class labels: {', '.join(able) or 'none'}"
        )
    return source if label == "label" else Renamed(source, label, "label")


def _open(name: str, split: str, data_dir: str, empty_classes: folder.Empty, skip_bad: bool) -> Source:
    if not name:
        raise DataError("config.data.name is empty; for example digits, mnist, spirals or folder:/path/to/images")
    if name.startswith(FOLDER):
        return folder.FolderSource(name.removeprefix(FOLDER), split, empty_classes, skip_bad)
    if name.startswith(TABLE):
        return listed.ListedSource(name.removeprefix(TABLE), split, skip_bad)
    if name.partition("(")[0].strip() in toys.generators():
        return toys.ToySource(name, split)
    if re.split("[(:]", name)[0].strip() in prepare.ours():
        return tfds_source.TfdsSource(prepare.prepare(name, data_folder(data_dir)), name, split)
    others = [*prepare.ours(), *toys.generators()]
    return tfds_source.TfdsSource(tfds_source.find(name, data_folder(data_dir), others), name, split)
