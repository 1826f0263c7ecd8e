"""SNGAN: residual networks, the hinge loss, and a discriminator held by spectral normalisation.

    python launch.py --config configs/generate/sngan.py --workdir runs/cifar10_sngan
    python launch.py --config configs/generate/sngan.py:data=mnist --workdir runs/mnist_sngan
    ... --config.judge.workdir=runs/cifar10_resnet20

Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", table 4 and section 4.1: five steps of
the discriminator for one of the generator, on 64 images each, Adam with 0.0002, 0 and 0.9, a rate that falls linearly
to 0, 100,000 steps of the generator. (Of the generator their batch is 128.) MNIST, in 32x32 pixels: 32 maps of each
layer. Published: inception score 8.22, FID 21.7 on CIFAR-10 (table 2), of Inception's features.

Measured with seed 0:

    data     sliced_wasserstein  wall time
    cifar10  not measured yet
    mnist    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

SETS = {"cifar10": {}, "mnist": {"width": 32}}


def get_config(arg=None):
    """The run's numbers; `data` is cifar10 or mnist; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(SETS), smoke=False)
    config = configs.base(critic_steps=5, judge={}, growth={}, ada={})
    datasets.images(config, arg.data, arg.smoke, 32)
    config.experiment, config.normalise = "gan", {}
    config.total_steps, config.batch_size, config.eval_batch_size = 100_000, 320, 64
    config.model = {
        "discriminator": {"name": "sngan_discriminator_32", **SETS[arg.data]},
        "generator": {"name": "sngan_generator_32", **SETS[arg.data]},
    }
    config.loss = {"name": "hinge"}
    adam = {"name": "adam", "lr": 2e-4, "b1": 0.0, "b2": 0.9, "schedule": {"name": "linear"}}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.eval, config.log.every_steps = {"every_percent": 5}, 100
    config.select = {"metric": "", "mode": "min"}
    if arg.data == "mnist":
        config.total_steps, config.batch_size = 3000, 160
    if arg.smoke:
        config.critic_steps, config.data.image_size = 2, (8, 8)
        config.model.discriminator.update({"width": 4, "halvings": 1, "blocks": 1})
        config.model.generator.update({"width": 4, "blocks": 1})
    return configs.smoke(config) if arg.smoke else config
