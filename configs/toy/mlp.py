"""A small perceptron on a 2-D toy set, blobs, circles, spirals or xor: the decision boundary can be drawn.

    python launch.py --config configs/toy/mlp.py --workdir runs/toy_xor
    python launch.py --config configs/toy/mlp.py:data=spirals --workdir runs/toy_spirals
    python launch.py --config configs/toy/mlp.py:data=circles --workdir runs/toy_circles
    python launch.py --config configs/toy/mlp.py:data=blobs --workdir runs/toy_blobs

Goodfellow et al. 2016, "Deep Learning", section 6.1, for why xor needs a hidden layer.

Measured with seed 0 on two CPU cores:

    data     test accuracy             wall time
    xor      100.00 % [99.24, 100.00]  1 s
    spirals  100.00 % [99.24, 100.00]  1 s
    circles  100.00 % [99.24, 100.00]  2 s
    blobs    100.00 % [99.24, 100.00]  2 s
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is xor, spirals, circles or blobs; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(["xor", "spirals", "circles", "blobs"]), smoke=False)
    config = configs.base()
    datasets.toy(config, arg.data)
    config.select = {"metric": "validation/accuracy", "mode": "max"}
    config.total_epochs = 100
    config.batch_size = 100
    config.eval = {"every_epochs": 10}
    config.model = {"name": "mlp", "hidden": (64, 64)}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adam", "lr": 1e-2, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
