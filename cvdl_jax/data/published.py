"""Data sets that are not here, by the sizes that their authors state: enough to build a program, nothing to read.

`--mode check --topology` asks whether a run would fit a pod that one need not have; the data may be as far away.
"""

import itertools
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

from cvdl_jax.config.binding import bind
from cvdl_jax.data import load as data_load
from cvdl_jax.data.described import Absent
from cvdl_jax.data.host import HostStage
from cvdl_jax.data.load import Data
from cvdl_jax.data.schema import Feature
from cvdl_jax.data.sources import check_disjoint, data_folder, parse_split
from cvdl_jax.data.split import Split


class Published(NamedTuple):
    """What is known of a set of images with one class each, or with boxes of such classes.

    Attributes:
        sizes: {whole split: number of examples}.
        num_classes: of the label, or of those of boxes.
        flags: what a set says of boxes besides (`data/boxes.py:FLAGS`); None for a set without boxes.
    """

    sizes: Mapping[str, int]
    num_classes: int
    flags: tuple[str, ...] | None = None

    def features(self) -> dict[str, Feature]:
        """The entries of an example."""
        image = {"image": Feature("image", (None, None, 3), "uint8")}
        if self.flags is None:
            return {**image, "label": Feature("label", (), "int32", self.num_classes)}
        boxes = {"bbox": Feature("box", (None, 4), "float32")}
        boxes["label"] = Feature("label", (None,), "int32", self.num_classes)
        boxes |= {flag: Feature("tensor", (None,), "bool") for flag in self.flags}
        return {**image, **{f"objects/{name}": feature for name, feature in boxes.items()}}


SETS = {
    # Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge", table 2; no labels of the test split
    "imagenet2012": Published({"train": 1_281_167, "validation": 50_000}, 1000),
    # cocodataset.org, the splits of 2017; no boxes of the test split
    "coco/2017": Published({"train": 118_287, "validation": 5_000}, 80, ("is_crowd",)),
    # Everingham et al. 2010, "The PASCAL Visual Object Classes Challenge", table 2
    "voc/2007": Published({"train": 2_501, "validation": 2_510, "test": 4_952}, 20, ("is_difficult",)),
}
CUTS = ("split", "resample", "skip_bad", "label_set")  # settings that need to look at the examples


def stated(section: Mapping[str, Any]) -> Data | None:
    """The data set of a config's data section without its examples.

    Args:
        section: as for `load.load`.

    Returns:
        The data set, whose examples cannot be read; None where it is not in SETS, or is in the data folder, or where
        its sizes depend on examples.

    Raises:
        ConfigError: for a key or a value that `load.load` would refuse.
        DataError: for a split that the set does not have, or two that share examples.
    """
    given = bind(data_load.load, dict(section), "config.data")
    base, _, version = given["name"].partition(":")
    here = (data_folder(given.get("data_dir", "")) / base).is_dir()
    if base not in SETS or here or any(given.get(key) for key in CUTS):
        return None
    known = SETS[base]
    features = known.features()
    stage = HostStage(**{field.name: given[field.name] for field in fields(HostStage) if field.name in given})
    stage.check(features)
    reason = f"the examples of {base} are not here; only its sizes are known"
    asked = {"train": "train", **{key: given[key] for key in ("train", "validation", "test") if key in given}}
    intervals = {key: parse_split(part, known.sizes, base) for key, part in asked.items() if part}
    for one, other in itertools.combinations(intervals, 2):
        check_disjoint(intervals[one], intervals[other], base, asked[one], asked[other])
    splits = {}
    for key, parts in intervals.items():
        size = sum(stop - start for _, start, stop in parts)
        source = Absent(base, version, asked[key], size, features, "", reason)
        splits[key] = Split(key, source, stage if key == "train" else stage.for_evaluation(), features)
    return Data(splits, known.num_classes, (), base, version, "", "", given.get("order_seed"))
