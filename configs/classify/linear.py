"""Linear regression on one-hot targets, used as a classifier.

    python launch.py --config configs/classify/linear.py --workdir runs/digits_linear
    python launch.py --config configs/classify/linear.py:data=mnist --workdir runs/mnist_linear
    python launch.py --config configs/classify/linear.py:data=cifar10 --workdir runs/cifar10_linear

Loss: half the squared distance of the scores to the one-hot label (Bishop 2006, section 4.1.3).

Measured with seed 0 on two CPU cores; the rows of the run on MNIST were not kept:

    data     test accuracy           wall time
    digits   94.15 % [91.22, 96.14]  5 s
    mnist    86.68 % [86.00, 87.33]  3 s
    cifar10  38.64 % [37.69, 39.60]  11 s
"""

from configs import datasets
from cvdl_jax.config import configs

RATES = {"digits": 1e-2, "mnist": 1e-3, "cifar10": 1e-3}


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(RATES), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs = 40 if arg.data == "digits" else 20
    config.model = {"name": "linear"}
    config.loss = {"name": "squared_error"}
    config.optim = {"name": "adam", "lr": RATES[arg.data], "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
