"""Multinomial logistic regression (softmax classifier) on digits.

    python launch.py --config configs/digits/softmax.py --workdir runs/digits_softmax

A linear model under the softmax cross-entropy (Bishop 2006, section 4.3.4).

Measured: 95.26 % test accuracy [92.55, 97.02], seed 0, 3 s on two CPU cores.
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
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 0.01, "schedule": {"name": "cosine", "warmup_percent": 5}}
    return configs.smoke(config) if arg.smoke else config
