"""Swin-T on ImageNet, 300 epochs.

    python launch.py --config configs/classify/imagenet_swin_t.py --workdir runs/imagenet_swin_t
    python launch.py --config configs/classify/imagenet_swin_t.py:path=/data --workdir runs/swin_t

Liu et al. 2021, "Swin Transformer", appendix A2.1: AdamW at 1e-3 for 1,024 images, cosine, 20 epochs of warm-up,
decay 0.05, gradients of norm 1; RandAugment of magnitude 9 of 10 (27 of 30 here), each of its two operations carried
out half of the time as in the authors' code, mixup 0.8 or CutMix 1.0, random erasing 0.25, label smoothing 0.1,
stochastic depth 0.2 (the variant has it); no repeated augmentation, no averaged weights. Other than there: RandAugment
has its paper's 14 operations and a magnitude that does not vary; images are erased behind the mixing, not before it, by
uniform noise before the normalisation.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 81.3 % top-1 accuracy (table 1a). Not measured here. As `--mode check --topology v5e:8x8` says, without a
TPU and without the data:

    not run yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, resize="bicubic")
    config.total_epochs, config.batch_size = 300, 1024
    mixed, erased = "mixup_or_cutmix(0.8, 1.0)", "random_erasing(area_high=0.33, probability=0.25)"
    config.augment = f"flip | rand_augment(n=2, m=27, per_operation=0.5) | {mixed} | {erased}"
    config.model = {"name": "swin_t"}
    config.loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1}
    config.optim = {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "clip_norm": 1.0}
    config.optim.schedule = {"name": "cosine", "warmup_epochs": 20}
    if arg.smoke:
        config.model.update({"width": 8, "depths": (2, 1), "heads": (2, 4), "window": 4})
    return configs.smoke(config) if arg.smoke else config
