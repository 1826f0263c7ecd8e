"""EfficientNet-B0 on ImageNet with RMSProp and averaged weights.

    python launch.py --config configs/classify/imagenet_efficientnet_b0.py --workdir runs/imagenet_efficientnet_b0
    python launch.py --config configs/classify/imagenet_efficientnet_b0.py:path=/data --workdir runs/efficientnet_b0

Tan and Le 2019, "EfficientNet", section 5.2: RMSProp with decay and momentum 0.9, a rate of 0.256 times 0.97 every
2.4 epochs, decay 1e-5, batch normalisation of momentum 0.99 (0.01 here, where new statistics have that share),
AutoAugment, stochastic depth of survival 0.8 and dropout 0.2 (the variant has both). What the paper does not print is
from the authors' code: 350 epochs, 5 of warm-up, batches of 4,096, eps 0.001 inside the root and of the normalisation,
label smoothing 0.1, averaged weights 0.9999. Their rate decays from the first step on, ours behind the warm-up, which
therefore ends at 0.256 times 0.97 squared; the steps of the stairs come a fifth of an epoch later. Other than there:
weights begin by He's rule of the fan-out; the last 1 % of the training images, not 25,000, select the checkpoint.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 77.1 % top-1 accuracy (table 2). Not measured here. As `--mode check --topology v5e:8x8` says, without a
TPU and without the data:

    1.47 GiB of 16 GiB on each of 64 chips; 248 GFLOP a chip and step, 73.02 MiB sent; estimated 676 ms a step (memory)

Nearly all of the estimate are the single pixels that AutoAugment's shears and rotations read: for 18 images of this
size the compiler counts 60 GB, 82 ms, for each of its two operations.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, resize="bicubic")
    config.total_epochs, config.batch_size = 350, 4096
    config.augment = "flip | auto_augment(policy='imagenet')"
    config.model = {"name": "efficientnet_b0", "norm": "batch(momentum=0.01, epsilon=0.001)"}
    config.loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1}
    config.optim = {"name": "rmsprop", "smoothing": 0.9, "momentum": 0.9, "eps": 1e-3, "eps_inside": True}
    config.optim.update({"lr": 0.256 * 0.97**2, "lr_batch_size": 4096, "weight_decay": 1e-5})
    decay = {"factor": 0.97, "every_epochs": 2.4, "staircase": True}
    config.optim.schedule = {"name": "exponential", **decay, "warmup_epochs": 5}
    config.ema = {"decay": 0.9999, "warmup": True}
    if arg.smoke:
        config.model.update({"stem": 8, "last": 32, "stages": ((1, 3, 1, 8, 1), (2, 5, 2, 8, 2))})
        config.optim.schedule.every_epochs = 1
    return configs.smoke(config) if arg.smoke else config
