"""Few images: 2,000 digits of MNIST with adaptive augmentation of what the discriminator sees, and without.

    python launch.py --config configs/generate/ada.py --workdir runs/mnist_ada
    python launch.py --config configs/generate/ada.py:augment=none --workdir runs/mnist_without_ada
    ... --config.judge.workdir=runs/mnist_lenet5

Karras et al. 2020, "Training Generative Adversarial Networks with Limited Data", section 3: the probability begins at 0
and is adjusted every 4 mini-batches, so that r_t is 0.6; R1; here 50,000 images for p from 0 to 1, where the paper has
500,000, as a run is shorter. "overfitting/r_v" and "r_t" are of images that were not trained on. A digit that is
mirrored is no digit: images are moved, turned, made larger and smaller, and darker and lighter.

Measured with seed 0 on two CPU cores:

    augment   overfitting/r_v   overfitting/r_t   judge/classes  wall time
    adaptive  not measured yet
    none      not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

POLICIES = {"adaptive": "translate(0.125) | rotate(15) | scale(0.8, 1.25) | brightness(0.2)", "none": ""}
DISCRIMINATOR = {"name": "dcgan_discriminator_28", "widths": (32, 64, 128, 128), "norm": "none"}
GENERATOR = {"name": "dcgan_generator_28", "widths": (128, 64, 32)}


def small(config, smoke):
    """Adversarial training on few digits of 32x32 pixels, with R1; `config` is changed in place."""
    datasets.mnist(config, 32, smoke)
    config.experiment, config.normalise = "gan", {}
    config.total_steps, config.batch_size = 6000, 64
    config.model = {"discriminator": dict(DISCRIMINATOR), "generator": dict(GENERATOR)}
    config.loss = {"name": "non_saturating", "r1": 1.0}
    adam = {"name": "adam", "lr": 1e-3, "b1": 0.0, "b2": 0.99}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.998, "warmup": True}
    config.eval, config.log.every_steps = {"every_steps": 1000}, 100
    config.select = {"metric": "", "mode": "min"}
    if smoke:
        config.data.image_size = (16, 16)
        config.model.discriminator.widths, config.model.generator.widths = (4, 4, 4), (8, 4)


def get_config(arg=None):
    """The run's numbers; `augment` is adaptive or none; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, augment=configs.OneOf(POLICIES), smoke=False)
    config = configs.base(critic_steps=1, judge={}, growth={}, ada={})
    small(config, arg.smoke)
    config.data.first = 500 if arg.smoke else 2000
    if POLICIES[arg.augment]:
        config.ada = {"policy": POLICIES[arg.augment], "target": 0.6, "every": 4, "images": 50_000}
    return configs.smoke(config) if arg.smoke else config
