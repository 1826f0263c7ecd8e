"""One name for one thing: entries of TFDS's sets that other sets, and the experiments here, call otherwise.

The families: "image" and "label" for classification; "image", "objects/bbox" and "objects/label" for detection;
"image" and "segmentation_mask" for segmentation. Most sets of TFDS have these names already and pass unchanged.
"""

from collections.abc import Iterable
from dataclasses import replace

from cvdl_jax.data.features import Feature

# {set: {its name, or a prefix that ends in a slash: ours}}
NAMES = {
    "ade20k": {"segmentation": "segmentation_mask"},
    "cityscapes": {"image_left": "image", "segmentation_label": "segmentation_mask"},
    "open_images_v4": {"objects/": "image_labels/", "bobjects/": "objects/"},  # the first are without boxes
    "oxford_iiit_pet": {"head_bbox": "bbox"},
    "scene_parse150": {"annotation": "segmentation_mask"},
    "wider_face": {"faces/": "objects/"},
}


def renamed(data_set: str, names: Iterable[str]) -> dict[str, str]:
    """{the set's name: ours} of every entry.

    Args:
        data_set: name in TFDS, without version or configuration.
        names: of the set's entries, flat.
    """
    table = NAMES.get(data_set, {})
    return {name: _one(table, name) for name in names}


def _one(table: dict[str, str], name: str) -> str:
    if name in table:
        return table[name]
    for prefix, ours in table.items():
        if prefix.endswith("/") and name.startswith(prefix):
            return ours + name.removeprefix(prefix)
    return name


def adapted(features: dict[str, Feature], names: dict[str, str]) -> dict[str, Feature]:
    """The features by our names; what is called a mask is one, of one channel: some sets say three and store one.

    Args:
        features: {the set's name: Feature}.
        names: from `renamed`.
    """
    found = {}
    for name, feature in features.items():
        is_mask = feature.kind == "image" and names[name].endswith("mask")
        mask = replace(feature, kind="mask", shape=(*feature.shape[:-1], 1))
        found[names[name]] = mask if is_mask else feature
    return dict(sorted(found.items()))
