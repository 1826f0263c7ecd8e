"""Linear regression on one-hot targets, used as a classifier on CIFAR-10.

    python launch.py --config configs/cifar10/linear.py --workdir runs/cifar10_linear

Loss: half the squared distance of the scores to the one-hot label (Bishop 2006, section 4.1.3).

Measured: 38.64 % test accuracy [37.69, 39.60], seed 0, 11 s on two CPU cores.
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
    config.model = {"name": "linear"}
    config.loss = {"name": "squared_error"}
    config.optim = {"name": "adam", "lr": 0.001, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
