"""DCGAN with the non-saturating loss.

    python launch.py --config configs/generate/dcgan.py --workdir runs/digits_dcgan
    python launch.py --config configs/generate/dcgan.py:data=mnist --workdir runs/mnist_dcgan
    python launch.py --config configs/generate/dcgan.py:data=faces --workdir runs/faces_dcgan
    ... --config.judge.workdir=runs/mnist_lenet5

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks".
The judge is a classifier that the samples are shown to: the LeNet-5 of configs/classify/lenet5.py on the same data;
faces are drawn ones of 32 pixels (`data/portraits.py`), without labels and so without a judge.

Measured with seed 0 on two shared CPU cores, compilation included; 1,000 samples, a judge of 99.29 % test accuracy:

    data     classes covered  mean confidence  wall time
    digits   not measured yet
    mnist    10 of 10         0.903            681 s
    faces    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

SIZES = {
    "digits": {
        "steps": 6000,
        "discriminator": {"name": "dcgan_discriminator_tiny", "widths": (32, 64)},
        "generator": {"name": "dcgan_generator_tiny", "latent": 32, "widths": (64, 32)},
    },
    "mnist": {
        "steps": 10_000,
        "discriminator": {"name": "dcgan_discriminator_28"},
        "generator": {"name": "dcgan_generator_28"},
    },
    "faces": {
        "steps": 20_000,
        "discriminator": {"name": "dcgan_discriminator", "widths": (32, 64, 128), "kernel": 4},
        "generator": {"name": "dcgan_generator", "latent": 64, "widths": (128, 64, 32), "kernel": 4},
    },
}


def how_to_train(config):
    """The loss, both optimizers, the average and the intervals of the paper's GAN; `config` is changed in place."""
    config.loss = {"name": "non_saturating"}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_steps": 1000}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: an average late in training is the best there is


def get_config(arg=None):
    """The run's numbers; `data` is digits, mnist or faces; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(SIZES), smoke=False)
    size = SIZES[arg.data]
    config = configs.base(critic_steps=1, judge={}, growth={}, ada={})
    if arg.data == "faces":
        datasets.portraits(config, 32, arg.smoke)
    else:
        datasets.images(config, arg.data, arg.smoke)
    config.experiment = "gan"
    config.total_steps = size["steps"]
    config.batch_size = 64
    config.normalise = {}
    config.model = {"discriminator": size["discriminator"], "generator": size["generator"]}
    how_to_train(config)
    if arg.smoke and arg.data == "faces":
        config.model.discriminator.widths, config.model.generator.widths = (8, 16), (16, 8)
    return configs.smoke(config) if arg.smoke else config
