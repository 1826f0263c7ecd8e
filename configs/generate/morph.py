"""Morphing of images through the latent space of a trained generator: codes by optimisation, and ways between them.

    python launch.py --config configs/generate/morph.py --workdir runs/digits_morph \
        --config.init_from=runs/digits_dcgan --config.morph.workdir=runs/digits_lenet5
    python launch.py --config configs/generate/morph.py:data=mnist --workdir runs/mnist_morph \
        --config.init_from=runs/mnist_dcgan --config.morph.workdir=runs/mnist_lenet5

Zhu et al. 2016, "Generative Visual Manipulation on the Natural Image Manifold", equation 4, without its encoder.
The generator is that of configs/generate/dcgan.py; without `morph.workdir` pixels are compared instead of the features
of a classifier. Of another generator `config.model` is its section.

    data    distance  of random codes  between images  wall time
    digits  not measured yet
    mnist   not measured yet
"""

from configs.generate import dcgan
from cvdl_jax.config import configs


def get_config(arg=None):
    """The run's numbers; `data` is digits or mnist; `smoke` makes it two steps with two images and a new generator."""
    arg = configs.parse_arg(arg, data=configs.OneOf(("digits", "mnist")), smoke=False)
    data = {"name": "digits" if arg.smoke else arg.data, "train": "", "test": "test"}
    if arg.smoke and arg.data == "mnist":
        data["image_size"] = (28, 28)  # of digits in their place
    morph = {"data": data, "split": "test", "pairs": 4, "points": 8, "starts": 4, "workdir": "", "layer": "pre_logits"}
    config = configs.base(morph=morph)
    config.experiment = "morph"
    config.total_steps = 500
    config.batch_size = 16  # there are no batches
    config.eval = {"every_percent": 50}
    config.model = dcgan.SIZES[arg.data]["generator"]
    schedule = {"name": "cosine", "warmup_percent": 2}
    config.optim = {"name": "adam", "lr": 0.05, "schedule": schedule}
    if arg.smoke:
        configs.smoke(config)
        config.morph.update({"pairs": 1, "points": 3, "starts": 2})
    return config
