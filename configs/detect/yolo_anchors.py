"""YOLO with anchors on drawn scenes or on photographs of blood cells at half size.

    python launch.py --config configs/detect/yolo_anchors.py --workdir runs/shapes_yolo_anchors
    python launch.py --config configs/detect/yolo_anchors.py:data=bccd --workdir runs/bccd_yolo_anchors

Redmon and Farhadi 2017, "YOLO9000", on a small ResNet; the shapes are clusters of the training boxes
(`ops.cells.clustered_shapes`).

Measured on the test split with seed 0, on two shared CPU cores:

    data    COCO AP           AP50              wall time
    shapes  0.490             0.753             2 min
    bccd    0.470             0.816             6 min
"""

from configs import datasets
from cvdl_jax.config import configs

MODELS = {
    "shapes": {"level": 1, "shapes": ((0.17, 0.17), (0.25, 0.25), (0.34, 0.34))},
    "bccd": {"level": 2, "shapes": ((0.082, 0.064), (0.209, 0.164), (0.393, 0.325))},
}
SMOKE = {"width": 8, "backbone": {"name": "resnet8_tiny"}}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={}, boxes={}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "yolo_anchors_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"coordinates": 5.0, "no_object": 1.0, "ignore": 0.6}
    return configs.smoke(config) if arg.smoke else config
