"""WRN-28-10 (or :model=wrn_40_2, wrn_16_8) on CIFAR.

    python launch.py --config configs/classify/wide_resnet.py --workdir runs/cifar10_wide_resnet
    python launch.py --config configs/classify/wide_resnet.py:data=cifar100 --workdir runs/cifar100_wide_resnet

Zagoruyko and Komodakis 2016, "Wide Residual Networks", section 3: SGD with Nesterov momentum 0.9, decay 5e-4, batches
of 128; 200 epochs at 0.1, times 0.2 after 60, 120 and 160; flip, and crops of the image padded by 4 reflected pixels;
`:dropout=0.3` for the form with dropout. Other than there: 45,000 images to train on, and biases and scales do not
decay. Table 5, without dropout:

    data      published test error   measured here
    cifar10   4.00 %                 not measured yet
    cifar100  19.25 %                not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or cifar100; `smoke` makes it two steps at tiny size."""
    sets = configs.OneOf(("cifar10", "cifar100"))
    arg = configs.parse_arg(arg, data=sets, model="wrn_28_10", dropout=0.0, smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs = 200
    config.augment = "flip | padded_crop(padding=4, mode='reflect')"
    config.model = {"name": arg.model, "dropout": arg.dropout}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
    config.optim.schedule = {"name": "step", "factor": 0.2, "milestones_epochs": (60, 120, 160)}
    if arg.smoke:
        config.model.update({"depths": (1, 1), "widths": (8, 16)})
    return configs.smoke(config) if arg.smoke else config
