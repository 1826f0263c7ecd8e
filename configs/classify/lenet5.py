"""LeNet-5 in its modern form: ReLU, max-pooling, softmax cross-entropy.

    python launch.py --config configs/classify/lenet5.py --workdir runs/digits_lenet5
    python launch.py --config configs/classify/lenet5.py:data=mnist --workdir runs/mnist_lenet5
    python launch.py --config configs/classify/lenet5.py:data=cifar10 --workdir runs/cifar10_lenet5

LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", figure 2; 32x32 input.

Measured with seed 0 on two CPU cores:

    data     test accuracy           wall time
    digits   99.44 % [97.99, 99.85]  18 s
    mnist    99.29 % [99.11, 99.44]  275 s
    cifar10  65.90 % [64.96, 66.82]  165 s
"""

from configs import datasets
from cvdl_jax.config import configs

AUGMENT = {
    "digits": "padded_crop(padding=2)",
    "mnist": "padded_crop(padding=2)",
    "cifar10": "flip | padded_crop(padding=4)",
}


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(AUGMENT), smoke=False)
    config = configs.base()
    datasets.classification(config, arg.data, arg.smoke, size=32)
    config.total_epochs = 20
    config.augment = AUGMENT[arg.data]
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": 2e-3,
        "weight_decay": 0.01,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    if arg.data == "digits":
        config.total_epochs = 60
        config.optim.lr = 3e-3
        config.ema = {"decay": 0.99, "warmup": True}
        config.select = {"metric": "validation/loss", "mode": "min"}  # accuracy has many ties on 289 images
    return configs.smoke(config) if arg.smoke else config
