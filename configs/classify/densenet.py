"""DenseNet-BC of 100 layers and growth 12 on CIFAR.

    python launch.py --config configs/classify/densenet.py --workdir runs/cifar10_densenet
    python launch.py --config configs/classify/densenet.py:data=cifar100 --workdir runs/cifar100_densenet

Huang et al. 2017, "Densely Connected Convolutional Networks", section 4.2: SGD with Nesterov momentum 0.9, decay
1e-4, batches of 64; 300 epochs at 0.1, divided by 10 after half and three quarters; pad 4 and crop, flip; He's
initialisation; dropout only without augmentation. Other than there: 45,000 images to train on. Table 2:

    data      published test error   measured here
    cifar10   4.51 %                 not measured yet
    cifar100  22.27 %                not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or cifar100; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("cifar10", "cifar100")), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs, config.batch_size = 300, 64
    config.augment = "flip | padded_crop(padding=4)"
    config.model = {"name": "densenet_bc100_12"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-4}
    config.optim.schedule = {"name": "step", "milestones_epochs": (150, 225)}
    if arg.smoke:
        config.model.update({"depths": (2, 2), "growth": 4, "channels": 8})
    return configs.smoke(config) if arg.smoke else config
