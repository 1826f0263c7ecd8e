"""ResNet-20 (or :depth=32, 44, 56, 110) in the CIFAR form, identity shortcuts padded with zeros (option A) on CIFAR-10.

    python launch.py --config configs/cifar10/resnet20.py --workdir runs/cifar10_resnet20

He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2: SGD with momentum 0.9, weight decay 1e-4,
batch 128, pad 4 and crop, flip; 64,000 steps, the rate divided by 10 after 32,000 and 48,000.

Published: 91.25 % test accuracy (He et al. 2016, table 6). Not measured here yet: about a day on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, depth=20, smoke=False)
    config = configs.base()
    datasets.cifar10(config, smoke=arg.smoke)
    config.total_steps = 64_000
    config.batch_size = 128
    config.eval = {"every_epochs": 4}
    config.log.every_steps = 100
    config.augment = "flip | padded_crop(padding=4)"
    config.model = {"name": f"resnet{arg.depth}"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0001,
        "schedule": {"name": "step", "factor": 0.1, "milestones_steps": (32_000, 48_000)},
    }
    return configs.smoke(config) if arg.smoke else config
