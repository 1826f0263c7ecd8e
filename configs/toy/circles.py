"""A small perceptron on the 2-D toy set `circles`: the decision boundary can be drawn.

python launch.py --config configs/toy/circles.py --workdir runs/toy_circles

Measured: 100.00 % test accuracy [99.24, 100.00], seed 0, 2 s on two CPU cores.
"""

from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    config.data = {"name": "circles", "train": "train", "validation": "validation", "test": "test"}
    config.select = {"metric": "validation/accuracy", "mode": "max"}
    config.total_epochs = 100
    config.batch_size = 100
    config.eval = {"every_epochs": 10}
    config.model = {"name": "mlp", "hidden": (64, 64)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 1e-2, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
