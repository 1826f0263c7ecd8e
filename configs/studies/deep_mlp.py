"""A deep, big and simple perceptron on hand-written digits: nine hidden layers, nothing but more of the same.

    python launch.py --config configs/studies/deep_mlp.py --workdir runs/studies_deep_mlp

Ciresan et al. 2010, table 1, the last row "9x1000", with its activation and annealed plain gradient descent, smaller.

Measured: 98.05 % test accuracy [96.03, 99.05], seed 0, 10 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `depth` hidden layers of `width` units; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False, depth=9, width=128)
    config = configs.base()
    datasets.digits(config)
    config.diagnostics = {"gradients": True}
    config.total_epochs = 60
    config.batch_size = 64
    config.eval = {"every_epochs": 5}
    config.model = {"name": "mlp", "hidden": (arg.width,) * arg.depth, "activation": "lecun_tanh"}
    config.model.kernel_init = "lecun_normal"
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "sgd", "lr": 0.1, "schedule": {"name": "cosine"}}
    return configs.smoke(config) if arg.smoke else config
