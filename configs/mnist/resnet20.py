"""ResNet-20 (or :depth=32, 44, 56, 110) in the CIFAR form, identity shortcuts padded with zeros (option A) on MNIST.

    python launch.py --config configs/mnist/resnet20.py --workdir runs/mnist_resnet20

He et al. 2016, section 4.2, with a short cosine schedule for a small set.

Not measured by a run of this repository yet.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, depth=20, smoke=False)
    config = configs.base()
    datasets.mnist(config, smoke=arg.smoke)
    config.total_epochs = 20
    config.batch_size = 128
    config.augment = "padded_crop(padding=2)"
    config.model = {"name": f"resnet{arg.depth}"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {
        "name": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "weight_decay": 0.0001,
        "schedule": {"name": "cosine", "warmup_percent": 5},
    }
    return configs.smoke(config) if arg.smoke else config
