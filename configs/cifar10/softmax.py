"""Multinomial logistic regression (softmax classifier) on CIFAR-10.

    python launch.py --config configs/cifar10/softmax.py --workdir runs/cifar10_softmax

A linear model under the softmax cross-entropy (Bishop 2006, section 4.3.4).

Measured: 39.25 % test accuracy [38.30, 40.21], seed 0, 13 s on two CPU cores.
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
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 0.0005, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
