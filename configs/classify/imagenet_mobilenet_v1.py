"""MobileNet v1 on ImageNet with RMSProp and little regularisation.

    python launch.py --config configs/classify/imagenet_mobilenet_v1.py --workdir runs/imagenet_mobilenet_v1
    python launch.py --config configs/classify/imagenet_mobilenet_v1.py:path=/data --workdir runs/mobilenet_v1

Howard et al. 2017, "MobileNets", section 3.2: RMSProp as for Inception V3 (Szegedy et al. 2016, section 8: decay 0.9,
eps 1, a rate of 0.045 times 0.94 every two epochs, gradients of norm 2, 100 epochs), "very little or no weight decay
on the depthwise filters", no label smoothing, and "limiting the size of small crops": here to a quarter of the area.
Other than there: 16 asynchronous workers became one batch of 1,024, and the numbers that the paper leaves out, decay
4e-5 and momentum 0.9, are those of TF-Slim.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 70.6 % top-1 accuracy (table 8). Not measured here. As `--mode check --topology v5e:8x8` says, without a
TPU and without the data:

    346.00 MiB of 16 GiB on each of 64 chips; 59.0 GFLOP a chip and step, 20.15 MiB sent; estimated 6.77 ms a step
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke)
    if not arg.smoke:
        config.data.crop_scale = (0.25, 1.0)
    config.total_epochs, config.batch_size = 100, 1024
    config.augment = "flip"
    config.model = {"name": "mobilenet_v1"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "rmsprop", "lr": 0.045, "smoothing": 0.9, "momentum": 0.9, "eps": 1.0, "eps_inside": True}
    config.optim.update({"weight_decay": 4e-5, "decay": r"(?!.*depthwise).*kernel", "clip_norm": 2.0})
    config.optim.schedule = {"name": "exponential", "factor": 0.94, "every_epochs": 2, "staircase": True}
    if arg.smoke:
        config.model.update({"stem": 8, "channels": (16, 24), "strides": (1, 2)})
    return configs.smoke(config) if arg.smoke else config
