"""ResNet-50 on ImageNet by a recipe of today, 300 epochs with LAMB and binary cross-entropy.

    python launch.py --config configs/classify/imagenet_resnet50_a2.py --workdir runs/imagenet_resnet50_a2
    python launch.py --config configs/classify/imagenet_resnet50_a2.py:path=/data --workdir runs/resnet50_a2

Wightman et al. 2021, "ResNet strikes back", table 2, procedure A2: LAMB at 5e-3 for 2,048 images, cosine, 5 epochs of
warm-up, decay 0.02; binary cross-entropy; RandAugment of magnitude 7 of 10 (21 of 30 here), each of its two
operations carried out half of the time as in the authors' code, mixup 0.1 or CutMix 1.0, three copies of an image in a
batch; stochastic depth 0.05; evaluated on windows of 95 %. Other than there: 2,304 images in a batch, so that 64
devices have multiples of 6, at a rate in proportion; RandAugment has its paper's 14 operations and a magnitude that
does not vary, and windows beyond the image are grey; gradients are not clipped; a mixture counts for each class by its
share, where theirs counts 1 for both; no bias is decayed, and all parameters have LAMB's trust ratio.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 79.8 % top-1 accuracy (table 1). Not measured here. As `--mode check --topology v5e:8x8` says, without a
TPU and without the data:

    not run yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, crop_fraction=0.95, resize="bicubic")
    config.total_epochs, config.batch_size = 300, 2304
    mixed = "mixup_or_cutmix(mixup_alpha=0.1, cutmix_alpha=1.0)"
    copies = f"repeated_augmentation({2 if arg.smoke else 3})"
    config.augment = f"{copies} | flip | rand_augment(n=2, m=21, per_operation=0.5) | {mixed}"
    config.model = {"name": "resnet50", "drop_path": 0.05}
    config.loss = {"name": "sigmoid_cross_entropy"}
    config.optim = {"name": "lamb", "lr": 5e-3, "lr_batch_size": 2048, "weight_decay": 0.02}
    config.optim.schedule = {"name": "cosine", "warmup_epochs": 5}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (8, 16)})
    return configs.smoke(config) if arg.smoke else config
