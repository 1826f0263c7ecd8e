"""DCGAN with the non-saturating loss on MNIST.

    python launch.py --config configs/mnist/dcgan.py --workdir runs/mnist_dcgan
    ... --config.judge.workdir=runs/mnist_lenet5

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks".
Measured, seed 0: 1,000 samples cover 10 of 10 classes of a LeNet-5 judge (99.29 % test accuracy) with a mean
confidence of 0.903; 681 s on two shared CPU cores, compilation included.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(critic_steps=1, judge={})
    datasets.mnist(config, smoke=arg.smoke)
    config.experiment = "gan"
    config.total_steps = 10000
    config.batch_size = 64
    config.normalise = {}
    config.model = {
        "discriminator": {"name": "dcgan_discriminator_28"},
        "generator": {"name": "dcgan_generator_28"},
    }
    config.loss = {"name": "non_saturating"}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_steps": 1000}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: an average late in training is the best there is
    return configs.smoke(config) if arg.smoke else config
