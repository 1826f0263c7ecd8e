"""A folder of images of your own, one sub-folder for each class: a small residual network, trained from nothing.

    python launch.py --config configs/classify/folder.py:path=/path/to/images --workdir runs/mine
    python launch.py --config configs/classify/folder.py --workdir runs/photos

The first line is what you type; without `path`, the folder is `photos`. `path` holds CLASS/image.jpg, or
train/CLASS/image.jpg and perhaps val/ and test/ (`docs/datasets.md`). What is found there decides: missing splits are
cut from the training images (70 / 15 / 15 %, each class alike), images of one size keep their aspect, others become
squares of at most `size` pixels, and the batch is at most a quarter of the training images.

Model: ResNet-20 (He et al. 2016, section 4.2), which stride and pooling fit to any size. It is a baseline without
pretraining: with fewer than about a hundred images a class, expect a pretrained network to be far better.

Measured with seed 0 on two CPU cores that ran other programs too, with `size=32,epochs=30`:

    folder                                            test accuracy           wall time
    faces of 40 people (ORL), 400 images, 60 to test  95.00 % [86.30, 98.29]  847 s
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `path` is the folder, `size` its largest image side; `smoke` makes it two steps."""
    arg = configs.parse_arg(arg, path="photos", size=64, epochs=60, smoke=False)
    config = configs.base()
    datasets.folder(config, arg.path, arg.size, arg.smoke)
    config.total_epochs = arg.epochs
    config.normalise = {"fit": "standardise"}
    config.augment = f"flip | padded_crop(padding={max(1, arg.size // 16)})"
    config.model = {"name": "resnet20"}
    config.loss = {"name": "softmax_cross_entropy", "label_smoothing": 0.1}
    config.optim = {
        "name": "sgd",
        "lr": 0.05,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 5e-4,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    if arg.smoke:
        few = config.batch_size
        configs.smoke(config).batch_size = min(few, 16)
    return config
