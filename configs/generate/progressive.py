"""GANs that grow from 4x4 to 32x32 pixels while they train: the progressive GAN, and StyleGAN.

    python launch.py --config configs/generate/progressive.py --workdir runs/mnist_progressive
    python launch.py --config configs/generate/progressive.py:model=stylegan --workdir runs/mnist_stylegan
    ... --config.judge.workdir=runs/mnist_lenet5

Karras et al. 2018, "Progressive Growing of GANs for Improved Quality, Stability, and Variation"; Karras et al. 2019, "A
Style-Based Generator Architecture for Generative Adversarial Networks". Adam with 0.001, 0 and 0.99 and the losses of
the second paper, non-saturating with R1; networks of a few maps for MNIST. All sizes are computed in every step, so one
compiled step serves all phases and early ones are no faster. The report of StyleGAN shows truncation and mixed styles.

Measured on MNIST with seed 0 on two CPU cores:

    model        sliced_wasserstein  judge/classes  wall time
    progressive  not measured yet
    stylegan     not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

GENERATORS = {"progressive": "progressive_generator_32", "stylegan": "stylegan_generator_32"}


def get_config(arg=None):
    """The run's numbers; `model` is progressive or stylegan; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, model=configs.OneOf(GENERATORS), smoke=False)
    config = configs.base(critic_steps=1, judge={}, growth={"stable_steps": 400, "fade_steps": 400}, ada={})
    datasets.mnist(config, 32, arg.smoke)
    config.experiment, config.normalise = "gan", {}
    config.total_steps, config.batch_size = 5000, 32
    config.model = {
        "discriminator": {"name": "progressive_discriminator_32"},
        "generator": {"name": GENERATORS[arg.model]},
    }
    config.loss = {"name": "non_saturating", "r1": 10.0}
    adam = {"name": "adam", "lr": 1e-3, "b1": 0.0, "b2": 0.99}
    config.optim = {"discriminator": dict(adam), "generator": dict(adam)}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval, config.log.every_steps = {"every_steps": 800}, 100
    config.select = {"metric": "", "mode": "min"}
    if arg.smoke:
        config.data.image_size = (8, 8)
        config.growth = {"stable_steps": 1, "fade_steps": 0}
        for player in config.model.values():
            player.widths = (6, 4)
    return configs.smoke(config) if arg.smoke else config
