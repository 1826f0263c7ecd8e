"""ViT-S/16 on ImageNet, 90 epochs from nothing.

    python launch.py --config configs/classify/imagenet_vit_s16.py --workdir runs/imagenet_vit_s16
    python launch.py --config configs/classify/imagenet_vit_s16.py:path=/data --workdir runs/vit_s16

Beyer et al. 2022, "Better plain ViT baselines for ImageNet-1k", section 2: fixed positions of sines and cosines, the
mean of the patches in place of a class token, RandAugment of two operations and level 10, mixup of Beta(0.2, 0.2),
batches of 1,024. As in the authors' code: Adam at 1e-3, 10,000 steps of warm-up, cosine, gradients of norm 1, windows
of 5 % of the area or more, pixels in -1 to 1. Its decay, 1e-4 times the schedule alone, is 0.1 times the rate here.
Other than there: a dense head without the tanh layer before it, which the paper finds to change nothing; biases and
norms do not decay; moments are float32; RandAugment has 30 levels here, theirs 10, so that theirs is 30 and the list
of operations torchvision's.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 76.5 % top-1 accuracy after 90 epochs, 80.0 % after 300 (table 1). Not measured here. As `--mode check
--topology v5e:8x8` says, without a TPU and without the data:

    982.35 MiB of 16 GiB on each of 64 chips; 456 GFLOP a chip and step, 95.85 MiB sent; estimated 175 ms a step
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", epochs=90, smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke)
    if not arg.smoke:
        config.data.crop_scale = (0.05, 1.0)
        config.normalise = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config.total_epochs, config.batch_size = arg.epochs, 1024
    config.augment = "flip | rand_augment(n=2, m=30) | mixup(alpha=0.2)"
    config.model = {"name": "vit_small_patch16_224", "pool": "mean", "sincos": True}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.1, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_steps": 10_000}
    if arg.smoke:
        config.model.update({"image_size": 32, "width": 16, "depth": 2, "heads": 2})
    return configs.smoke(config) if arg.smoke else config
