"""YOLO v1 on drawn scenes or on photographs of blood cells at half size: boxes and classes of a grid of cells.

    python launch.py --config configs/detect/yolo_v1.py --workdir runs/shapes_yolo_v1
    python launch.py --config configs/detect/yolo_v1.py:data=bccd --workdir runs/bccd_yolo_v1

Redmon et al. 2016, "You Only Look Once", with few convolutions and batch normalisation; `--config.model.name=yolo_v1`
is the network of the paper, for 448 pixels. A cell finds one object: `lost_objects` counts those that share one.

Measured on the test split with seed 0:

    data    COCO AP           AP50              wall time
    shapes  not measured yet
    bccd    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

# Cells of 8 pixels for scenes of 64 pixels, of 16 for photographs.
MODELS = {"shapes": {"stages": (((3, 16, 1),), ((3, 32, 1),), ((3, 64, 1),), ((3, 128, 1), (1, 32, 1)))}, "bccd": {}}
SMOKE = {"units": 8, "stages": (((3, 4, 2),), ((1, 4, 1), (3, 6, 2)))}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={}, boxes={}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "yolo_v1_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"coordinates": 5.0, "no_object": 0.5}
    return configs.smoke(config) if arg.smoke else config
