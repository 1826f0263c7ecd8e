"""Linear multiclass support vector machine.

    python launch.py --config configs/classify/svm.py --workdir runs/digits_svm
    python launch.py --config configs/classify/svm.py:data=mnist --workdir runs/mnist_svm
    python launch.py --config configs/classify/svm.py:data=cifar10 --workdir runs/cifar10_svm

Weston-Watkins hinge loss (Weston and Watkins 1999), not regularised: `config.optim.weight_decay=2*L` adds L |W|^2.

Measured with seed 0 on two CPU cores:

    data     test accuracy           wall time
    digits   95.54 % [92.88, 97.24]  2 s
    mnist    92.31 % [91.77, 92.82]  10 s
    cifar10  38.34 % [37.39, 39.30]  14 s
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
    config.loss = {"name": "multiclass_hinge"}
    config.optim = {"name": "adam", "lr": RATES[arg.data], "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
