"""Linear multiclass support vector machine on MNIST.

    python launch.py --config configs/mnist/svm.py --workdir runs/mnist_svm

Weston-Watkins hinge loss (Weston and Watkins 1999), not regularised: `config.optim.weight_decay=2*L` adds L |W|^2.

Measured: 92.31 % test accuracy [91.77, 92.82], seed 0, 10 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    datasets.mnist(config, smoke=arg.smoke)
    config.total_epochs = 20
    config.batch_size = 128
    config.model = {"name": "linear"}
    config.loss = {"name": "multiclass_hinge"}
    config.optim = {"name": "adam", "lr": 0.001, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
