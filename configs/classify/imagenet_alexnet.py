"""AlexNet on ImageNet: two groups of channels, local response normalisation, dropout.

    python launch.py --config configs/classify/imagenet_alexnet.py --workdir runs/imagenet_alexnet
    python launch.py --config configs/classify/imagenet_alexnet.py:path=/data --workdir runs/alexnet

Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", sections 4 and 5: batches
of 128, momentum 0.9, decay 5e-4, a rate of 0.01 that falls to a tenth three times, when the validation error stands
still, 90 epochs; windows anywhere in images whose shorter side is 256, flip, a random colour; weights of N(0, 0.01).
Windows have 227 pixels, with which the printed sizes of maps agree, where the text says 224. Other than there:
windows from the whole image, not from its central square, and one central window in place of ten; biases begin at 0,
not at 1 in layers 2, 4, 5 and the dense ones; they do not decay.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 40.7 % top-1 error of one network on the validation images (table 2). Not measured here. As `--mode check
--topology v5e:8x8` says, without a TPU and without the data:

    564.37 MiB of 16 GiB on each of 64 chips; 8.51 GFLOP a chip and step, 244.31 MiB sent; estimated 5.10 ms a step
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, crop="random", crop_fraction=227 / 256)
    config.total_epochs, config.batch_size = 90, 128
    config.augment = "flip | lighting(std=0.1)"
    config.model = {"name": "alexnet_two_groups", "kernel_init": "normal(0.01)"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": {"name": "constant"}}
    config.plateau = {"metric": "validation/loss", "factor": 0.1, "patience": 5, "min_scale": 1e-3}
    if arg.smoke:
        few = {"maps": (4, 8, 8, 8, 4), "kernels": (5, 5, 3, 3, 3), "strides": (1, 1, 1, 1, 1)}
        config.model.update({**few, "units": (16, 16), "places": 2})
    else:
        config.data.image_size = (227, 227)
    return configs.smoke(config) if arg.smoke else config
