"""VGG-16 on ImageNet, at one scale of training images.

    python launch.py --config configs/classify/imagenet_vgg16.py --workdir runs/imagenet_vgg16
    python launch.py --config configs/classify/imagenet_vgg16.py:path=/data --workdir runs/vgg16

Simonyan and Zisserman 2015, "Very Deep Convolutional Networks", section 3.1: batches of 256, momentum 0.9, a rate of
0.01 that falls to a tenth when the validation accuracy stands still, decay 5e-4, dropout 0.5, 74 epochs; windows of
224 pixels anywhere in images whose shorter side is 256, flip, a random colour; Glorot's initialisation, which the
paper names in place of its shallow network. Other than there: evaluated on the central window, not densely; "stands
still" is four epochs without a better accuracy; biases do not decay.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 27.0 % top-1 error at one scale of 256 (table 3, D). Not measured here. As `--mode check --topology
v5e:8x8` says, without a TPU and without the data:

    1.56 GiB of 16 GiB on each of 64 chips; 397 GFLOP a chip and step, 534.93 MiB sent; estimated 18.2 ms a step
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, crop="random")
    config.total_epochs, config.batch_size = 74, 256
    config.augment = "flip | lighting(0.1)"
    config.model = {"name": "vgg16", "kernel_init": "glorot_normal"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
    config.plateau = {"metric": "validation/accuracy", "mode": "max", "factor": 0.1, "patience": 4, "min_scale": 1e-3}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (4, 8), "units": (16, 8), "places": 2})
    return configs.smoke(config) if arg.smoke else config
