"""ResNet-50 on ImageNet, 90 epochs at any batch size by the linear rule.

    python launch.py --config configs/classify/imagenet_resnet50.py --workdir runs/imagenet_resnet50
    python launch.py --config configs/classify/imagenet_resnet50.py:path=/data --workdir runs/resnet50

He et al. 2016, section 3.4; Goyal et al. 2017, "Accurate, Large Minibatch SGD", section 5.1: a rate of 0.1 for 256
images, in proportion for others, 5 epochs of warm-up, a tenth after 30, 60 and 80 epochs; Nesterov momentum 0.9,
weight decay 1e-4 on kernels alone; windows of random area and aspect, flip; He's initialisation. Other than there:
the stride is in the 3x3 convolutions, as in torchvision; the last scale of a branch begins at 1, not 0; batch
normalisation sees the global batch, not 32 images.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 23.74 ± 0.09 % top-1 error with batches of 8,192, 23.60 ± 0.12 % with 256 (Goyal et al., table 1). Not
measured here. As `--mode check --topology v5e:8x8` says, without a TPU and without the data:

    983.79 MiB of 16 GiB on each of 64 chips; 386 GFLOP a chip and step, 104.63 MiB sent; estimated 16.9 ms a step
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke)
    config.total_epochs, config.batch_size = 90, 1024
    config.augment = "flip"
    config.model = {"name": "resnet50"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "lr_batch_size": 256, "momentum": 0.9, "nesterov": True}
    config.optim.weight_decay = 1e-4
    # Milestones count from the end of the warm-up
    config.optim.schedule = {"name": "step", "warmup_epochs": 5, "milestones_epochs": (25, 55, 75)}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (8, 16)})
    return configs.smoke(config) if arg.smoke else config
