"""ResNeXt-29, 8x64d (or :groups=16), on CIFAR.

    python launch.py --config configs/classify/resnext29.py --workdir runs/cifar10_resnext29
    python launch.py --config configs/classify/resnext29.py:data=cifar100 --workdir runs/cifar100_resnext29

Xie et al. 2017, "Aggregated Residual Transformations", section 5.3: SGD with momentum 0.9, decay 5e-4, batches of
128; 300 epochs at 0.1, divided by 10 after 150 and 225; pad 4 and crop, flip. Other than there: 45,000 images to
train on, and biases and scales do not decay. Table 7, 8x64d:

    data      published test error   measured here
    cifar10   3.65 %                 not measured yet
    cifar100  17.77 %                not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or cifar100; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("cifar10", "cifar100")), groups=8, smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs = 300
    config.augment = "flip | padded_crop(padding=4)"
    config.model = {"name": f"resnext29_{arg.groups}x64d"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    config.optim.schedule = {"name": "step", "milestones_epochs": (150, 225)}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (4, 8), "cardinality": 2, "group_width": 16})
    return configs.smoke(config) if arg.smoke else config
