"""Fine-tuning: a LeNet-5 that has been trained on one task begins another one, of which there are 100 images.

    python launch.py --config configs/regimes/fine_tune.py --workdir runs/mnist_source
    python launch.py --config configs/regimes/fine_tune.py:scheme=scratch --workdir runs/digits_scratch
    python launch.py --config configs/regimes/fine_tune.py:scheme=head --workdir runs/digits_head
    python launch.py --config configs/regimes/fine_tune.py:scheme=few --workdir runs/digits_few
    python launch.py --config configs/regimes/fine_tune.py:scheme=all --workdir runs/digits_all
    python launch.py --config configs/regimes/fine_tune.py:scheme=gradual --workdir runs/digits_gradual
    python launch.py --config configs/regimes/fine_tune.py:pair=cifar10_halves --workdir runs/cifar10_0_to_4
    ... --config configs/regimes/fine_tune.py:pair=cifar10_halves,scheme=all,examples=500 --workdir runs/cifar10_all

The first command trains the source; the others begin with its weights, those of its folder or of what
`--config.init_from` names, and with a new head. Images are normalised as those of the source were.

Layers that come from the source learn at a tenth of its rate, the head at its rate. Of a scheme, "head" trains the new
head on frozen layers, "few" the dense layers too, "all" everything, "gradual" everything, but the dense layers from a
quarter and the convolutions from half of the run on (Howard and Ruder 2018, section 3.3). "scratch" trains everything
from random weights at the rate of the source. Which one fits is said in `cvdl_jax/analysis/transfer_strategy.py`.
Yosinski et al. 2014, "How Transferable are Features in Deep Neural Networks?", compares frozen and tuned layers.

Measured on the test split with seed 0:

    scheme   test accuracy           wall time
    source   98.89 % [98.67, 99.08]  28 s, on 10,000 images of MNIST
    scratch  78.83 % [74.31, 82.74]  9 s
    head     86.07 % [82.11, 89.27]  7 s
    few      89.14 % [85.49, 91.95]  8 s
    all      87.74 % [83.95, 90.74]  9 s
    gradual  89.69 % [86.12, 92.43]  8 s

All of them but the source on 359 digits, from 100, on two busy CPU cores. Transfer helps; the intervals of the schemes
overlap. Of CIFAR-10, with `examples=500`, on one core that other programs shared:

    scheme   test accuracy           wall time
    source   65.90 % [64.57, 67.20]  37 s, on some 22,600 images of the classes 0 to 4
    scratch  59.36 % [57.99, 60.71]  30 s
    head     55.24 % [53.86, 56.61]  29 s
    few      60.08 % [58.72, 61.43]  31 s
    all      61.68 % [60.32, 63.02]  30 s
    gradual  60.10 % [58.74, 61.45]  30 s

A new head on frozen layers is worse than learning from nothing; the best scheme gains two points over that, and their
intervals touch.

    pair            what is learnt from, and what then
    mnist_digits    54,000 images of MNIST; 100 of the digits of scikit-learn, 32x32
    cifar10_halves  the classes 0 to 4 of CIFAR-10; 100 images of the classes 5 to 9
"""

from configs import datasets
from cvdl_jax.config import configs

PAIRS = {"mnist_digits": "runs/mnist_source", "cifar10_halves": "runs/cifar10_0_to_4"}
SCHEMES = ("source", "scratch", "head", "few", "all", "gradual")
RATE, TENTH = 2e-3, 0.1
BACKBONE, CONVOLUTIONS, DENSE, HEAD = "(?!head/).*", "conv[01]/.*", "dense[01]/.*", "head/.*"
CLASSES = (
    ("airplane", "automobile", "bird", "cat", "deer"),
    ("dog", "frog", "horse", "ship", "truck"),
)  # of CIFAR-10


def optimisation(config, scheme):
    """What trains, at which rate, and from when on."""
    if scheme == "head":
        config.optim.freeze = BACKBONE
    elif scheme == "few":
        config.optim.freeze = CONVOLUTIONS
        config.optim.lr_factors = ((DENSE, TENTH),)
    elif scheme in ("all", "gradual"):
        config.optim.lr_factors = ((BACKBONE, TENTH),)
    if scheme == "gradual":
        config.optim.unfreeze = ((HEAD, 0), (DENSE, 25), (CONVOLUTIONS, 50))


def get_config(arg=None):
    """The run's numbers; `pair` of PAIRS, `scheme` of SCHEMES, `examples` of the new task (0 for all); `smoke` makes it
    two steps at tiny size.
    """
    arg = configs.parse_arg(
        arg, pair=configs.OneOf(PAIRS), scheme=configs.OneOf(SCHEMES), examples=100, smoke=False
    )  # fmt: skip
    source, mnist = arg.scheme == "source", arg.pair == "mnist_digits"
    config = configs.base()
    name = ("mnist" if source else "digits") if mnist else "cifar10"
    datasets.images(config, name, arg.smoke, 32)
    config.normalise = datasets.MNIST if mnist else datasets.CIFAR10
    if not mnist:
        config.data.only = tuple("01234" if source else "56789") if arg.smoke else CLASSES[not source]
    config.total_epochs, config.batch_size = 3, 128
    config.model = {"name": "lenet5", "activation": "relu", "pool": "max"}
    config.loss = {"name": "softmax_cross_entropy"}
    config.optim = {"name": "adamw", "lr": RATE, "weight_decay": 0.01}
    config.optim.schedule = {"name": "cosine", "warmup_percent": 5}
    if not source:
        config.total_epochs, config.total_steps, config.batch_size = None, 600, 32
        config.eval = {"every_percent": 10}
        if arg.examples:
            config.data.first = arg.examples
        optimisation(config, arg.scheme)
        if arg.scheme != "scratch" and not arg.smoke:
            config.init_from, config.init = PAIRS[arg.pair], {"exclude": HEAD}
    return configs.smoke(config) if arg.smoke else config
