"""ResNet-20 (or :depth=32, 44, 56, 110) in the CIFAR form, identity shortcuts padded with zeros (option A) on digits.

    python launch.py --config configs/digits/resnet20.py --workdir runs/digits_resnet20

He et al. 2016, section 4.2, with a short cosine schedule for a small set.

Measured: 98.61 % test accuracy [96.78, 99.40], seed 0, 22 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, depth=20, smoke=False)
    config = configs.base()
    datasets.digits(config, 16)
    config.total_epochs = 20
    config.batch_size = 64
    config.log.every_steps = 18
    config.augment = "padded_crop(padding=1)"
    config.model = {"name": f"resnet{arg.depth}"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.0001,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    return configs.smoke(config) if arg.smoke else config
