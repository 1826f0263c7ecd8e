"""Linear multiclass support vector machine on CIFAR-10.

    python launch.py --config configs/cifar10/svm.py --workdir runs/cifar10_svm

Weston-Watkins hinge loss (Weston and Watkins 1999), not regularised: `config.optim.weight_decay=2*L` adds L |W|^2.

Measured: 38.34 % test accuracy [37.39, 39.30], seed 0, 14 s on two CPU cores.
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
    config.loss = {"name": "multiclass_hinge"}
    config.optim = {"name": "adam", "lr": 0.0005, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
