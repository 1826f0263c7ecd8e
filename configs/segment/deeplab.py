"""DeepLab v3 with a ResNet-18 of output stride 16 on CamVid at half its size, or on drawn shapes.

    python launch.py --config configs/segment/deeplab.py --workdir runs/camvid_deeplab
    python launch.py --config configs/segment/deeplab.py:data=shapes --workdir runs/shapes_deeplab

Chen et al. 2017, "Rethinking Atrous Convolution for Semantic Image Segmentation"; there ResNet-101 trained on ImageNet
before, and the "poly" schedule (config.model={"name": "deeplabv3_resnet101"}). Here from scratch, half as wide.

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
    config.model = {"name": "deeplabv3_resnet18", "widths": (32, 64, 128, 256), "rates": (2, 4, 6)}
    config.loss = {"name": "cross_entropy"}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (8, 8), "output_stride": 4, "width": 8})
    return configs.smoke(config) if arg.smoke else config
