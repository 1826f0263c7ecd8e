"""Multinomial logistic regression (softmax classifier).

    python launch.py --config configs/classify/softmax.py --workdir runs/digits_softmax
    python launch.py --config configs/classify/softmax.py:data=mnist --workdir runs/mnist_softmax
    python launch.py --config configs/classify/softmax.py:data=cifar10 --workdir runs/cifar10_softmax

A linear model under the softmax cross-entropy (Bishop 2006, section 4.3.4).

Measured with seed 0 on two CPU cores:

    data     test accuracy           wall time
    digits   95.26 % [92.55, 97.02]  3 s
    mnist    92.59 % [92.06, 93.09]  3 s
    cifar10  39.25 % [38.30, 40.21]  13 s
"""

from configs import datasets
from cvdl_jax.config import configs

RATES = {"digits": 1e-2, "mnist": 1e-3, "cifar10": 5e-4}


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(RATES), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs = 40 if arg.data == "digits" else 20
    config.model = {"name": "linear"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": RATES[arg.data], "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
