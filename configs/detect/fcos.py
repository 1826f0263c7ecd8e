"""FCOS on drawn scenes or on photographs of blood cells at half size: points and distances in place of anchors.

    python launch.py --config configs/detect/fcos.py --workdir runs/shapes_fcos
    python launch.py --config configs/detect/fcos.py:data=bccd --workdir runs/bccd_fcos

Tian et al. 2019, "FCOS: Fully Convolutional One-Stage Object Detection", with GIoU loss and samples near the centres,
on a small ResNet.

Measured on the test split with seed 0, on two shared CPU cores:

    data    COCO AP           AP50              wall time
    shapes  0.662             0.897             6 min
    bccd    0.528             0.872             10 min
"""

from configs import datasets
from cvdl_jax.config import configs

MODELS = {"shapes": {"levels": (0, 1, 2), "reach": 4.0}, "bccd": {"levels": (1, 2, 3), "reach": 4.0}}
SMOKE = {"channels": 8, "depth": 1, "levels": (1, 2), "norm": "group(groups=2)", "backbone": {"name": "resnet8_tiny"}}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={"radius": 1.5}, boxes={"name": "giou"}, nms={"score_threshold": 0.1})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "fcos_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"name": "focal"}
    return configs.smoke(config) if arg.smoke else config
