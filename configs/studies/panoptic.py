"""Panoptic segmentation of drawn shapes: objects of one run, the background of another, measured together.

    python launch.py --config configs/segment/unet.py:data=shapes --workdir runs/shapes_unet
    python launch.py --config configs/segment/nuclei.py:data=shapes --workdir runs/shapes_watershed
    python launch.py --config configs/studies/panoptic.py --workdir runs/studies_panoptic
    python launch.py --config configs/studies/panoptic.py:of=instances --workdir runs/studies_panoptic_instances
    python launch.py --config configs/studies/panoptic.py:of=semantic --workdir runs/studies_panoptic_semantic
    python launch.py --config configs/studies/panoptic.py:of=labels --workdir runs/studies_panoptic_labels

The first two commands make the runs. With `of=instances` the labels of the set stand in the place of the semantic run,
with `of=semantic` in that of the objects, with `of=labels` of both, which has to give 1. Objects always win over stuff,
and free pixels that the semantic run takes for things are void. Kirillov et al. 2019, "Panoptic Segmentation", section
6, merges two such networks.

Measured on the test split with seed 0; panoptic quality of all classes, the six things and the background:

    of         pq                things_pq  stuff_pq
    both       not measured yet
    instances  not measured yet
    semantic   not measured yet
    labels     not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs
from cvdl_jax.core import studies

RUNS = {"semantic": "runs/shapes_unet", "instances": "runs/shapes_watershed"}
OF = {"both": tuple(RUNS), "instances": ("instances",), "semantic": ("semantic",), "labels": ()}
ENTRIES = ("image", "instance_mask", "segmentation_mask", "objects/bbox", "objects/label")


def get_config(arg=None):
    """The study's numbers; `of` both, instances, semantic or labels; `smoke` measures the labels of a few scenes."""
    arg = configs.parse_arg(arg, of=configs.OneOf(OF), smoke=False)
    made = configs.base()
    datasets.shapes(made, ENTRIES, arg.smoke)
    data = {**made.data.to_dict(), "classes": datasets.SHAPES_LABELS}
    return studies.base("panoptic", data=data, **{} if arg.smoke else {name: RUNS[name] for name in OF[arg.of]})
