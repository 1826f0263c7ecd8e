"""LeNet-5 in its modern form: ReLU, max-pooling, softmax cross-entropy on digits.

    python launch.py --config configs/digits/lenet5.py --workdir runs/digits_lenet5

LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition", figure 2; 32x32 input.

Measured: 99.44 % test accuracy [97.99, 99.85], seed 0, 18 s on two CPU cores.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base()
    datasets.digits(config, 32)
    config.total_epochs = 60
    config.batch_size = 64
    config.log.every_steps = 18
    config.augment = "padded_crop(padding=2)"
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "adamw",
        "lr": 3e-3,
        "weight_decay": 0.01,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    config.ema = {"decay": 0.99, "warmup": True}
    config.select = {"metric": "validation/loss", "mode": "min"}  # accuracy has many ties on 289 images
    return configs.smoke(config) if arg.smoke else config
