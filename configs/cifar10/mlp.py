"""Multi-layer perceptron with two hidden layers, 300 and 100 units on CIFAR-10.

    python launch.py --config configs/cifar10/mlp.py --workdir runs/cifar10_mlp

LeCun et al. 1998, figure 9, "28x28-300-100-10", with ReLU, dropout and AdamW.

Measured: 54.95 % test accuracy [53.97, 55.92], seed 0, 35 s on two CPU cores.
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
    config.model = {"name": "mlp", "hidden": (300, 100), "dropout": 0.2}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": 0.001,
        "weight_decay": 0.01,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    return configs.smoke(config) if arg.smoke else config
