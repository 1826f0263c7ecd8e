"""SSD on drawn scenes or on photographs of blood cells at half size: default boxes on several maps, hard negatives.

    python launch.py --config configs/detect/ssd.py --workdir runs/shapes_ssd
    python launch.py --config configs/detect/ssd.py:data=bccd --workdir runs/bccd_ssd

Liu et al. 2016, "SSD: Single Shot MultiBox Detector", on a small ResNet in place of VGG-16.

Measured on the test split with seed 0, on two shared CPU cores:

    data    COCO AP           AP50              wall time
    shapes  0.556             0.859             6 min
    bccd    0.528             0.879             12 min
"""

from configs import datasets
from cvdl_jax.config import configs

MODELS = {
    "shapes": {"levels": (0, 1, 2), "extra": (), "smallest": 0.18, "largest": 0.4},
    "bccd": {"levels": (1, 2, 3), "extra": (64,), "smallest": 0.08, "largest": 0.5},
}
SMOKE = {"levels": (1, 2), "extra": (8,), "ratios": (2.0,), "backbone": {"name": "resnet8_tiny"}}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={"positive": 0.5, "negative": 0.5}, boxes={"weight": 1.0, "beta": 0.11}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "ssd_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"name": "hard_negatives", "ratio": 3.0}
    return configs.smoke(config) if arg.smoke else config
