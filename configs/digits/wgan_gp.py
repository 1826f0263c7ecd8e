"""Wasserstein GAN with gradient penalty (WGAN-GP) on 8x8 digits.

    python launch.py --config configs/digits/wgan_gp.py --workdir runs/digits_wgan_gp
    ... --config.judge.workdir=runs/digits_lenet5

Gulrajani et al. 2017, "Improved Training of Wasserstein GANs", algorithm 1.
A step is five steps of the critic on 64 images each and one of the generator.
Expected metrics and wall time: not measured yet.
"""

from configs import datasets
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, smoke=False)
    config = configs.base(critic_steps=5, judge={})
    datasets.digits(config)
    config.experiment = "gan"
    config.total_steps = 4000
    config.batch_size = 320
    config.normalise = {}
    config.model = {
        "discriminator": {"name": "dcgan_discriminator_tiny", "widths": (32, 64), "norm": "none"},
        "generator": {"name": "dcgan_generator_tiny", "latent": 32, "widths": (64, 32)},
    }
    config.loss = {"name": "wasserstein", "penalty": 10.0}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.0, "b2": 0.9}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_steps": 1000}
    config.log.every_steps = 100
    config.eval_batch_size = 64
    config.select = {"metric": "", "mode": "min"}  # the newest: an average late in training is the best there is
    if arg.smoke:
        configs.smoke(config)
        config.critic_steps = 2
    return config
