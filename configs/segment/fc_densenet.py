"""FC-DenseNet56, the smallest Tiramisu, on CamVid at a third of its size, or on drawn shapes.

    python launch.py --config configs/segment/fc_densenet.py --workdir runs/camvid_fc_densenet
    python launch.py --config configs/segment/fc_densenet.py:data=shapes --workdir runs/shapes_fc_densenet
    python launch.py --config configs/segment/fc_densenet.py:height=360 --config.model.name=fc_densenet103 --workdir X

Jegou et al. 2017, "The One Hundred Layers Tiramisu"; the paper trains on windows of 224x224 and then on whole images by
RMSprop, here it is adamw on whole images. Published at 360x480: mean IoU 58.9 and pixel accuracy 88.9 (56 layers).

Measured on the test split with seed 0, on two CPU cores:

    data    mean_iou          pixel_accuracy  wall time
    camvid  not measured yet
    shapes  not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is camvid or shapes, `height` that of CamVid's images; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, data=configs.OneOf(datasets.SEGMENTATION), height=120, smoke=False)
    config = configs.base(ignore=(), palette="voc")
    config.experiment = "segment"
    datasets.segmentation(config, arg.data, arg.height, arg.smoke)
    config.total_epochs = 20
    config.model = {"name": "fc_densenet56", "kernel_init": "he_uniform()"}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "middle": 1})  # 56 layers take a minute to compile
    config.loss = {"name": "cross_entropy"}
    return configs.smoke(config) if arg.smoke else config
