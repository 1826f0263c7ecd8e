"""Faster R-CNN on drawn scenes or on photographs of blood cells at half size: a small ResNet and a pyramid.

    python launch.py --config configs/detect/faster_rcnn.py --workdir runs/shapes_faster_rcnn
    python launch.py --config configs/detect/faster_rcnn.py:data=bccd --workdir runs/bccd_faster_rcnn

Ren et al. 2015, "Faster R-CNN", in the form of Lin et al. 2017, "Feature Pyramid Networks", with 64 channels in place
of 256, 64 anchors and 64 regions of an image in place of 256 and 512, 100 proposals in place of 1000, and one dense
layer of 128 units in place of two of 1024.

Measured on the test split with seed 0, on two shared CPU cores:

    data    COCO AP           AP50              wall time
    shapes  not measured yet
    bccd    0.514             0.863             23 min
"""

from configs import datasets
from cvdl_jax.config import configs

# The pyramid begins where the smallest objects are two or three cells large.
MODELS = {"shapes": {"levels": (0, 1), "extra": 0}, "bccd": {"levels": (1, 2, 3), "extra": 0}}
SMOKE = {
    "channels": 8,
    "widths": (8,),
    "sizes": (2.0,),
    "pooled": 3,
    "before": (40, 40),
    "after": (20, 20),
    "levels": (1,),
    "extra": 1,
    "backbone": {"name": "resnet8_tiny", "depths": (1, 1), "widths": (4, 8)},
}


def get_config(arg=None):
    """The run's numbers; `data` is shapes or bccd; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(MODELS), smoke=False)
    config = configs.base(match={}, boxes={"weight": 1.0, "beta": 0.11}, nms={})
    config.experiment = "detect"
    datasets.detection(config, arg.data, arg.smoke)
    config.model = {"name": "faster_rcnn_small", **(SMOKE if arg.smoke else MODELS[arg.data])}
    config.loss = {"name": "cross_entropy"}
    return configs.smoke(config) if arg.smoke else config
