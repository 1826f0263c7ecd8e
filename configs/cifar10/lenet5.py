"""LeNet-5 in its modern form: ReLU, max-pooling, softmax cross-entropy on CIFAR-10.

    python launch.py --config configs/cifar10/lenet5.py --workdir runs/cifar10_lenet5

LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", figure 2; 32x32 input.

Measured: 65.90 % test accuracy [64.96, 66.82], seed 0, 165 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    datasets.cifar10(config, smoke=arg.smoke)
    config.total_epochs = 20
    config.batch_size = 128
    config.augment = "flip | padded_crop(padding=4)"
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": 0.002,
        "weight_decay": 0.01,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    return configs.smoke(config) if arg.smoke else config
