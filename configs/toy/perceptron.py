"""Rosenblatt's perceptron on two separable blobs: one example at a time, a step of rate 1 on max(0, -y s).

    python launch.py --config configs/toy/perceptron.py --workdir runs/toy_perceptron

A score of 0 counts as a mistake (Rosenblatt 1958, "The Perceptron"; Novikoff 1962 for why it ends).

Measured with seed 0 on 1,000 points that a line separates:

    data   mistakes                             test accuracy           CPU time
    blobs  45 among 40,000 examples, then none  99.60 % [98.55, 99.89]  16 s
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(study={"loss": "perceptron", "bias": True})
    config.experiment = "studies.linear_unit"
    datasets.toy(config, "blobs(num_classes=2, noise=0.23)")
    config.total_epochs = 40
    config.batch_size = 1
    config.log.every_steps = 1000
    config.eval = {"every_percent": 10}
    config.optim = {"name": "sgd", "lr": 1.0}
    return configs.smoke(config) if arg.smoke else config
