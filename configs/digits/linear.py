"""Linear regression on one-hot targets, used as a classifier on digits.

    python launch.py --config configs/digits/linear.py --workdir runs/digits_linear

Loss: half the squared distance of the scores to the one-hot label (Bishop 2006, section 4.1.3).

Measured: 94.15 % test accuracy [91.22, 96.14], seed 0, 5 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    datasets.digits(config)
    config.total_epochs = 40
    config.batch_size = 64
    config.log.every_steps = 18
    config.model = {"name": "linear"}
    config.loss = {"name": "squared_error"}
    config.optim = {"name": "adam", "lr": 1e-2, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
