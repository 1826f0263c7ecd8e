"""DCGAN with the non-saturating loss on 8x8 digits.

    python launch.py --config configs/digits/dcgan.py --workdir runs/digits_dcgan
    ... --config.judge.workdir=runs/digits_lenet5

Radford et al. 2016, "Unsupervised Representation Learning with Deep Convolutional Generative Adversarial Networks".
Expected metrics and wall time: not measured yet.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(critic_steps=1, judge={})
    datasets.digits(config)
    config.experiment = "gan"
    config.total_steps = 6000
    config.batch_size = 64
    config.normalise = {}
    config.model = {
        "discriminator": {"name": "dcgan_discriminator_tiny", "widths": (32, 64)},
        "generator": {"name": "dcgan_generator_tiny", "latent": 32, "widths": (64, 32)},
    }
    config.loss = {"name": "non_saturating"}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.5}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_steps": 1000}
    config.log.every_steps = 100
    config.select = {"metric": "", "mode": "min"}  # the newest: an average late in training is the best there is
    return configs.smoke(config) if arg.smoke else config
