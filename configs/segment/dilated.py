"""A dilated front end with the context module on CamVid at half its size, or on drawn shapes.

    python launch.py --config configs/segment/dilated.py --workdir runs/camvid_dilated
    python launch.py --config configs/segment/dilated.py:data=shapes --workdir runs/shapes_dilated

Yu and Koltun 2016, "Multi-Scale Context Aggregation by Dilated Convolutions"; there on VGG-16, trained on ImageNet
before, 65.3 mean IoU on CamVid at 640x480 (config.model={"name": "dilated8"}). Here a small VGG from scratch, both
parts at once.

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
    config.model = {"name": "dilated8", "widths": (16, 32, 64, 64, 64), "units": (128, 128), "side": 3, "norm": "batch"}
    # Behind the identity, ReLU gives classes with scores below 0 no gradient, and seven leaky ones 1e-7 of it, until
    # weights between channels have grown: both begin with hundreds of steps of background.
    config.model.activation = "leaky_relu(slope=0.1)"
    config.loss = {"name": "cross_entropy"}
    if arg.smoke:
        config.model.update({"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "units": (8, 8), "context": (1, 2, 1)})
    return configs.smoke(config) if arg.smoke else config
