"""Conditional GAN: digits of a class that is asked for, by the perceptrons of the paper or by convolutions.

    python launch.py --config configs/generate/cgan.py --workdir runs/mnist_cgan
    python launch.py --config configs/generate/cgan.py:model=conv --workdir runs/mnist_cgan_conv
    ... --config.judge.workdir=runs/mnist_lenet5

Mirza and Osindero 2014, "Conditional Generative Adversarial Nets", section 4.1: a generator of 2,413,984 parameters, z
uniform in the unit cube, a discriminator of maxout layers, drop-out of 0.5 in the discriminator (the paper drops out
in both players). The paper trains by momentum with a falling rate; here it is Adam, as of configs/generate/dcgan.py. Of
convolutions, a label is a further channel. The judge says how often it sees the class that was asked for,
"judge/agreement", in all and of each class; "real/agreement" is the same of test images with their own labels.

Measured on MNIST with seed 0 on two CPU cores:

    model    judge/agreement   real/agreement   wall time
    mlp      not measured yet
    conv     not measured yet
"""

from configs import datasets
from configs.generate import dcgan
from cvdl_jax.config import configs

PLAYERS = {
    "mlp": (
        {"name": "cgan_discriminator", "dropout": 0.5},
        {"name": "cgan_generator"},
    ),
    "conv": (
        {**dcgan.SIZES["mnist"]["discriminator"], "labels": 10},
        {**dcgan.SIZES["mnist"]["generator"], "labels": 10},
    ),
}


def get_config(arg=None):
    """The run's numbers; `model` is mlp or conv; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, model=configs.OneOf(PLAYERS), smoke=False)
    config = configs.base(critic_steps=1, judge={}, growth={}, ada={})
    datasets.mnist(config, smoke=arg.smoke)
    config.experiment, config.normalise = "gan", {}
    config.total_steps, config.batch_size = 20_000 if arg.model == "mlp" else 10_000, 100
    config.model = dict(zip(("discriminator", "generator"), PLAYERS[arg.model], strict=True))
    dcgan.how_to_train(config)
    return configs.smoke(config) if arg.smoke else config
