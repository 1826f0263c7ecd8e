"""Denoising diffusion of MNIST, digits, CIFAR-10 or drawn faces, with or without labels and guidance.

    python launch.py --config configs/generate/ddpm.py --workdir runs/mnist_ddpm
    python launch.py --config configs/generate/ddpm.py:data=digits --workdir runs/digits_ddpm
    python launch.py --config configs/generate/ddpm.py:data=cifar10 --workdir runs/cifar10_ddpm
    python launch.py --config configs/generate/ddpm.py:data=faces --workdir runs/faces_ddpm
    ... --config.model.num_classes=10 --config.sampler.guidance=2.0 --config.judge.workdir=runs/mnist_lenet5
    ... --config.autoencoder.workdir=runs/mnist_vq_vae --config.sampler.clip=False --config.loss.predicts=v  # 7x7 codes

Ho et al. 2020, "Denoising Diffusion Probabilistic Models", for CIFAR-10 with their network, schedule and rate; a small
network and the cosine schedule of Nichol and Dhariwal 2021 for the others. Samples take 50 steps without new noise
(DDIM, Song et al. 2021), of CIFAR-10 1,000. Faces are those of `data/portraits.py`, without labels.

Published: CIFAR-10, FID 3.17 against the training images, 50,000 samples (Ho et al. 2020, table 1), with steps of the
larger variance beta_t, as this recipe has them.

Measured on the test split with seed 0, the mean squared error of the noise:

    data     loss              wall time
    mnist    not measured yet
    digits   not measured yet
    cifar10  not measured yet
    faces    not measured yet
"""

from configs import datasets
from cvdl_jax.config import configs

SETS = {"mnist": (28, 20_000), "digits": (8, 4000), "cifar10": (32, 800_000), "faces": (32, 20_000)}


def get_config(arg=None):
    """The run's numbers; `data` of SETS; `smoke` makes it two steps at tiny size."""
    arg = configs.parse_arg(arg, data=configs.OneOf(SETS), smoke=False)
    size, steps = SETS[arg.data]
    sampler, others = {"steps": 50, "eta": 0.0}, {"autoencoder": {}, "judge": {}, "prompts": (), "grammar": ""}
    config = configs.base(schedule={"name": "cosine", "steps": 1000}, sampler=sampler, **others)
    if arg.data == "faces":
        datasets.portraits(config, size, arg.smoke)
    else:
        datasets.images(config, arg.data, arg.smoke, 8 if arg.smoke else size)
    config.experiment, config.normalise = "diffuse", {}
    config.total_steps, config.batch_size = steps, 64
    config.model = {"name": "ddpm_tiny" if arg.data == "digits" else "ddpm_small"}
    config.loss = {"predicts": "noise"}
    config.optim = {"name": "adam", "lr": 5e-4, "schedule": {"name": "constant", "warmup_percent": 2}, "clip_norm": 1.0}
    config.ema = {"decay": 0.999, "warmup": True}
    config.eval = {"every_percent": 10}
    config.select = {"metric": "", "mode": "min"}  # the newest, as the average late in training is the best there is
    if arg.data == "digits":
        config.model.update({"width": 32})
    if arg.data == "cifar10":
        config.model = {"name": "ddpm_cifar10"}
        config.augment, config.batch_size, config.optim.lr, config.ema.decay = "flip", 128, 2e-4, 0.9999
        config.schedule = {"name": "linear", "steps": 1000, "first": 1e-4, "last": 0.02}
        config.sampler = {"steps": 1000, "eta": 1.0, "variance": "fixed_large"}
    if arg.smoke:
        config.model.update({"width": 8, "factors": (1, 2), "blocks": 1, "attention": (1,), "groups": 4})
        config.sampler.steps = 4
    return configs.smoke(config) if arg.smoke else config
