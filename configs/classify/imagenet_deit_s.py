"""DeiT-S on ImageNet, 300 epochs of heavy augmentation without a teacher.

    python launch.py --config configs/classify/imagenet_deit_s.py --workdir runs/imagenet_deit_s
    python launch.py --config configs/classify/imagenet_deit_s.py:path=/data --workdir runs/deit_s

Touvron et al. 2021, "Training data-efficient image transformers", table 9: AdamW at 5e-4 for 512 images, cosine, 5
epochs of warm-up, decay 0.05; label smoothing 0.1, stochastic depth 0.1; three copies of an image in a batch,
RandAugment of magnitude 9 of 10 (27 of 30 here), each of its two operations carried out half of the time as in the
authors' code, mixup 0.8 or CutMix 1.0, random erasing 0.25; normal weights of 0.02. Other than there:
1,152 images in a batch, not 1,024, so that 64 devices have multiples of 6, at a rate in proportion; RandAugment has the
paper's 14 operations and a magnitude that does not vary; images are erased behind the mixing, not before it, by uniform
noise before the normalisation.

Data: `imagenet2012` of TFDS, or `path=/folder` with train/CLASS/image.jpg and validation/CLASS/image.jpg; 99 % of the
training images, the rest to select on, the 50,000 validation images to report once (`configs/datasets.py`).

Published: 79.8 % top-1 accuracy (table 5). Not measured here. As `--mode check --topology v5e:8x8` says, without a
TPU and without the data:

    1.08 GiB of 16 GiB on each of 64 chips; 516 GFLOP a chip and step, 97.61 MiB sent; estimated 201 ms a step (memory)

With `--config.augment=flip` it is 17.2 ms. The rest are the single pixels that RandAugment's shears and rotations read,
60 GB for 18 images as XLA counts them, and its equalisation, which has become cheaper since
(`ops/images/histogram.py`). Two CPU cores that ran other programs compiled for 33 minutes.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is a folder of images, "" for TFDS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, path="", smoke=False)
    config = configs.base()
    datasets.imagenet(config, arg.path, arg.smoke, resize="bicubic")
    config.total_epochs, config.batch_size = 300, 1152
    copies = f"repeated_augmentation({2 if arg.smoke else 3})"
    erasing = "random_erasing(area_low=0.02, area_high=0.33, probability=0.25)"
    config.augment = (
        f"{copies} | flip | rand_augment(n=2, m=27, per_operation=0.5) | mixup_or_cutmix(0.8, 1.0) | {erasing}"
    )
    config.model = {"name": "deit_small_patch16_224", "drop_path": 0.1}
    config.loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1}
    config.optim = {"name": "adamw", "lr": 5e-4, "lr_batch_size": 512, "weight_decay": 0.05}
    config.optim.schedule = {"name": "cosine", "warmup_epochs": 5}
    if arg.smoke:
        config.model.update({"image_size": 32, "width": 16, "depth": 2, "heads": 2})
    return configs.smoke(config) if arg.smoke else config
