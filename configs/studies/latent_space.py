"""Codes of two numbers with and without the KL divergence: a plain autoencoder, one with noise on its codes, a VAE.

    python launch.py --config configs/studies/latent_space.py --workdir runs/studies_latent_space
    python launch.py --config configs/studies/latent_space.py:data=digits --workdir runs/studies_latent_space_digits

Kingma and Welling 2014, "Auto-Encoding Variational Bayes", figure 4, has the plane of two numbers. Without the
divergence nothing keeps clusters of codes from lying far apart: between them is empty space, where what is decoded is
like no image, a walk from class to class jumps, and a sample of a normal distribution is no digit.

Measured with seed 0 on the test images, of plain, without KL, with KL:

    data    empty             sample            midway            jump              wall time
    mnist   not measured yet
    digits  0.53, 0.55, 0.55  1.15, 1.15, 1.08  1.18, 1.17, 1.14  1.58, 1.58, 1.61  86 s

On the digits, of which there are 1,149, the divergence changes little.
"""

from configs import datasets
from cvdl_jax.config import configs

MODELS = {
    "plain": {"model": {"variational": False}},
    "without_kl": {"model": {"variational": True}, "latent": {"name": "kl", "beta": 0.0}},
    "with_kl": {"model": {"variational": True}, "latent": {"name": "kl", "beta": 1.0}},
}


def get_config(arg=None):
    """The run's numbers; `data` is mnist or digits; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(["mnist", "digits"]), smoke=False)
    network = {"name": "vae_500", "latent": 2, "hidden": (8,) if arg.smoke else (500, 200)}
    models = {name: {**rest, "model": network | rest["model"]} for name, rest in MODELS.items()}
    config = configs.base(study={"models": models, "steps": 4 if arg.smoke else 12})
    datasets.images(config, arg.data, arg.smoke)
    config.experiment, config.normalise = "studies.autoencoders", {}
    config.total_epochs, config.batch_size = 30 if arg.data == "mnist" else 300, 128
    config.loss = {"name": "bernoulli"}
    config.optim = {"name": "adam", "lr": 1e-3, "schedule": {"name": "cosine", "warmup_percent": 2}}
    config.eval = {"every_percent": 50}
    config.select = {"metric": "", "mode": "min"}
    return configs.smoke(config) if arg.smoke else config
