"""Instance discrimination: each training image is a class, told apart from all others by a memory of their vectors.

    python launch.py --config configs/regimes/instance_discrimination.py --workdir runs/digits_instances
    python launch.py --config configs/regimes/instance_discrimination.py:data=cifar10 --workdir runs/cifar10_instances

Wu et al. 2018, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination": temperature 0.07, vectors of
128 numbers, a linear projector, half of the old vector kept. The softmax is over all training images; the paper's
samples of 4,096 are for a million of them. A ResNet-20, and probes as in `simclr.py`.

Measured on the test split with seed 0, on CPU cores that ran other programs:

    data     linear_accuracy         knn_accuracy            wall time
    digits   94.99 % [92.21, 96.81]  96.10 % [93.56, 97.66]  214 s
    cifar10  not measured yet
"""

from configs import datasets
from configs.regimes.simclr import VIEWS
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is digits or cifar10; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(VIEWS), smoke=False)
    rest = {"temperature": 0.07, "keep": 0.5}
    config = configs.base(instances=rest, probe={}, projection={"hidden": (), "size": 128, "norm": "none"})
    datasets.unlabelled(config, arg.data, arg.smoke)
    config.augment = VIEWS[arg.data]
    config.experiment = "instance_discrimination"
    datasets.small_resnet(config, arg.smoke)
    config.total_epochs = 60 if arg.data == "digits" else 30
    config.optim = {"name": "sgd", "lr": 0.03, "momentum": 0.9, "weight_decay": 5e-4}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    return configs.smoke(config) if arg.smoke else config
