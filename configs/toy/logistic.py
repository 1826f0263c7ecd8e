"""Logistic regression by gradient descent on two overlapping blobs: binary cross-entropy of one score.

    python launch.py --config configs/toy/logistic.py --workdir runs/toy_logistic

Full batches (Bishop 2006, "Pattern Recognition and Machine Learning", section 4.3.2); `bias=False` leaves the bias out.

Measured with seed 0:

    data   training loss  norm of its gradient  test accuracy           CPU time
    blobs  0.0947         2.1e-5                95.00 % [92.72, 96.59]  5 s
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, bias=True, smoke=False)
    config = configs.base(study={"loss": "logistic", "bias": arg.bias})
    config.experiment = "studies.linear_unit"
    datasets.toy(config, "blobs(num_classes=2, noise=0.4)")
    config.total_epochs = 400
    config.batch_size = 1000
    config.eval = {"every_percent": 10}
    config.optim = {"name": "sgd", "lr": 8.0}
    return configs.smoke(config) if arg.smoke else config
