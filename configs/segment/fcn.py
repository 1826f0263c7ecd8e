"""FCN-8s on a small VGG, from scratch, on CamVid at half its size, or on drawn shapes.

    python launch.py --config configs/segment/fcn.py --workdir runs/camvid_fcn
    python launch.py --config configs/segment/fcn.py:data=shapes --workdir runs/shapes_fcn

Long et al. 2015, "Fully Convolutional Networks for Semantic Segmentation"; there on VGG-16, trained on ImageNet before
(config.model={"name": "fcn8s"}), which these networks need more than those whose decoders are trained.

Measured on the test split with seed 0, on two CPU cores:

    data    mean_iou          pixel_accuracy  wall time
    camvid  not measured yet
    shapes  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is camvid or shapes, `height` that of CamVid's images; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, data=configs.OneOf(datasets.SEGMENTATION), height=180, smoke=False)
    config = configs.base(ignore=(), palette="voc")
    config.experiment = "segment"
    datasets.segmentation(config, arg.data, arg.height, arg.smoke)
    config.total_epochs = 30
    config.model = {
        "name": "fcn8s",
        "widths": (16, 32, 64, 128, 128),
        "units": (256, 256),
        "side": 3,
        "norm": "batch",
    }
    config.loss = {"name": "cross_entropy"}
    if arg.smoke:
        config.model.update({"depths": (1, 1, 1), "widths": (8, 8, 8), "units": (8, 8)})
    return configs.smoke(config) if arg.smoke else config
