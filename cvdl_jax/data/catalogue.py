"""Finds the source of a data set by its name: the one place that knows every kind of source.

A data set is named by `mnist`, `mnist:3.0.1`, `name/config:version` (TFDS), `digits`, `shapes(size=96)` and any other
file of `builders/` (prepared offline on first use), `spirals` and any other generator of `toys.py`, or `folder:/path`.
A split is named as in TFDS: `train`, `train[90%:]`, `train[:100]+test`.
"""

import re

from cvdl_jax.data import folder, prepare, tfds_source, toys
from cvdl_jax.data.sources import Source, data_folder
from cvdl_jax.errors import DataError

FOLDER_PREFIX = "folder:"


def open_source(name: str, split: str, data_dir: str = "") -> Source:
    """Opens one split of a data set.

    Args:
        name: see the module's docstring.
        split: see the module's docstring.
        data_dir: the data folder; see `data_folder`.

    Raises:
        DataError: if the data or the split do not exist; the message names the folder looked in, what was expected,
            what was found and what to type next.
    """
    if not name:
        raise DataError("config.data.name is empty; for example digits, mnist, spirals or folder:/path/to/images")
    if name.startswith(FOLDER_PREFIX):
        return folder.FolderSource(name[len(FOLDER_PREFIX) :], split)
    if name.partition("(")[0].strip() in toys.generators():
        return toys.ToySource(name, split)
    if re.split("[(:]", name)[0].strip() in prepare.ours():
        return tfds_source.TfdsSource(prepare.prepare(name, data_folder(data_dir)), name, split)
    others = [*prepare.ours(), *toys.generators()]
    return tfds_source.TfdsSource(tfds_source.find(name, data_folder(data_dir), others), name, split)
