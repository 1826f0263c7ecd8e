"""Multi-layer perceptron with two hidden layers, 300 and 100 units.

    python launch.py --config configs/classify/mlp.py --workdir runs/digits_mlp
    python launch.py --config configs/classify/mlp.py:data=mnist --workdir runs/mnist_mlp
    python launch.py --config configs/classify/mlp.py:data=cifar10 --workdir runs/cifar10_mlp

LeCun et al. 1998, figure 9, "28x28-300-100-10", with ReLU, dropout and AdamW.

Measured with seed 0 on two CPU cores:

    data     test accuracy           wall time
    digits   98.05 % [96.03, 99.05]  4 s
    mnist    98.44 % [98.18, 98.66]  31 s
    cifar10  54.95 % [53.97, 55.92]  35 s
"""

from configs import datasets
from cvdl_jax.config import configs

RATES = {"digits": 2e-3, "mnist": 1e-3, "cifar10": 1e-3}


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(RATES), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke)
    config.total_epochs = 40 if arg.data == "digits" else 20
    config.model = {"name": "mlp", "hidden": (300, 100), "dropout": 0.2}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": RATES[arg.data],
        "weight_decay": 0.01,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    return configs.smoke(config) if arg.smoke else config
