"""SegNet on CamVid at half its size, or on drawn shapes; classes weighted by median frequency on CamVid.

    python launch.py --config configs/segment/segnet.py --workdir runs/camvid_segnet
    python launch.py --config configs/segment/segnet.py:data=shapes --workdir runs/shapes_segnet

Badrinarayanan et al. 2017, "SegNet"; a quarter of its channels for small machines, trained from scratch with adamw in
the place of momentum. Published with the whole network, 367 training images, 360x480: mean IoU 46.4 (as Jegou et al.
2017 and Yu and Koltun 2016 report).

Measured on the test split with seed 0, on two CPU cores:

    data    mean_iou          pixel_accuracy  wall time
    camvid  not measured yet
    shapes  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

# Of the training masks at 180x240, by `metrics.segmentation.median_frequency_weights`
MEDIAN_FREQUENCY = (0.281, 0.202, 4.778, 0.148, 1.0, 0.424, 3.852, 1.977, 0.788, 6.377, 8.819)


def get_config(arg=None):
    """The run's numbers; `data` is camvid or shapes, `height` that of CamVid's images; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, data=configs.OneOf(datasets.SEGMENTATION), height=180, smoke=False)
    config = configs.base(ignore=(), palette="voc")
    config.experiment = "segment"
    datasets.segmentation(config, arg.data, arg.height, arg.smoke)
    config.total_epochs = 30
    config.model = {"name": "segnet", "widths": (16, 32, 64, 128, 128)}
    weights = MEDIAN_FREQUENCY if config.data.name == "camvid" else ()
    config.loss = {"name": "cross_entropy", "weights": weights}
    if arg.smoke:
        config.model.update({"depths": (1, 2), "widths": (8, 8)})
    return configs.smoke(config) if arg.smoke else config
